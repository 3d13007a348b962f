use tempfile::TempDir;

use super::*;

/// Check that a directory is made, can be opened again after it was closed, and not while it is open.
#[test]
fn one_at_a_time() {
    let dir = TempDir::new().expect("dir");
    let root = dir.path().join("new/data");
    let first = DataDir::open(&root).expect("made");
    let error = DataDir::open(&root).expect_err("locked").to_string();
    assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    drop(first);
    DataDir::open(&root).expect("free again");
}

/// Check that it is free as soon as it is closed, even while a process that is being started, here stood
/// in for by a second descriptor of the same open file, still shares the lock.
#[test]
fn a_fork_does_not_keep_it_locked() {
    let dir = TempDir::new().expect("dir");
    let first = DataDir::open(dir.path()).expect("made");
    let _forked = first.lock.try_clone().expect("cloned");
    drop(first);
    DataDir::open(dir.path()).expect("free again");
}

/// Check that temporary files of a run that died are removed, and nothing else: uploads go on.
#[test]
fn scratch_is_emptied() {
    let dir = TempDir::new().expect("dir");
    let data = DataDir::open(dir.path()).expect("made");
    fs::write(data.scratch().join("table-1"), "x").expect("written");
    fs::write(data.scratch().join("upload-1"), "x").expect("written");
    fs::write(data.objects().join("keep"), "x").expect("written");
    drop(data);
    let data = DataDir::open(dir.path()).expect("opened");
    let left = fs::read_dir(data.scratch()).expect("listed");
    let left: Vec<_> = left.map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, ["upload-1"]);
    assert!(data.objects().join("keep").exists());
}
