mod damaged;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{segment::HEADER_BYTES, *};

const CONFIG: StoreConfig =
    StoreConfig { segment_bytes: 1 << 20, segment_age: Duration::from_secs(3600) };

fn instance(byte: u8) -> InstanceId {
    InstanceId::try_from(&[byte; 16][..]).expect("16 bytes")
}

fn batch_with(id: BatchId, payload: Vec<u8>) -> NewBatch {
    let start = i64::try_from(id.sequence).expect("small") * 10;
    let sealed = v1::SealedBatch {
        instance: id.instance.as_bytes().to_vec(),
        sequence: id.sequence,
        format: 1,
        samples: id.sequence,
        raw_size: 7,
        crc32c: crc32c::crc32c(&payload),
        payload: Bytes::from(payload),
    };
    NewBatch {
        id,
        window: Window { start_unix_nanos: start, end_unix_nanos: start + 10 },
        host: "h".to_owned(),
        agent_version: "1".to_owned(),
        accounting: v1::Accounting { taken: id.sequence, ..Default::default() },
        sealed,
    }
}

fn batch(sequence: u64) -> NewBatch {
    let byte = u8::try_from(sequence % 251).expect("a byte");
    batch_with(BatchId { instance: instance(1), sequence }, vec![byte; 100])
}

fn open(dir: &Path) -> DirectoryStore {
    DirectoryStore::open(dir, CONFIG, Box::new(RealDisk)).expect("opens")
}

fn everything() -> TimeRange {
    TimeRange::new(i64::MIN, i64::MAX).expect("a range")
}

/// The sequences that a scan finds, each once, and the damage it names.
fn scan(store: &DirectoryStore, range: TimeRange) -> (Vec<u64>, Vec<String>) {
    let (mut sequences, mut damage) = (Vec::new(), Vec::new());
    for scanned in store.scan(range) {
        match scanned {
            Ok(sealed) => {
                let expected = batch(sealed.sequence).sealed;
                assert_eq!(
                    (&sealed.instance, sealed.samples),
                    (&expected.instance, expected.samples)
                );
                sequences.push(sealed.sequence);
            }
            Err(what) => damage.push(what),
        }
    }
    assert_eq!(sequences.iter().collect::<BTreeSet<_>>().len(), sequences.len(), "no batch twice");
    (sequences, damage)
}

fn sequences(store: &DirectoryStore) -> Vec<u64> {
    let (sequences, damage) = scan(store, everything());
    assert_eq!(damage, Vec::<String>::new());
    sequences
}

/// The segment files in a directory, oldest first.
fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> =
        entries.filter(|path| segment::SegmentId::of_path(path).is_some()).collect();
    files.sort();
    files
}

/// The one segment file in a directory, which holds nothing else.
fn segment_file(dir: &Path) -> PathBuf {
    assert_eq!(fs::read_dir(dir).expect("listed").count(), 1);
    segment_files(dir)[0].clone()
}

/// A disk that fails when told to.
#[derive(Clone, Debug, Default)]
struct Faulty {
    fail_create: Arc<AtomicBool>,
    fail_write: Arc<AtomicBool>,
    fail_sync: Arc<AtomicBool>,
    fail_truncate: Arc<AtomicBool>,
    /// What was done to it, in order.
    journal: Arc<Mutex<Vec<&'static str>>>,
}

#[derive(Debug)]
struct FaultyFile {
    faults: Faulty,
    file: Box<dyn AppendFile>,
}

impl Faulty {
    fn note(&self, what: &'static str) {
        self.journal.lock().expect("sound").push(what);
    }

    /// What was done since this was asked last.
    fn done(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.journal.lock().expect("sound"))
    }
}

fn check(fault: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
    if fault.load(Ordering::SeqCst) { Err(kind.into()) } else { Ok(()) }
}

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.note("create");
        check(&self.fail_create, io::ErrorKind::StorageFull)?;
        Ok(Box::new(FaultyFile { faults: self.clone(), file: RealDisk.create(path)? }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("sync the directory");
        RealDisk.sync_dir(dir)
    }
}

impl AppendFile for FaultyFile {
    /// A failing write leaves a part.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.note("write");
        if self.faults.fail_write.load(Ordering::SeqCst) {
            self.file.write_all_at(&bytes[..bytes.len() * 2 / 3], offset)?;
        }
        check(&self.faults.fail_write, io::ErrorKind::StorageFull)?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.note("sync");
        check(&self.faults.fail_sync, io::ErrorKind::Other)?;
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.faults.note("truncate");
        check(&self.faults.fail_truncate, io::ErrorKind::Other)?;
        self.file.truncate(len)
    }
}

/// Check that what was appended is found, once, also after a restart, with its counters.
#[test]
fn appended_batches_are_found_after_a_restart() {
    let dir = TempDir::new().expect("dir");
    let store = open(dir.path());
    let answers = store.append(&[batch(1), batch(2), batch(1)]).expect("stored");
    assert_eq!(answers, [Appended::Stored, Appended::Stored, Appended::Duplicate]);
    assert_eq!(store.append(&[batch(2)]).expect("known"), [Appended::Duplicate]);
    assert_eq!(sequences(&store), [1, 2]);
    drop(store);

    let store = open(dir.path());
    assert_eq!(sequences(&store), [1, 2]);
    assert_eq!(store.append(&[batch(2), batch(4)]).expect("stored")[0], Appended::Duplicate);
    assert_eq!(sequences(&store), [1, 2, 4]);
    let status = store.status();
    assert_eq!((status.batches, status.samples), (3, 7));
    assert_eq!(status.window, Some(Window { start_unix_nanos: 10, end_unix_nanos: 50 }));
    let instances = store.instances();
    assert_eq!((instances[0].samples, instances[0].accounting.taken), (7, 4));
    assert_eq!((instances[0].host.as_str(), instances[0].last_window_end), ("h", 50));
}

/// Check that sums which do not fit stay at the largest value: hosts decide what is summed up.
#[test]
fn sums_do_not_overflow() {
    let dir = TempDir::new().expect("dir");
    let store = open(dir.path());
    let mut batches = [batch(1), batch(2)];
    batches.iter_mut().for_each(|batch| batch.sealed.samples = u64::MAX);
    store.append(&batches).expect("stored");
    for store in [store, open(dir.path())] {
        assert_eq!((store.status().samples, store.instances()[0].samples), (u64::MAX, u64::MAX));
    }
}

/// Check that a batch belongs to exactly the range that the middle of its window is in.
#[test]
fn ranges_select_by_the_middle_of_windows() {
    let dir = TempDir::new().expect("dir");
    let store = open(dir.path());
    store.append(&[batch(1), batch(2), batch(3)]).expect("stored");
    let range = |start, end| TimeRange::new(start, end).expect("a range");
    // The windows are [10, 20), [20, 30), [30, 40).
    assert_eq!(scan(&store, range(0, 15)).0, Vec::<u64>::new());
    assert_eq!(scan(&store, range(0, 16)).0, [1]);
    assert_eq!(scan(&store, range(15, 25)).0, [1]);
    assert_eq!(scan(&store, range(25, 36)).0, [2, 3]);
    assert_eq!(midpoint(Window { start_unix_nanos: i64::MIN, end_unix_nanos: i64::MAX }), -1);
}

/// Check that full segments are left behind, and that all of them are read.
#[test]
fn segments_rotate_by_size() {
    let dir = TempDir::new().expect("dir");
    let config = StoreConfig { segment_bytes: 300, ..CONFIG };
    let store = DirectoryStore::open(dir.path(), config, Box::new(RealDisk)).expect("opens");
    for sequence in 1..=10 {
        store.append(&[batch(sequence)]).expect("stored");
    }
    assert!(fs::read_dir(dir.path()).expect("listed").count() > 2);
    assert_eq!(sequences(&store), (1..=10).collect::<Vec<_>>());
    drop(store);
    assert_eq!(sequences(&open(dir.path())), (1..=10).collect::<Vec<_>>());
}

/// Check that wherever a crash cuts the last file, every whole record is kept, the rest is cut off
/// without being called damage, and what was lost can be stored again.
#[test]
fn a_torn_tail_is_cut_off_wherever_it_tears() {
    let origin = TempDir::new().expect("dir");
    let store = open(origin.path());
    let mut ends = vec![HEADER_BYTES as u64];
    for sequence in 1..=3 {
        store.append(&[batch(sequence)]).expect("stored");
        ends.push(store.status().bytes);
    }
    let file = segment_file(origin.path());
    let bytes = fs::read(&file).expect("read");
    for len in 0..bytes.len() {
        let dir = TempDir::new().expect("dir");
        fs::write(dir.path().join(file.file_name().expect("name")), &bytes[..len])
            .expect("written");
        let whole = ends.iter().filter(|end| **end <= len as u64).count().saturating_sub(1) as u64;
        for _ in 0..2 {
            let store = open(dir.path());
            assert_eq!(sequences(&store), (1..=whole).collect::<Vec<_>>(), "cut at {len}");
            assert_eq!(store.status().damaged, Vec::<String>::new(), "cut at {len}");
        }
        let store = open(dir.path());
        store.append(&[batch(1), batch(2), batch(3)]).expect("stored");
        assert_eq!(sequences(&store), [1, 2, 3], "cut at {len}");
    }
}

/// Check that zeros after the last record, which a power cut can leave, are no damage.
#[test]
fn a_tail_of_zeros_is_cut_off() {
    let dir = TempDir::new().expect("dir");
    open(dir.path()).append(&[batch(1)]).expect("stored");
    let file = segment_file(dir.path());
    let mut bytes = fs::read(&file).expect("read");
    let len = bytes.len() as u64;
    bytes.extend([0; 5000]);
    fs::write(&file, bytes).expect("written");
    let store = open(dir.path());
    assert_eq!((sequences(&store), store.status().damaged), (vec![1], Vec::new()));
    assert_eq!(fs::metadata(&file).expect("there").len(), len);
}

/// Check that a segment of a newer version stops the start with a clear message.
#[test]
fn newer_segments_are_refused() {
    let dir = TempDir::new().expect("dir");
    open(dir.path()).append(&[batch(1)]).expect("stored");
    let file = segment_file(dir.path());
    let mut bytes = fs::read(&file).expect("read");
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, bytes).expect("written");
    let error = DirectoryStore::open(dir.path(), CONFIG, Box::new(RealDisk)).expect_err("refused");
    assert!(error.to_string().contains("version 2, this version reads up to 1"), "{error}");
}

/// Check that a group of batches costs one write and one sync, after the file and its name are durable.
#[test]
fn batches_are_durable_before_they_count() {
    let dir = TempDir::new().expect("dir");
    let disk = Faulty::default();
    let store = DirectoryStore::open(dir.path(), CONFIG, Box::new(disk.clone())).expect("opens");
    assert_eq!(disk.done(), ["sync the directory"]);
    store.append(&[batch(1), batch(2)]).expect("stored");
    let header = ["create", "write", "sync", "sync the directory"];
    assert_eq!(disk.done(), [&header[..], &["write", "sync"]].concat());
    store.append(&[batch(3), batch(4), batch(5)]).expect("stored");
    assert_eq!(disk.done(), ["write", "sync"]);
    store.append(&[batch(3), batch(5)]).expect("known");
    assert_eq!(disk.done(), Vec::<&str>::new());
}

/// Check that after a failed sync nothing of the group is visible, the file is given up, and a resend
/// is stored once, whatever the failed file holds.
#[test]
fn a_failed_sync_loses_nothing_and_doubles_nothing() {
    for truncate_fails in [false, true] {
        let dir = TempDir::new().expect("dir");
        let disk = Faulty::default();
        let store =
            DirectoryStore::open(dir.path(), CONFIG, Box::new(disk.clone())).expect("opens");
        store.append(&[batch(1)]).expect("stored");
        disk.fail_sync.store(true, Ordering::SeqCst);
        disk.fail_truncate.store(truncate_fails, Ordering::SeqCst);
        let error = store.append(&[batch(2), batch(3)]).expect_err("fails");
        assert!(!error.is_full());
        assert!(!store.contains(batch(2).id));
        assert_eq!(sequences(&store), [1]);
        assert!(store.check().is_err());

        disk.fail_sync.store(false, Ordering::SeqCst);
        disk.fail_truncate.store(false, Ordering::SeqCst);
        store.append(&[batch(2), batch(3), batch(4)]).expect("stored");
        assert_eq!(store.check(), Ok(()));
        assert_eq!(sequences(&store), [1, 2, 3, 4]);
        assert_eq!(segment_files(dir.path()).len(), 2, "a new file");
        drop(store);
        let mut found = sequences(&open(dir.path()));
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4], "truncate fails: {truncate_fails}");
    }
}

/// Check that a segment which was given up and could not be cut is not believed by the next start: what is
/// whole in it counts only if the disk has it, and its torn tail is no damage.
#[test]
fn a_segment_that_was_given_up_is_verified_by_the_next_start() {
    for torn in [false, true] {
        let dir = TempDir::new().expect("dir");
        let disk = Faulty::default();
        let store =
            DirectoryStore::open(dir.path(), CONFIG, Box::new(disk.clone())).expect("opens");
        store.append(&[batch(1)]).expect("stored");
        disk.fail_truncate.store(true, Ordering::SeqCst);
        let fault = if torn { &disk.fail_write } else { &disk.fail_sync };
        fault.store(true, Ordering::SeqCst);
        store.append(&[batch(2)]).expect_err("fails");
        fault.store(false, Ordering::SeqCst);
        store.append(&[batch(3)]).expect("stored");
        drop(store);
        if !torn {
            // The page cache had what the disk has not.
            let given_up = &segment_files(dir.path())[0];
            let mut bytes = fs::read(given_up).expect("read");
            *bytes.last_mut().expect("a payload") ^= 1;
            fs::write(given_up, bytes).expect("written");
        }
        let store = open(dir.path());
        assert!(!store.contains(batch(2).id), "its resend would be taken for a duplicate");
        assert_eq!(store.status().damaged.len(), usize::from(!torn), "{:?}", store.status());
        store.append(&[batch(2)]).expect("stored");
        drop(store);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3, "no mark is left");
        assert_eq!(sequences(&open(dir.path())), [1, 3, 2]);
    }
}

/// Check that a full disk is reported as such, leaves no half batch and no trail of files, and that
/// the store goes on in the same file when there is space.
#[test]
fn a_full_disk_is_survived_without_a_trail() {
    let dir = TempDir::new().expect("dir");
    let disk = Faulty::default();
    let store = DirectoryStore::open(dir.path(), CONFIG, Box::new(disk.clone())).expect("opens");
    store.append(&[batch(1)]).expect("stored");
    disk.fail_write.store(true, Ordering::SeqCst);
    disk.fail_create.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = store.append(&[batch(2)]).expect_err("fails");
        assert!(error.is_full());
        assert!(store.check().expect_err("not ready").contains("no space left"));
    }
    disk.fail_write.store(false, Ordering::SeqCst);
    disk.fail_create.store(false, Ordering::SeqCst);
    store.append(&[batch(2)]).expect("stored");
    assert_eq!(sequences(&store), [1, 2]);
    segment_file(dir.path());
    drop(store);
    assert_eq!(sequences(&open(dir.path())), [1, 2]);

    // Without any record in the file, too.
    let dir = TempDir::new().expect("dir");
    let disk = Faulty::default();
    let store = DirectoryStore::open(dir.path(), CONFIG, Box::new(disk.clone())).expect("opens");
    disk.fail_write.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        store.append(&[batch(1)]).expect_err("fails");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0);
}

proptest! {
    /// Check the runs of sequences against a plain set.
    #[test]
    fn duplicates_are_known_in_any_order(ops in prop::collection::vec((any::<bool>(), 1..30_u64), 0..200)) {
        let mut instances = instances::Instances::default();
        let mut model = BTreeSet::new();
        let accounting = v1::Accounting::default();
        for (insert, sequence) in ops {
            let id = BatchId { instance: instance(1), sequence };
            if insert {
                let kept = instances::Kept {
                    id,
                    samples: 1,
                    host: "",
                    agent_version: "",
                    window_end: 0,
                    accounting: &accounting,
                };
                prop_assert_eq!(instances.insert(&kept), model.insert(sequence));
            } else {
                instances.remove(id, 1);
                model.remove(&sequence);
            }
            for sequence in 1..30 {
                let id = BatchId { instance: instance(1), sequence };
                prop_assert_eq!(instances.contains(id), model.contains(&sequence));
            }
            prop_assert!(instances.status().iter().all(|i| i.samples == model.len() as u64));
        }
    }

    /// Check that no bytes in a segment make recovery panic or invent a batch.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), keep_header in any::<bool>()) {
        let dir = TempDir::new().expect("dir");
        let id = segment::SegmentId::new(1);
        let header = if keep_header { id.header(0) } else { Vec::new() };
        fs::write(id.path(dir.path()), [header, bytes].concat()).expect("written");
        let store = open(dir.path());
        prop_assert_eq!(store.status().batches, 0);
    }
}
