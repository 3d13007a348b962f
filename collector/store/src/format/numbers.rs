//! The numbers of columns, by which table formats such as Iceberg know them whatever they are called.
//!
//! They are part of the format and the same for ever; a new column takes the next free one. A column
//! of the same name has the same number in all kinds of files. Files of before (format 1 until November
//! 2026) have none: those are told apart by the first column.

use std::{collections::HashMap, sync::Arc};

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::{arrow::PARQUET_FIELD_ID_META_KEY, schema::types::SchemaDescriptor};

/// Columns, and what is in them, by path.
const NUMBERS: [(&str, i32); 46] = [
    ("file_id", 1),
    ("service", 2),
    ("version", 3),
    ("namespace", 4),
    ("host", 5),
    ("node", 6),
    ("pod", 7),
    ("container", 8),
    ("cluster", 9),
    ("zone", 10),
    ("instance_type", 11),
    ("runtime", 12),
    ("comm", 13),
    ("labels", 14),
    ("start", 15),
    ("end", 16),
    ("stack_id", 17),
    ("result", 18),
    ("samples", 19),
    ("cpu_nanos", 20),
    ("depth", 21),
    ("function", 22),
    ("system_name", 23),
    ("file", 24),
    ("line", 25),
    ("inlined", 26),
    ("module", 27),
    ("kind", 28),
    ("build_id", 29),
    ("offset", 30),
    ("reason", 31),
    ("function_id", 32),
    ("unnamed", 33),
    ("self_samples", 34),
    ("total_samples", 35),
    ("self_nanos", 36),
    ("total_nanos", 37),
    ("hours", 38),
    ("labels.key", 101),
    ("labels.value", 102),
    ("hours.element", 111),
    ("hours.element.start", 112),
    ("hours.element.self_samples", 113),
    ("hours.element.total_samples", 114),
    ("hours.element.self_nanos", 115),
    ("hours.element.total_nanos", 116),
];

/// The same columns with their numbers, under the key that the writer of Parquet looks for.
pub(super) fn numbered(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(fields("", schema.fields())))
}

/// Whether the columns of a file have numbers.
pub(super) fn has_numbers(schema: &SchemaDescriptor) -> bool {
    let first = schema.root_schema().get_fields().first();
    first.is_some_and(|column| column.get_basic_info().has_id())
}

fn fields(parent: &str, fields: &Fields) -> Fields {
    fields.iter().map(|field| one(parent, field)).collect()
}

fn one(parent: &str, field: &FieldRef) -> Field {
    let path =
        if parent.is_empty() { field.name().clone() } else { format!("{parent}.{}", field.name()) };
    let inside = match field.data_type() {
        DataType::List(element) => DataType::List(Arc::new(one(&path, element))),
        DataType::Struct(inner) => DataType::Struct(fields(&path, inner)),
        DataType::Map(entry, sorted) => DataType::Map(Arc::new(map_entry(&path, entry)), *sorted),
        other => other.clone(),
    };
    let field = field.as_ref().clone().with_data_type(inside);
    match NUMBERS.iter().find(|(name, _)| *name == path) {
        Some((_, number)) => {
            let key = PARQUET_FIELD_ID_META_KEY.to_owned();
            field.with_metadata(HashMap::from([(key, number.to_string())]))
        }
        None => field,
    }
}

/// An entry is no column of its own and has no number: its key and value are the map's.
fn map_entry(path: &str, entry: &FieldRef) -> Field {
    match entry.data_type() {
        DataType::Struct(inner) => {
            entry.as_ref().clone().with_data_type(DataType::Struct(fields(path, inner)))
        }
        _ => entry.as_ref().clone(),
    }
}
