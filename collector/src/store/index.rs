//! What is known of the segment files: which records are where, which batches are there, what is
//! damaged. Filled from the files at the start, by the writer after that; read by queries.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, UNIX_EPOCH},
};

use fleetprof_proto::{batch::Window, time_range::TimeRange};
use tracing::{info, warn};

use super::{
    NewBatch, StoreError,
    damage::{Damage, Lost},
    disk::read_at,
    instances::{Instances, Kept},
    midpoint,
    recover::{RecordRef, Step, Walk},
    segment::{HEADER_BYTES, Header, RecordMeta, SegmentId, VERSION},
};

/// How far the clock of a host may be ahead of this one, with room to spare.
const CLOCK_LEAD: Duration = Duration::from_secs(24 * 3600);

/// What readers share with the writer. Whoever needs both locks takes the index first.
#[derive(Debug, Default)]
pub(super) struct Shared {
    index: RwLock<Index>,
    damage: Mutex<Damage>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub segments: Vec<SegmentIndex>,
    pub instances: Instances,
}

/// The readable records of one file.
#[derive(Debug)]
pub(super) struct SegmentIndex {
    pub id: SegmentId,
    pub path: Arc<Path>,
    pub bytes: u64,
    pub records: Vec<RecordRef>,
    pub samples: u64,
    /// First and last midpoint of the records.
    span: Option<(i64, i64)>,
    /// From the start of the first window to the end of the last.
    pub window: Option<Window>,
}

/// What is read for a range.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// What is known to be missing from it, named.
    pub damaged: Vec<String>,
    /// Its records, by file.
    pub files: Vec<SelectedFile>,
}

/// Selected records of one file.
#[derive(Debug)]
pub(super) struct SelectedFile {
    pub id: SegmentId,
    pub path: Arc<Path>,
    pub records: Vec<RecordRef>,
}

// === impl SegmentIndex ===

impl SegmentIndex {
    pub(super) fn new(id: SegmentId, path: &Path, bytes: u64) -> Self {
        let (records, path) = (Vec::new(), path.into());
        Self { id, path, bytes, records, samples: 0, span: None, window: None }
    }

    fn push(&mut self, record: RecordRef) {
        self.samples = self.samples.saturating_add(record.samples);
        self.window = union(self.window, Some(record.window));
        let middle = midpoint(record.window);
        let (first, last) = self.span.unwrap_or((middle, middle));
        self.span = Some((first.min(middle), last.max(middle)));
        self.records.push(record);
    }

    /// Takes a record out; `false` when it is not here.
    fn remove(&mut self, which: impl Fn(&RecordRef) -> bool) -> bool {
        let Some(position) = self.records.iter().position(which) else { return false };
        let removed = self.records.remove(position);
        self.samples = self.samples.saturating_sub(removed.samples);
        true
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn damaged(&self) -> Vec<String> {
        lock(&self.damage).sentences()
    }

    /// Makes durable records visible.
    pub(super) fn publish(&self, durable: u64, records: Vec<RecordRef>, batches: &[&NewBatch]) {
        let mut index = self.write();
        for batch in batches {
            index.instances.insert(&Kept {
                id: batch.id,
                samples: batch.sealed.samples,
                host: &batch.host,
                agent_version: &batch.agent_version,
                window_end: batch.window.end_unix_nanos,
                accounting: &batch.accounting,
            });
        }
        // The active segment is the last that was pushed.
        if let Some(segment) = index.segments.last_mut() {
            segment.bytes = durable;
            records.into_iter().for_each(|record| segment.push(record));
        }
    }

    /// The records of a range. Each batch is either in them or, if it is lost, in what is named.
    pub(super) fn select(&self, range: TimeRange) -> Selection {
        let (start, end) = (range.start_unix_nanos(), range.end_unix_nanos());
        let index = self.read();
        let overlaps = |segment: &&SegmentIndex| {
            segment.span.is_some_and(|(first, last)| first < end && last >= start)
        };
        let select = |segment: &SegmentIndex| {
            let inside = |record: &&RecordRef| super::in_range(record.window, range);
            let records: Vec<_> = segment.records.iter().filter(inside).copied().collect();
            SelectedFile { id: segment.id, path: segment.path.clone(), records }
        };
        let files = index.segments.iter().filter(overlaps).map(select).collect();
        let is_kept = |id| index.instances.contains(id);
        Selection { damaged: lock(&self.damage).concerning(range, is_kept), files }
    }

    /// Takes a record that turned out to be unreadable out of the index; answers its name.
    pub(super) fn lose(
        &self,
        id: SegmentId,
        path: &Path,
        record: &RecordRef,
        what: &str,
    ) -> String {
        let sentence = sentence(path, record.offset, record.len() as u64, what);
        let mut index = self.write();
        let mut removed = false;
        if let Some(segment) = index.segments.iter_mut().find(|segment| segment.id == id) {
            removed = segment.remove(|kept| kept.offset == record.offset);
        }
        // Another reader may have been first, and a resend may be there by now.
        if removed {
            index.instances.remove(record.id, record.samples);
        }
        // Under the index's lock: a query sees the record or the damage, not neither.
        let lost = Lost::Batch(record.id, record.window);
        lock(&self.damage).add(id.number, record.offset, lost, sentence.clone());
        sentence
    }

    /// Reads one file into the index; a doubtful one from the disk, with all its payloads.
    pub(super) fn recover(
        &self,
        id: SegmentId,
        path: &Path,
        doubtful: bool,
    ) -> Result<(), StoreError> {
        let open = File::options().read(true).write(doubtful).open(path);
        let file = open.map_err(StoreError::io("open", path))?;
        file.sync_data().map_err(StoreError::io("sync", path))?;
        if doubtful {
            // What is only in memory must not be taken for durable, see the module's promises. Where
            // the advice is not taken (tmpfs), there is no disk to read from either.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
        match self.recover_file(id, path, &file, doubtful) {
            Ok(()) => Ok(()),
            Err(RecoverError::Store(error)) => Err(error),
            Err(RecoverError::Unreadable(source)) => {
                // This file is lost from here on; the others are not.
                let what = format!("cannot be read: {source}");
                self.note(id, path, 0, 0, anything_in(&file), &what);
                Ok(())
            }
        }
    }

    fn recover_file(
        &self,
        id: SegmentId,
        path: &Path,
        file: &File,
        doubtful: bool,
    ) -> Result<(), RecoverError> {
        let mut walk = Walk::new(file, id, doubtful)?;
        if walk.len() < HEADER_BYTES as u64 {
            // Records follow only after the header is durable, so nothing was ever in it.
            info!(path = %path.display(), "removing a segment that was never finished");
            remove(path);
            return Ok(());
        }
        match id.check_header(&read_at(file, 0, HEADER_BYTES)?) {
            Header::Known => {}
            Header::Newer(found) => {
                let path = path.to_owned();
                return Err(StoreError::Newer { path, found, known: VERSION }.into());
            }
            Header::Damaged => {
                // The records do not need it.
                let what = "the file's header is damaged";
                self.note(id, path, 0, HEADER_BYTES as u64, Lost::Nothing, what);
            }
        }
        let mut segment = SegmentIndex::new(id, path, walk.len());
        while let Some(step) = walk.step().transpose() {
            match step {
                Ok(Step::Record(record, meta)) => self.index_recovered(&mut segment, record, &meta),
                Ok(Step::Hollow(record)) => {
                    let lost = Lost::Batch(record.id, record.window);
                    let what = "the payload's checksum does not match";
                    self.note(id, path, record.offset, record.len() as u64, lost, what);
                }
                Ok(Step::Damaged { offset, len }) => {
                    let what = "these bytes are not a record";
                    self.note(id, path, offset, len, anything_in(file), what);
                }
                Ok(Step::Torn { offset }) if doubtful => {
                    let bytes = walk.len() - offset;
                    info!(path = %path.display(), offset, bytes, "cutting off an unfinished write");
                    file.set_len(offset).map_err(StoreError::io("truncate", path))?;
                    file.sync_all().map_err(StoreError::io("sync", path))?;
                    segment.bytes = offset;
                }
                Ok(Step::Torn { offset }) => {
                    let what = "the file ends within a record";
                    self.note(id, path, offset, walk.len() - offset, anything_in(file), what);
                }
                Err(error) => {
                    let what = format!("cannot be read: {error}");
                    self.note(id, path, 0, 0, anything_in(file), &what);
                    break;
                }
            }
        }
        self.write().segments.push(segment);
        Ok(())
    }

    /// The last record of an id counts: it was written because the one before was damaged, or was not
    /// acknowledged and found again after a crash.
    fn index_recovered(&self, segment: &mut SegmentIndex, record: RecordRef, meta: &RecordMeta) {
        let default = Default::default();
        let mut index = self.write();
        let new = index.instances.insert(&Kept {
            id: record.id,
            samples: record.samples,
            host: &meta.host,
            agent_version: &meta.agent_version,
            window_end: meta.window().end_unix_nanos,
            accounting: meta.accounting.as_ref().unwrap_or(&default),
        });
        let same = |kept: &RecordRef| kept.id == record.id;
        if !new && !segment.remove(same) {
            // In an earlier file.
            index.segments.iter_mut().any(|other| other.remove(same));
        }
        segment.push(record);
    }

    fn note(&self, id: SegmentId, path: &Path, offset: u64, len: u64, lost: Lost, what: &str) {
        let sentence = sentence(path, offset, len, what);
        warn!(damage = %sentence, "the store is damaged; the rest of it is used");
        lock(&self.damage).add(id.number, offset, lost, sentence);
    }
}

/// Why one file could not be recovered.
#[derive(Debug)]
enum RecoverError {
    /// The collector must not start.
    Store(StoreError),
    /// Only this file is affected.
    Unreadable(io::Error),
}

impl From<StoreError> for RecoverError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for RecoverError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// What may be lost by bytes of which nothing is known: what came before the last write to the file.
fn anything_in(file: &File) -> Lost {
    let written = file.metadata().and_then(|metadata| metadata.modified());
    let last = written.ok().and_then(|written| written.checked_add(CLOCK_LEAD));
    let nanos =
        last.and_then(|last| last.duration_since(UNIX_EPOCH).ok()?.as_nanos().try_into().ok());
    Lost::Until(nanos.unwrap_or(i64::MAX))
}

fn sentence(path: &Path, offset: u64, len: u64, what: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}, {len} bytes at {offset}: {what}")
}

pub(super) fn union(a: Option<Window>, b: Option<Window>) -> Option<Window> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    Some(Window {
        start_unix_nanos: a.start_unix_nanos.min(b.start_unix_nanos),
        end_unix_nanos: a.end_unix_nanos.max(b.end_unix_nanos),
    })
}

pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(path = %path.display(), %error, "cannot remove a file");
    }
}

/// A panic while the lock was held left consistent data: every change under it is made whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
