//! Takes over what earlier versions kept (layout 1): segment files in `segments/` of the data directory.
//!
//! Each file's batches are appended to the store, in groups; then the file is moved to
//! `segments-imported/`, for an operator to remove. An import that is interrupted goes on at the next
//! start: batches that are there already are recognized. What is damaged is named in the log and stays
//! in the moved file.

mod segment;
mod walk;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use fleetprof_proto::batch::{self, Limits};
use fleetprof_store::{NewBatch, ProfileStore, StoreError};
use thiserror::Error;
use tracing::{info, warn};

use segment::{HEADER_BYTES, Header, RecordMeta, SegmentId, VERSION};
use walk::{Step, Walk, read_at};

/// What was stored passed the limits when it came in.
const NO_LIMITS: Limits = Limits { max_payload_bytes: usize::MAX, max_raw_bytes: u64::MAX - 1 };
/// Compressed bytes that are appended together.
const GROUP_BYTES: usize = 4 << 20;
/// Where files are moved to that have been taken over.
const DONE: &str = "segments-imported";

/// Old data that cannot be taken over. They are as they were.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// A file cannot be read or moved.
    #[error("cannot {action} {path}, which an earlier version wrote: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A newer version wrote a file.
    #[error(
        "{path} has format version {found}, this version reads up to {VERSION}: upgrade fleetprof-collector or use another --data-dir"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The store failed.
    #[error("cannot take over {path}, which an earlier version wrote: {source}")]
    Store {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// Takes over all segment files of a data directory.
///
/// # Errors
/// When one cannot be read, moved or stored. Damage is no error.
pub async fn import(root: &Path, store: &ProfileStore) -> Result<(), UpgradeError> {
    let dir = root.join("segments");
    let mut files = Vec::new();
    match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(UpgradeError::io("list", &dir)(source)),
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(UpgradeError::io("list", &dir))?.path();
                files.extend(SegmentId::of_path(&path).map(|id| (id, path)));
            }
        }
    }
    files.sort();
    let done = root.join(DONE);
    for (number, (id, path)) in files.iter().enumerate() {
        info!(path = %path.display(), number, of = files.len(), "taking over an earlier version's data");
        import_file(*id, path, store).await?;
        fs::create_dir_all(&done).map_err(UpgradeError::io("create", &done))?;
        let target = done.join(path.file_name().unwrap_or_default());
        fs::rename(path, &target).map_err(UpgradeError::io("move", path))?;
    }
    if !files.is_empty() {
        info!(files = files.len(), dir = %done.display(), "earlier data are taken over; these files may be removed");
    }
    // Marks of the earlier version, if nothing else is left.
    let _ = fs::remove_dir(&dir);
    Ok(())
}

async fn import_file(id: SegmentId, path: &Path, store: &ProfileStore) -> Result<(), UpgradeError> {
    let io = |source| UpgradeError::io("read", path)(source);
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() < HEADER_BYTES as u64 {
        // Records follow only after the header is durable, so nothing was ever in it.
        return Ok(());
    }
    if let Header::Newer(found) = id.check_header(&read_at(&file, 0, HEADER_BYTES).map_err(io)?) {
        return Err(UpgradeError::Newer { path: path.to_owned(), found });
    }
    let mut walk = Walk::new(&file, id).map_err(io)?;
    let (mut group, mut bytes) = (Vec::new(), 0);
    while let Some(step) = walk.step().map_err(io)? {
        match step {
            Step::Record(meta, payload) => match open(*meta, payload) {
                Ok(batch) => {
                    bytes += batch.bytes;
                    group.push(batch);
                }
                Err(error) => warn!(path = %path.display(), %error, "a batch is damaged; left out"),
            },
            Step::Damaged { offset, len } => {
                warn!(path = %path.display(), offset, len, "not a record; left out");
            }
        }
        if bytes >= GROUP_BYTES {
            append(store, std::mem::take(&mut group), path).await?;
            bytes = 0;
        }
    }
    append(store, group, path).await
}

async fn append(
    store: &ProfileStore,
    group: Vec<NewBatch>,
    path: &Path,
) -> Result<(), UpgradeError> {
    let appended = store.append(group).await;
    appended.map_err(|source| UpgradeError::Store { path: path.to_owned(), source })?;
    Ok(())
}

fn open(meta: RecordMeta, payload: bytes::Bytes) -> Result<NewBatch, batch::OpenError> {
    let (host, agent_version) = (meta.host.clone(), meta.agent_version.clone());
    let accounting = meta.accounting.clone().unwrap_or_default();
    let sealed = meta.sealed(payload);
    let (id, batch) = batch::open(&sealed, NO_LIMITS)?;
    let bytes = sealed.payload.len();
    Ok(NewBatch { id, batch, host, agent_version, accounting, bytes })
}

// === impl UpgradeError ===

impl UpgradeError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
