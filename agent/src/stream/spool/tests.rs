use std::{fs, io::ErrorKind};

use bytes::Bytes;
use fleetprof_proto::ids::InstanceId;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::stream::tests::mount::Tmpfs;

fn id(sequence: u64) -> BatchId {
    BatchId { instance: InstanceId::try_from(&[9; 16][..]).unwrap(), sequence }
}

fn sealed(id: BatchId, payload: &[u8]) -> v1::SealedBatch {
    v1::SealedBatch {
        instance: id.instance.as_bytes().to_vec(),
        sequence: id.sequence,
        format: 1,
        samples: 10 * id.sequence,
        raw_size: 1000,
        crc32c: crc32c::crc32c(payload),
        payload: Bytes::copy_from_slice(payload),
    }
}

fn open(dir: &Path) -> (Spool, Scan) {
    Spool::open(dir).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != LOCK)
        .collect();
    names.sort();
    names
}

#[test]
fn a_batch_comes_back_as_it_was_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (spool, scan) = open(&dir.path().join("made/on/demand"));
    assert!(scan.found.is_empty());
    for sequence in [2, 1, 10] {
        spool.write(id(sequence), &sealed(id(sequence), b"payload")).unwrap();
    }
    assert_eq!(spool.read(id(2)).unwrap(), sealed(id(2), b"payload"));
    let path = spool.dir().to_owned();
    drop(spool);

    let (spool, scan) = open(&path);
    let found: Vec<_> = scan.found.iter().map(|batch| (batch.id.sequence, batch.samples)).collect();
    let mut by_time = found.clone();
    by_time.sort();
    assert_eq!(by_time, [(1, 10), (2, 20), (10, 100)]);
    assert!(scan.found.iter().all(|batch| batch.bytes == 4096));
    assert_eq!(spool.read(id(10)).unwrap(), sealed(id(10), b"payload"));
    spool.delete(id(10)).unwrap();
    assert_eq!(names(&path).len(), 2);
}

#[test]
fn the_oldest_batch_is_found_first() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let start = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for (sequence, age) in [(1, 5), (2, 3), (3, 4), (4, 4)] {
        spool.write(id(sequence), &sealed(id(sequence), b"")).unwrap();
        let file = OpenOptions::new().write(true).open(spool.path(id(sequence), BATCH)).unwrap();
        file.set_modified(start + std::time::Duration::from_secs(age)).unwrap();
    }
    drop(spool);
    let order: Vec<_> = open(dir.path()).1.found.iter().map(|b| b.id.sequence).collect();
    assert_eq!(order, [2, 3, 4, 1]);
}

#[test]
fn what_a_crash_leaves_is_removed_or_put_aside() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    for sequence in 1..=6 {
        spool.write(id(sequence), &sealed(id(sequence), b"some payload")).unwrap();
    }
    let path = |sequence| spool.path(id(sequence), BATCH);
    let whole = fs::read(path(1)).unwrap();
    fs::write(path(1), &whole[..whole.len() - 1]).unwrap();
    fs::write(path(2), b"").unwrap();
    fs::write(path(3), b"not a batch of this program, but long enough to hold a header").unwrap();
    fs::rename(path(4), dir.path().join("strange.batch")).unwrap();
    fs::copy(path(6), path(5)).unwrap();
    fs::write(spool.path(id(7), TEMPORARY), b"half").unwrap();
    drop(spool);

    let (_spool, scan) = open(dir.path());
    // Only the first one's header says what was in it, and is its own.
    assert_eq!((scan.damaged, scan.damaged_samples), (5, 10));
    assert_eq!(scan.found.iter().map(|b| b.id.sequence).collect::<Vec<_>>(), [6]);
    let names = names(dir.path());
    assert_eq!(
        names.iter().filter(|name| name.ends_with(".batch.damaged")).count(),
        5,
        "{names:?}"
    );
    assert_eq!(names.len(), 6, "{names:?}");
}

#[test]
fn a_flipped_bit_is_noticed_when_the_batch_is_read() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    spool.write(id(1), &sealed(id(1), b"some payload")).unwrap();
    let path = spool.path(id(1), BATCH);
    let mut content = fs::read(&path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&path, content).unwrap();
    let error = spool.read(id(1)).unwrap_err();
    assert!(matches!(error, ReadError::Damaged(Damage::Checksum("content"))), "{error:?}");
    assert_eq!(names(dir.path()), [format!("{}.batch.damaged", id(1))]);
    assert!(matches!(spool.read(id(1)).unwrap_err(), ReadError::Gone));
}

#[test]
fn a_file_that_cannot_be_read_is_not_damaged() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    // Opens, but reading it is an error, as it is without memory or on a disk that is going.
    fs::create_dir(spool.path(id(1), BATCH)).unwrap();
    assert!(matches!(spool.read(id(1)).unwrap_err(), ReadError::Io(_)));
    drop(spool);
    let (_spool, scan) = open(dir.path());
    assert_eq!((scan.unreadable, scan.damaged, scan.found.len()), (1, 0, 0));
    assert_eq!(names(dir.path()), [format!("{}.batch", id(1))]);
}

#[test]
fn only_a_few_damaged_files_are_kept() {
    let dir = TempDir::new().unwrap();
    for sequence in 1..=20 {
        fs::write(dir.path().join(format!("{}.batch", id(sequence))), b"damaged").unwrap();
    }
    let (spool, scan) = open(dir.path());
    assert_eq!(scan.damaged, 20);
    assert_eq!(names(dir.path()).len(), DAMAGED_KEPT);
    assert_eq!(spool.aside_bytes(), DAMAGED_KEPT as u64 * BLOCK_BYTES);
}

#[test]
fn a_batch_of_a_newer_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(format!("{}.batch", id(1)));
    let mut content = format::encode(id(1), &sealed(id(1), b""));
    content[8..12].copy_from_slice(&7_u32.to_le_bytes());
    let crc = crc32c::crc32c(&content[..56]);
    content[56..60].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &content).unwrap();
    let (spool, scan) = open(dir.path());
    assert_eq!((scan.foreign, scan.damaged, scan.found.len()), (1, 0, 0));
    assert_eq!(spool.aside_bytes(), BLOCK_BYTES);
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_file_of_version_1_stays_readable() {
    let content = include_bytes!("testdata/v1.batch");
    let sealed_id = id(3);
    let batch = format::decode(sealed_id, &Bytes::from_static(content)).unwrap();
    assert_eq!(batch, sealed(sealed_id, b"fixture"));
    assert_eq!(format::encode(sealed_id, &batch), content);
}

#[test]
fn two_agents_cannot_share_a_directory() {
    let dir = TempDir::new().unwrap();
    let (_spool, _) = open(dir.path());
    let error = Spool::open(dir.path()).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("--spool-dir"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_or_written_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Spool::open(&file.join("spool")).unwrap_err();
    assert!(matches!(error, SpoolError::Create { .. }), "{error}");

    let mounted = Tmpfs::new("size=64k");
    drop(open(mounted.path()));
    mounted.make_read_only();
    let error = Spool::open(mounted.path()).unwrap_err();
    assert!(matches!(error, SpoolError::Write { .. }), "{error}");
    assert!(error.to_string().contains(&mounted.path().display().to_string()), "{error}");
}

#[test]
fn a_full_disk_fails_the_write_and_leaves_nothing_behind() {
    let mounted = Tmpfs::new("size=64k");
    let (spool, _) = open(mounted.path());
    let payload = vec![7; 40_000];
    spool.write(id(1), &sealed(id(1), &payload)).unwrap();
    let error = spool.write(id(2), &sealed(id(2), &payload)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert_eq!(names(mounted.path()), [format!("{}.batch", id(1))]);
    spool.delete(id(1)).unwrap();
    spool.write(id(2), &sealed(id(2), &payload)).unwrap();
    assert_eq!(spool.read(id(2)).unwrap(), sealed(id(2), &payload));
}

proptest! {
    /// Check that no change of a file goes unnoticed and none is dangerous.
    #[test]
    fn a_changed_file_is_never_taken_for_a_batch(
        payload in prop::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let good = format::encode(id(1), &sealed(id(1), &payload));
        prop_assert!(format::decode(id(1), &Bytes::from(good.clone())).is_ok());
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= flip;
        prop_assert!(format::decode(id(1), &Bytes::from(bad)).is_err());
        let mut short = good;
        short.truncate(at.index(short.len()));
        prop_assert!(format::decode(id(1), &Bytes::from(short)).is_err());
    }

    /// Check that arbitrary bytes are refused, not believed.
    #[test]
    fn arbitrary_bytes_are_no_batch(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(format::decode(id(1), &Bytes::from(bytes)).is_err());
    }
}
