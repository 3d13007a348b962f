//! Columns of files as columns of tables.

use super::*;

#[test]
fn every_kind_of_files_can_be_a_table() {
    for kind in [FileKind::Samples, FileKind::Stacks, FileKind::Functions] {
        let schema = schema(kind).expect("all columns have numbers and types");
        let of_file = columns(kind);
        let names = schema.as_struct().fields().iter().map(|field| &field.name);
        assert!(names.eq(of_file.fields().iter().map(|field| field.name())), "{kind:?}");
    }
}

/// Numbers are for ever: this test may get new lines, and never other ones.
#[test]
fn numbers_stay() {
    let schema = schema(FileKind::Samples).expect("a schema");
    let id = |name| schema.field_id_by_name(name);
    assert_eq!(id("file_id"), Some(1));
    assert_eq!(id("service"), Some(2));
    assert_eq!(id("labels"), Some(14));
    assert_eq!(id("labels.key"), Some(101));
    assert_eq!(id("labels.value"), Some(102));
    assert_eq!(id("start"), Some(15));
    assert_eq!(id("cpu_nanos"), Some(20));
    let mapping = serde_json::to_string(&name_mapping(&schema)).expect("JSON");
    assert!(
        mapping.contains(
            r#"{"field-id":14,"names":["labels"],"fields":[{"field-id":101,"names":["key"]},{"field-id":102,"names":["value"]}]}"#
        ),
        "{mapping}"
    );
}
