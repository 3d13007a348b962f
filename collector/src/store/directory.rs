//! The embedded store: segment files in one directory.
//!
//! Promises, whatever instruction the machine dies at:
//! - A batch counts as kept only after `fdatasync` of its segment returned success, and the segment's
//!   name was made durable before its first record.
//! - A write that failed is cut off again. A segment whose sync failed is never written again: after a
//!   failed sync the kernel may drop the pages and report success the next time.
//! - After a start, no old file is appended to. Those of which it is not known what the disk holds (the
//!   newest, and each that was given up after a failure and could not be cut) are synced, read from the
//!   disk rather than from the page cache, verified, and their torn tails are cut off. A record that a
//!   crash left whole but unacknowledged is kept: its resend is a duplicate.
//! - Damage costs the records it hits. It is named in the status and by every scan that may miss
//!   something by it; a resend of such a record is kept.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fleetprof_proto::{ids::BatchId, time_range::TimeRange};
use tracing::{info, warn};

use super::{
    Appended, InstanceStatus, NewBatch, Scanned, Store, StoreError, StoreStatus,
    disk::{AppendFile, Disk},
    index::{SegmentIndex, Selection, Shared, lock, remove, union},
    recover::RecordRef,
    scan::Scan,
    segment::{self, HEADER_BYTES, SegmentId},
};
use crate::clock;

/// How often [`Store::check`] tries the disk again after a failure.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Size of the file that it tries to write: about what one group of batches takes.
const PROBE_BYTES: usize = 256 << 10;

/// `ID.doubt`: an empty file beside a segment whose end is not known to be durable.
const DOUBT: &str = "doubt";

/// What a directory store may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Size after which a segment is not appended to any more, bytes.
    pub segment_bytes: u64,
    /// Age after which it is not.
    pub segment_age: Duration,
}

/// Batches in segment files of one directory. Only one process may have it open: the data
/// directory's lock sees to that.
#[derive(Debug)]
pub struct DirectoryStore {
    dir: PathBuf,
    config: StoreConfig,
    disk: Box<dyn Disk>,
    writer: Mutex<Writer>,
    shared: Arc<Shared>,
    /// Why the last write failed, until one succeeds.
    failure: Mutex<Option<Failure>>,
}

#[derive(Debug)]
struct Writer {
    next_number: u64,
    active: Option<Active>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    id: SegmentId,
    file: Box<dyn AppendFile>,
    path: PathBuf,
    /// Everything before this offset is durable.
    durable: u64,
    opened: Instant,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    /// When the disk was last tried.
    tried: Instant,
}

// === impl DirectoryStore ===

impl DirectoryStore {
    /// Opens the segments in `dir`, which exists and is locked by this process.
    ///
    /// # Errors
    /// When the directory cannot be read, the newest segment cannot be made durable, or a newer
    /// version wrote one. Damage is no error.
    pub fn open(dir: &Path, config: StoreConfig, disk: Box<dyn Disk>) -> Result<Self, StoreError> {
        let (mut ids, mut doubts) = (Vec::new(), BTreeSet::new());
        for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
            let path = entry.map_err(StoreError::io("list", dir))?.path();
            match SegmentId::of_path(&path) {
                Some(id) => ids.push((id, path)),
                None if path.extension().is_some_and(|e| e == DOUBT) => {
                    doubts.insert(path);
                }
                // Left by a crash while the disk was tried.
                None if path.extension().is_some_and(|e| e == "probe") => remove(&path),
                None => warn!(path = %path.display(), "not a segment; left alone"),
            }
        }
        ids.sort();
        let shared = Arc::new(Shared::default());
        let newest = ids.last().map(|(id, _)| *id);
        for (id, path) in &ids {
            let doubtful = Some(*id) == newest || doubts.contains(&path.with_extension(DOUBT));
            shared.recover(*id, path, doubtful)?;
        }
        doubts.iter().for_each(|doubt| remove(doubt));
        // Names of files that were made before a crash, and removals.
        disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        let writer = Writer { next_number: newest.map_or(1, |id| id.number + 1), active: None };
        Ok(Self {
            dir: dir.to_owned(),
            config,
            disk,
            writer: Mutex::new(writer),
            shared,
            failure: Mutex::new(None),
        })
    }

    /// Reads every payload that was not read at the start, so that damage is known before a query
    /// meets it. `stop` is asked before each record.
    pub fn scrub(&self, mut stop: impl FnMut() -> bool) {
        let everything = TimeRange::new(i64::MIN, i64::MAX);
        let Ok(everything) = everything else { return };
        // What is known has been said.
        let selection = Selection { damaged: Vec::new(), ..self.shared.select(everything) };
        for batch in Scan::new(self.shared.clone(), selection) {
            if stop() {
                return;
            }
            if let Err(damage) = batch {
                warn!(%damage, "damage found while reading the store");
            }
        }
    }

    fn append_durably(&self, batches: &[NewBatch]) -> Result<Vec<Appended>, StoreError> {
        let mut writer = lock(&self.writer);
        let mut fresh: Vec<&NewBatch> = Vec::new();
        let mut appended = Vec::with_capacity(batches.len());
        let mut ids = HashSet::new();
        for batch in batches {
            let known = !ids.insert(batch.id) || self.contains(batch.id);
            appended.push(if known { Appended::Duplicate } else { Appended::Stored });
            if !known {
                fresh.push(batch);
            }
        }
        if !fresh.is_empty() {
            self.write(&mut writer, &fresh)?;
        }
        Ok(appended)
    }

    fn write(&self, writer: &mut Writer, batches: &[&NewBatch]) -> Result<(), StoreError> {
        self.rotate_if_due(writer);
        let active = match writer.active.take() {
            Some(active) => active,
            None => self.create(writer)?,
        };
        let mut bytes = Vec::new();
        let mut records = Vec::with_capacity(batches.len());
        for batch in batches {
            let offset = active.durable + bytes.len() as u64;
            let prefix = match segment::write_record(active.id.salt, batch, &mut bytes) {
                Ok(prefix) => prefix,
                Err(error) => {
                    writer.active = Some(active);
                    return Err(error);
                }
            };
            records.push(RecordRef::new(
                offset,
                prefix,
                batch.id,
                batch.window,
                batch.sealed.samples,
            ));
        }
        if let Err(source) = active.file.write_all_at(&bytes, active.durable) {
            // Without a sync in between, cutting the file undoes a write.
            if active.cut() {
                let path = active.path.clone();
                writer.active = Some(active);
                return Err(StoreError::io("write", &path)(source));
            }
            return Err(self.abandon(&active, false, source));
        }
        if let Err(source) = active.file.sync() {
            let cut = active.cut();
            return Err(self.abandon(&active, cut, source));
        }
        let active = Active { durable: active.durable + bytes.len() as u64, ..active };
        self.shared.publish(active.durable, records, batches);
        writer.active = Some(active);
        Ok(())
    }

    /// Gives up a segment after a failure. The next append makes a new one; an empty one is removed, so
    /// that a long failure leaves no trail of files. One that could not be `cut` is marked: what follows
    /// its durable part may be in the page cache only, and a collector that starts on this running kernel
    /// would believe it.
    fn abandon(&self, active: &Active, cut: bool, source: io::Error) -> StoreError {
        if active.durable == HEADER_BYTES as u64 {
            remove(&active.path);
            self.shared.write().segments.retain(|segment| segment.id != active.id);
        } else if !cut {
            let doubt = active.path.with_extension(DOUBT);
            // It need not outlive the kernel: then the page cache is gone, too.
            if let Err(error) = fs::File::create(&doubt) {
                warn!(path = %doubt.display(), %error, "cannot mark a segment that was given up");
            }
        }
        StoreError::io("write", &active.path)(source)
    }

    fn rotate_if_due(&self, writer: &mut Writer) {
        let due = |active: &Active| {
            active.durable >= self.config.segment_bytes
                || active.opened.elapsed() >= self.config.segment_age
        };
        if writer.active.as_ref().is_some_and(due) {
            writer.active = None;
        }
    }

    /// A new segment whose header and name are durable.
    fn create(&self, writer: &mut Writer) -> Result<Active, StoreError> {
        let id = SegmentId::new(writer.next_number);
        let path = id.path(&self.dir);
        let file = self.disk.create(&path).map_err(StoreError::io("create", &path))?;
        // Numbers are not used twice, whatever becomes of this file.
        writer.next_number += 1;
        let header = id.header(clock::unix_nanos());
        let made = file
            .write_all_at(&header, 0)
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(source) = made {
            remove(&path);
            return Err(StoreError::io("create", &path)(source));
        }
        self.shared.write().segments.push(SegmentIndex::new(id, &path, HEADER_BYTES as u64));
        Ok(Active { id, file, path, durable: HEADER_BYTES as u64, opened: Instant::now() })
    }

    /// Writes, syncs and removes a file.
    fn probe(&self) -> io::Result<()> {
        let path = self.dir.join("disk.probe");
        remove(&path);
        let file = self.disk.create(&path)?;
        let written = file.write_all_at(&vec![0; PROBE_BYTES], 0).and_then(|()| file.sync());
        remove(&path);
        written
    }
}

impl Store for DirectoryStore {
    fn append(&self, batches: &[NewBatch]) -> Result<Vec<Appended>, StoreError> {
        let result = self.append_durably(batches);
        let mut failure = lock(&self.failure);
        *failure = match &result {
            Ok(_) => None,
            // The batch's fault, not the disk's.
            Err(StoreError::Oversize(_)) => failure.take(),
            Err(error) => Some(Failure { reason: error.to_string(), tried: Instant::now() }),
        };
        result
    }

    fn contains(&self, id: BatchId) -> bool {
        self.shared.read().instances.contains(id)
    }

    fn scan(&self, range: TimeRange) -> Box<dyn Iterator<Item = Scanned> + Send> {
        Box::new(Scan::new(self.shared.clone(), self.shared.select(range)))
    }

    fn status(&self) -> StoreStatus {
        let mut status = StoreStatus { damaged: self.shared.damaged(), ..StoreStatus::default() };
        for segment in &self.shared.read().segments {
            status.bytes += segment.bytes;
            status.batches += segment.records.len() as u64;
            status.samples = status.samples.saturating_add(segment.samples);
            status.window = union(status.window, segment.window);
        }
        status
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        self.shared.read().instances.status()
    }

    fn check(&self) -> Result<(), String> {
        let mut failure = lock(&self.failure);
        let Some(last) = failure.as_mut() else { return Ok(()) };
        if last.tried.elapsed() >= PROBE_EVERY {
            last.tried = Instant::now();
            match self.probe() {
                Ok(()) => {
                    info!("the store can be written again");
                    *failure = None;
                    return Ok(());
                }
                Err(source) => {
                    last.reason = StoreError::io("write", &self.dir)(source).to_string();
                }
            }
        }
        Err(last.reason.clone())
    }
}

// === impl Active ===

impl Active {
    /// Cuts off what was not acknowledged. If that fails, the next start finds whole records (which is
    /// fine, a resend is a duplicate) or damage.
    fn cut(&self) -> bool {
        let cut = self.file.truncate(self.durable).and_then(|()| self.file.sync());
        if let Err(error) = &cut {
            warn!(path = %self.path.display(), %error, "cannot cut a segment after a failed write");
        }
        cut.is_ok()
    }
}
