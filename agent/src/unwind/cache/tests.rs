use super::{super::testing::id, *};

/// A table of a few pages: smaller ones are not kept.
fn large_table() -> UnwindTable {
    let file = fs::File::open("/bin/sh").unwrap();
    fleetprof_unwind::build(&file, None, &fleetprof_unwind::Limits::default()).unwrap()
}

#[test]
fn a_table_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let cache = TableCache::open(&path, 1 << 30).unwrap();
    let table = large_table();
    assert!(cache.load(&id(1)).is_none());
    cache.store(&id(1), &table);
    assert_eq!(cache.load(&id(1)).unwrap().words(), table.words());
    assert!(cache.load(&id(2)).is_none());
    // Another start.
    let cache = TableCache::open(&path, 1 << 30).unwrap();
    assert_eq!(cache.load(&id(1)).unwrap().descriptor(), table.descriptor());
}

#[test]
fn a_damaged_file_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TableCache::open(folder.path(), 1 << 30).unwrap();
    cache.store(&id(1), &large_table());
    let path = cache.path_of(&id(1));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(cache.load(&id(1)).is_none());
    assert!(!path.exists());
}

#[test]
fn the_folder_is_bounded_and_the_longest_unused_go() {
    let folder = tempfile::tempdir().unwrap();
    let table = large_table();
    let size = table.encode().len() as u64;
    let cache = TableCache::open(folder.path(), 2 * size + size / 2).unwrap();
    for number in 1..3 {
        cache.store(&id(number), &table);
        // Seconds apart, in a past that needs no waiting.
        let age = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number));
        fs::File::open(cache.path_of(&id(number))).unwrap().set_modified(age).unwrap();
    }
    // The first is used, so the second is older.
    assert!(cache.load(&id(1)).is_some());
    cache.store(&id(3), &table);
    let is_there = |number| cache.path_of(&id(number)).exists();
    assert_eq!([is_there(1), is_there(2), is_there(3)], [true, false, true]);
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    assert!(TableCache::open(Path::new("/proc/none/such"), 1).is_err());
}
