//! Rows of files of before columns had numbers.

use std::{fs, path::Path};

use super::*;
use crate::format::{Wanted, decode};

#[test]
fn rows_of_old_files_are_copied() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1");
    let read = |name: &str| Bytes::from(fs::read(folder.join(name)).expect("it is committed"));
    let (samples, stacks) = (read("1.samples.parquet"), read("1.stacks.parquet"));
    let wanted = Wanted::of_service("api");
    let before = decode(samples.clone(), Some(stacks.clone()), &wanted).expect("readable");
    let only = ["api".to_owned()];
    let id = FileId::random();
    let (samples, stacks) = extract(id, samples, stacks, Some(&only)).expect("copied");
    let after = decode(samples.clone(), Some(stacks.clone()), &Wanted::all()).expect("readable");
    assert!(!before.rows.is_empty());
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    // What was copied is a new file, with numbers, and can be copied again.
    extract(id, samples, stacks, None).expect("copied");
}
