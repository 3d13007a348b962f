//! Unwind tables kept on the disk, by build ID: an agent that starts again need not build them anew.
//!
//! In: tables. Out: the same, checked; a damaged or foreign file is deleted and its table built
//! again. The folder is bounded: the files that were not used for longest go.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use fleetprof_proto::ids::{ObjectId, ObjectKind};
use fleetprof_unwind::UnwindTable;
use tracing::{debug, warn};

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct TableCache {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    max_bytes: u64,
    /// Held while files go, so that two threads do not count the same ones.
    tidying: Mutex<()>,
}

const SUFFIX: &str = "unwind";

/// Tables smaller than this are built faster than a file is worth.
const MIN_TABLE_WORDS: usize = 1024;

// === impl TableCache ===

impl TableCache {
    /// Uses `path`, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = Folder { path: path.to_owned(), max_bytes, tidying: Mutex::new(()) };
        Ok(Self { folder: Arc::new(folder) })
    }

    /// The table of an object; `None` when it is not here.
    pub(super) fn load(&self, id: &ObjectId) -> Option<UnwindTable> {
        let path = self.path_of(id);
        // No file of ours is larger.
        let size = fs::metadata(&path).ok()?.len();
        if size > self.folder.max_bytes {
            return self.refuse(&path, "it is larger than the whole cache may be");
        }
        let bytes = fs::read(&path).ok()?;
        match UnwindTable::decode(&bytes) {
            Ok(table) => {
                let now = SystemTime::now();
                // Only its age for the next tidying.
                let used = fs::File::open(&path).and_then(|file| file.set_modified(now));
                if let Err(error) = used {
                    debug!(%error, "use of a cached unwind table not noted");
                }
                Some(table)
            }
            Err(error) => self.refuse(&path, &error.to_string()),
        }
    }

    /// Keeps a table.
    pub(super) fn store(&self, id: &ObjectId, table: &UnwindTable) {
        if table.words().len() < MIN_TABLE_WORDS {
            return;
        }
        if let Err(error) = self.write(&self.path_of(id), &table.encode()) {
            warn!(%error, folder = %self.folder.path.display(), "an unwind table is not cached");
        }
        self.tidy();
    }

    /// Writes beside, then renames: a file is whole or not there.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use io::Write as _;
        let beside = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // What is left would only take room.
            fs::remove_file(&beside).ok();
        }
        written
    }

    fn path_of(&self, id: &ObjectId) -> PathBuf {
        let kind = match id.kind {
            ObjectKind::Vdso => "vdso",
            _ => "file",
        };
        self.folder
            .path
            .join(format!("{kind}-{}.{SUFFIX}", id.build_id.to_string().replace(':', "-")))
    }

    fn refuse(&self, path: &Path, reason: &str) -> Option<UnwindTable> {
        warn!(path = %path.display(), reason, "a cached unwind table is deleted and built again");
        if let Err(error) = fs::remove_file(path) {
            warn!(%error, path = %path.display(), "a cached unwind table cannot be deleted");
        }
        None
    }

    /// Deletes the longest unused files until the folder is within its bound.
    fn tidy(&self) {
        let _tidying = self.folder.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(entries) = fs::read_dir(&self.folder.path) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|suffix| suffix == SUFFIX))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if bytes <= self.folder.max_bytes {
                return;
            }
            match fs::remove_file(&path) {
                Ok(()) => bytes -= size,
                Err(error) => warn!(%error, path = %path.display(), "cached table not deleted"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
