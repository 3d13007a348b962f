use std::fs;

use fleetprof_proto::{
    ids::{BuildId, BuildIdKind, ObjectKind},
    symbol::Reason,
};
use tempfile::TempDir;

use super::*;

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::Kernel, build_id }
}

/// Check that no more is kept open than fits, that what was used last stays, and that a file is not read
/// again while it is open.
#[test]
fn what_was_used_last_stays_open() {
    let dir = TempDir::new().expect("dir");
    let path = |byte: u8| dir.path().join(format!("{byte}"));
    for byte in 0..4 {
        fs::write(path(byte), format!("{byte:x} T function_{byte}\n")).expect("written");
    }
    let one = KernelListing::open(&path(0)).expect("a listing").heap_bytes();
    // What a listing takes differs by little.
    let tables = Tables::new(3 * one + one / 2);
    for byte in 0..3 {
        tables.listing(&object(byte), &path(byte)).expect("opens");
    }
    tables.listing(&object(0), &path(0)).expect("is open");
    tables.listing(&object(3), &path(3)).expect("opens, and 1 goes");
    for byte in 0..4 {
        fs::remove_file(path(byte)).expect("removed");
    }
    let is_open = |byte| tables.listing(&object(byte), &path(byte)).is_ok();
    assert_eq!([0, 1, 2, 3].map(is_open), [true, false, true, true]);
    let names = tables.listing(&object(3), &path(3)).expect("is open").symbolize(&[3, 0]);
    assert!(matches!(&names[0], Symbol::Named(lines) if &*lines[0].name == "function_3"));
    assert_eq!(names[1], Symbol::Unknown(Reason::NotCovered));
}

/// Check that another revision is another file, and that what is no table says so.
#[test]
fn a_damaged_table_is_an_error() {
    let dir = TempDir::new().expect("dir");
    let path = dir.path().join("table");
    fs::write(&path, [7; 1000]).expect("written");
    let tables = Tables::new(1 << 20);
    let error = tables.table(&object(1), &path, 1).expect_err("no table");
    assert!(matches!(error, TableFileError::Table(_)), "{error}");
    let error = tables.table(&object(1), &dir.path().join("none"), 1).expect_err("no file");
    assert!(matches!(error, TableFileError::Io(_)), "{error}");
}
