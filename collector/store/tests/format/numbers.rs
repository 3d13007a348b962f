//! Columns have numbers, and files from before they had are read all the same.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use fleetprof_store::{FileId, FileKind, FunctionTable, columns, encode, encode_functions};
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    schema::types::Type,
};

use crate::tables::table;

/// Numbers of the columns of a file, by path; groups that only structure them left out.
fn numbers(file: Bytes) -> BTreeMap<String, Option<i32>> {
    fn walk(parent: &str, column: &Type, found: &mut BTreeMap<String, Option<i32>>) {
        let path = format!("{parent}{}", column.name());
        let number = column.get_basic_info().has_id().then(|| column.get_basic_info().id());
        let is_structure = ["list", "key_value"].contains(&column.name());
        if !is_structure {
            found.insert(path.clone(), number);
        }
        if column.is_group() {
            let inside = if is_structure { parent.to_owned() } else { format!("{path}.") };
            column.get_fields().iter().for_each(|field| walk(&inside, field, found));
        }
    }
    let reader = SerializedFileReader::new(file).expect("a Parquet file");
    let schema = reader.metadata().file_metadata().schema();
    let mut found = BTreeMap::new();
    schema.get_fields().iter().for_each(|field| walk("", field, &mut found));
    found
}

#[test]
fn all_columns_have_numbers() {
    let files = encode(FileId::random(), &table(&[]), None).expect("a table that can be stored");
    let functions = encode_functions(FileId::random(), FunctionTable::default());
    let functions = functions.expect("can be stored");
    let mut all = BTreeMap::new();
    for (kind, file) in [
        (FileKind::Samples, files.samples),
        (FileKind::Stacks, files.stacks),
        (FileKind::Functions, functions.bytes),
    ] {
        let found = numbers(file);
        for field in columns(kind).fields() {
            assert!(found.contains_key(field.name()), "{kind:?} has {}", field.name());
        }
        for (path, number) in found {
            let number = number.unwrap_or_else(|| panic!("{path} of {kind:?} has no number"));
            let known = *all.entry(path.clone()).or_insert(number);
            assert_eq!(known, number, "{path} has one number in all files");
        }
    }
    let mut distinct: Vec<i32> = all.values().copied().collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), all.len(), "no two columns have the same number: {all:?}");
    // For ever.
    assert_eq!((all["service"], all["labels.value"], all["hours.element.start"]), (2, 102, 112));
}

#[test]
fn old_files_have_none() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1");
    let file = fs::read(folder.join("1.samples.parquet")).expect("it is committed");
    // That they are read is tested by fixture.rs.
    assert!(numbers(file.into()).values().all(Option::is_none));
}
