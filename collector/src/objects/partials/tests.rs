use std::io::Write as _;

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};
use tempfile::TempDir;

use super::*;
use crate::objects::receive::Incoming;

const LIMITS: PartialLimits =
    PartialLimits { files: 3, bytes: 10 << 20, age: Duration::from_secs(3600) };
const SIZE: u64 = 2 << 20;
const QUOTA: u64 = 20 << 20;

struct Fixture {
    dir: TempDir,
    catalog: Catalog,
    partials: Partials,
}

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

fn key(byte: u8) -> Key {
    Key::new(&object(byte), Format::Elf, SIZE)
}

/// Bytes that are no hole.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 + 1).collect()
}

// === impl Fixture ===

impl Fixture {
    fn new() -> Self {
        Self::of(TempDir::new().expect("dir"))
    }

    fn of(dir: TempDir) -> Self {
        for name in ["objects", "scratch"] {
            fs::create_dir_all(dir.path().join(name)).expect("created");
        }
        let catalog = Catalog::open(&dir.path().join("objects"), QUOTA).expect("opens");
        let partials =
            Partials::open(&dir.path().join("scratch"), &catalog, LIMITS).expect("opens");
        Self { dir, catalog, partials }
    }

    fn restart(self) -> Self {
        let Self { dir, .. } = self;
        Self::of(dir)
    }

    fn incoming(&self, key: Key) -> Incoming {
        let space = self.catalog.reserve(SIZE).expect("fits");
        Incoming::create_resumable(&self.partials, key, SIZE, space).expect("created")
    }

    fn broken_off(&self, key: Key, bytes: usize) {
        self.incoming(key).write(&content(bytes)).expect("written");
    }

    fn waiting(&self, key: Key) -> Option<u64> {
        self.partials.find(key).expect("readable").map(|beginning| beginning.bytes)
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("scratch")).expect("listed").count()
    }

    /// What the quota has left.
    fn free(&self) -> u64 {
        (0..=QUOTA >> 10).rev().find(|kib| self.catalog.reserve(kib << 10).is_some()).expect("some")
            << 10
    }
}

/// Check that what came is found with its hash, goes to one upload only, and is whole in the end; and
/// that its space is counted all the time.
#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let it = Fixture::new();
    it.broken_off(key(1), 1 << 20);
    assert_eq!((it.files(), it.free()), (1, QUOTA - (1 << 20)));
    let found = it.partials.find(key(1)).expect("readable").expect("waits");
    let sha256: [u8; 32] = Sha256::digest(content(1 << 20)).into();
    assert_eq!(found, Beginning { bytes: 1 << 20, sha256 });

    let other = Beginning { sha256: [0; 32], ..found };
    assert!(it.partials.take(key(1), &other).expect("looked").is_none(), "another beginning");
    let taken = it.partials.take(key(1), &found).expect("renamed").expect("waits");
    assert!(it.partials.take(key(1), &found).expect("looked").is_none(), "it is somebody's");
    assert_eq!(it.waiting(key(1)), None);
    let mut incoming = Incoming::resume(&it.partials, key(1), SIZE, taken);
    incoming.write(&content(512 << 10)).expect("written");
    let path = incoming.path().to_owned();
    let mut expected = content(1 << 20);
    expected.write_all(&content(512 << 10)).expect("memory");
    assert!(fs::read(path).expect("read") == expected);
    drop(incoming);
    assert_eq!(it.waiting(key(1)), Some(3 << 19), "it broke off again");
}

/// Check that a restart, in the middle of two uploads of one object, keeps the longer part.
#[test]
fn a_restart_keeps_what_came() {
    let it = Fixture::new();
    it.broken_off(key(1), 300 << 10);
    let mut uploads = [it.incoming(key(1)), it.incoming(key(1)), it.incoming(key(2))];
    for (upload, bytes) in uploads.iter_mut().zip([400 << 10, 600 << 10, 10]) {
        upload.write(&content(bytes)).expect("written");
    }
    // What a crash leaves: nothing is dropped.
    std::mem::forget(uploads);
    let foreign = it.dir.path().join("scratch/upload-strange");
    fs::write(foreign, content(1 << 20)).expect("written");
    let it = it.restart();
    assert_eq!((it.waiting(key(1)), it.waiting(key(2)), it.files()), (Some(600 << 10), None, 1));
    assert_eq!(it.free(), QUOTA - (600 << 10));
    assert_eq!(it.restart().waiting(key(1)), Some(600 << 10));
}

/// Check that what waits is bounded in number and age, and gives way to what needs its space.
#[test]
fn what_waits_is_bounded() {
    let it = Fixture::new();
    for byte in 1..=4 {
        it.broken_off(key(byte), 1 << 20);
    }
    assert_eq!((it.waiting(key(1)), it.waiting(key(4)), it.files()), (None, Some(1 << 20), 3));
    assert!(it.partials.make_room(Some(key(2))));
    assert_eq!((it.waiting(key(2)), it.waiting(key(3))), (Some(1 << 20), None));
    it.partials.sweep(now() + LIMITS.age / 2);
    assert_eq!(it.files(), 2);
    it.partials.sweep(now() + LIMITS.age * 2);
    assert_eq!((it.files(), it.free()), (0, QUOTA));
    assert!(!it.partials.make_room(None));
}

/// Check that neither little, nor less than there is, nor what could not be written is kept.
#[test]
fn only_what_is_worth_it_is_kept() {
    let it = Fixture::new();
    it.broken_off(key(1), 1000);
    assert_eq!(it.files(), 0);
    it.broken_off(key(1), 1 << 20);
    it.broken_off(key(1), 300 << 10);
    assert_eq!((it.waiting(key(1)), it.files()), (Some(1 << 20), 1));
    let mut too_long = it.incoming(key(2));
    too_long.write(&content(1 << 20)).expect("written");
    too_long.write(&content(2 << 20)).expect_err("more than announced");
    drop(too_long);
    assert_eq!((it.waiting(key(2)), it.files()), (None, 1));
}

/// Check that formats and sizes are different uploads.
#[test]
fn keys_tell_uploads_apart() {
    let keys = [
        key(1),
        key(2),
        Key::new(&object(1), Format::Debug, SIZE),
        Key::new(&object(1), Format::Elf, SIZE + 1),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key));
        assert_eq!(Key::parse(&key.name()[UPLOAD_PREFIX.len()..]), Some(*key));
    }
    assert_eq!(Key::parse(&"+".repeat(32)), None);
}
