//! What a store with damaged files finds, names and keeps.

use super::*;

/// A directory whose only file holds some batches and has a bit flipped in the byte that is chosen,
/// given where the header and each record ends.
fn flipped(batches: u64, at: impl FnOnce(&[u64]) -> u64) -> TempDir {
    let dir = TempDir::new().expect("dir");
    let store = open(dir.path());
    let mut ends = vec![HEADER_BYTES as u64];
    for sequence in 1..=batches {
        store.append(&[batch(sequence)]).expect("stored");
        ends.push(store.status().bytes);
    }
    let file = segment_file(dir.path());
    let mut bytes = fs::read(&file).expect("read");
    bytes[usize::try_from(at(&ends)).expect("small")] ^= 0x10;
    fs::write(&file, bytes).expect("written");
    dir
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(start, end).expect("a range")
}

/// Check that a payload found damaged at the start is named by every scan that its batch would have
/// been part of, by no other, and not once the batch is kept again.
#[test]
fn damage_found_at_the_start_is_named_by_the_scans_it_concerns() {
    let dir = flipped(3, |ends| ends[2] - 1);
    let store = open(dir.path());
    let known = store.status().damaged;
    assert_eq!(known.len(), 1);
    assert!(known[0].contains("payload"), "{known:?}");
    // Its window is [20, 30).
    for _ in 0..2 {
        assert_eq!(scan(&store, everything()), (vec![1, 3], known.clone()));
        assert_eq!(scan(&store, range(25, 26)), (vec![], known.clone()));
        assert_eq!(scan(&store, range(0, 25)), (vec![1], vec![]));
        assert_eq!(scan(&store, range(26, 99)), (vec![3], vec![]));
    }
    store.append(&[batch(2)]).expect("stored");
    assert_eq!(scan(&store, everything()), (vec![1, 3, 2], vec![]));
    drop(store);
    assert_eq!(scan(&open(dir.path()), everything()), (vec![1, 3, 2], vec![]));
}

/// Check that damaged bytes of which it is not known what they held are named by scans of every range
/// that began before the file was last written.
#[test]
fn damage_of_unknown_content_is_named_wherever_it_may_be_missed() {
    let dir = flipped(3, |ends| ends[1] + 20);
    let store = open(dir.path());
    let known = store.status().damaged;
    assert!(known.len() == 1 && known[0].contains("not a record"), "{known:?}");
    assert_eq!(scan(&store, everything()), (vec![1, 3], known.clone()));
    assert_eq!(scan(&store, range(-9, 1)), (vec![], known.clone()), "an agent delivers late");
    let day = 24 * 3600 * 1_000_000_000;
    let now = crate::clock::unix_nanos();
    assert_eq!(scan(&store, range(now, now + 1)), (vec![], known), "clocks differ");
    assert_eq!(scan(&store, range(now + 2 * day, i64::MAX)), (vec![], vec![]));
}

/// Check that a flipped bit anywhere costs at most the record it is in, is named, and that the lost
/// record can be stored again.
#[test]
fn damage_costs_only_the_record_it_hits() {
    let origin = TempDir::new().expect("dir");
    let store = open(origin.path());
    let mut ends = vec![HEADER_BYTES as u64];
    for sequence in 1..=4 {
        store.append(&[batch(sequence)]).expect("stored");
        ends.push(store.status().bytes);
    }
    let file = segment_file(origin.path());
    let bytes = fs::read(&file).expect("read");
    for at in 0..bytes.len() {
        let dir = TempDir::new().expect("dir");
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(dir.path().join(file.file_name().expect("name")), &damaged).expect("written");
        let hit = ends.iter().filter(|end| **end <= at as u64).count() as u64;
        let store = open(dir.path());
        let (found, damage) = scan(&store, everything());
        let expected: Vec<u64> = (1..=4).filter(|sequence| *sequence != hit).collect();
        assert_eq!(found, expected, "bit at {at}");
        // A length of the last record that points past the end reads like a torn write; nothing else
        // may pass in silence.
        let last_lengths = ends[3] + 4..ends[3] + 12;
        if !last_lengths.contains(&(at as u64)) {
            assert!(!store.status().damaged.is_empty(), "bit at {at}");
            assert_eq!(damage.is_empty(), hit == 0, "the header has no data, bit at {at}");
        }
        store.append(&[batch(1), batch(2), batch(3), batch(4)]).expect("stored");
        let (mut found, _) = scan(&store, everything());
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4], "bit at {at}");
    }
}

/// Check that damage in a file that is not verified at the start is found by scrubbing, named by the
/// scan that meets it, and leaves the counts right.
#[test]
fn damage_in_old_files_is_found_later() {
    let dir = TempDir::new().expect("dir");
    open(dir.path()).append(&[batch(1), batch(2)]).expect("stored");
    let file = segment_file(dir.path());
    let mut bytes = fs::read(&file).expect("read");
    let last = bytes.len() - 1;
    // A newer file, so that the first one is old.
    open(dir.path()).append(&[batch(3)]).expect("stored");
    bytes[last] ^= 1;
    fs::write(&file, bytes).expect("written");

    let store = open(dir.path());
    assert_eq!(store.status().damaged, Vec::<String>::new());
    let (found, damage) = scan(&store, everything());
    assert_eq!((found, damage.len()), (vec![1, 3], 1));
    assert!(damage[0].contains("checksum"), "{damage:?}");
    let status = store.status();
    assert_eq!((status.batches, status.samples, status.damaged.len()), (2, 4, 1));
    assert!(!store.contains(batch(2).id));
    assert_eq!(scan(&store, everything()), (vec![1, 3], damage), "the next scan says it, too");

    let store = open(dir.path());
    store.scrub(|| false);
    assert_eq!(store.status().damaged.len(), 1);
}

/// Check that bytes in a payload that look like a record are not taken for one after damage.
#[test]
fn payloads_cannot_forge_records() {
    let source = TempDir::new().expect("dir");
    open(source.path()).append(&[batch(9)]).expect("stored");
    let record = fs::read(segment_file(source.path())).expect("read")[HEADER_BYTES..].to_vec();

    let dir = TempDir::new().expect("dir");
    let id = BatchId { instance: instance(1), sequence: 1 };
    open(dir.path()).append(&[batch_with(id, record), batch(2)]).expect("stored");
    let file = segment_file(dir.path());
    let mut bytes = fs::read(&file).expect("read");
    bytes[HEADER_BYTES + 20] ^= 1;
    fs::write(&file, bytes).expect("written");
    let (found, _) = scan(&open(dir.path()), everything());
    assert_eq!(found, [2]);
}
