//! Copies the rows of some services of a pair of files into another pair, as they are: names included.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::{
    Array as _, BooleanArray, DictionaryArray, Int64Array, RecordBatch, StringArray,
    cast::AsArray as _,
    types::{Int32Type, Int64Type},
};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use fleetprof_proto::labels::SERVICE;

use super::{
    FormatError,
    read::file::File,
    schema::{self, SAMPLES, STACKS},
    write::{FileWriter, Layout, samples, stacks},
};
use crate::catalog::FileId;

/// The pair `id` with the rows of a pair that are of these services (`None`: all): samples and stacks.
///
/// # Errors
/// When a file is damaged or they are no pair.
pub(crate) fn extract(
    id: FileId,
    samples: Bytes,
    stacks: Bytes,
    services: Option<&[String]>,
) -> Result<(Bytes, Bytes), FormatError> {
    let copied = catch_unwind(AssertUnwindSafe(|| copy(id, samples, stacks, services)));
    copied.unwrap_or_else(|_| {
        let what = "the reader of Parquet panicked".to_owned();
        Err(FormatError::Damaged { file: SAMPLES, what })
    })
}

fn copy(
    id: FileId,
    samples: Bytes,
    stacks: Bytes,
    services: Option<&[String]>,
) -> Result<(Bytes, Bytes), FormatError> {
    let samples = File::open(SAMPLES, samples, schema::samples())?;
    let stacks = File::open(STACKS, stacks, schema::stacks())?;
    if samples.id() != stacks.id() {
        return Err(stacks.damaged("it belongs to other samples"));
    }
    let mut needed = HashSet::new();
    let of_service = |rows: &RecordBatch| {
        let wanted = match services {
            Some(services) => is_of(&samples, rows, services)?,
            None => BooleanArray::from(vec![true; rows.num_rows()]),
        };
        let ids = longs(&samples, rows, "stack_id")?;
        needed.extend(
            ids.values().iter().zip(&wanted).filter(|(_, it)| *it == Some(true)).map(|(id, _)| *id),
        );
        Ok(wanted)
    };
    let new_samples = rewrite(id, &samples, &samples::LAYOUT, of_service)?;
    let is_needed = |rows: &RecordBatch| {
        let ids = longs(&stacks, rows, "stack_id")?;
        Ok(ids.values().iter().map(|id| Some(needed.contains(id))).collect())
    };
    let new_stacks = rewrite(id, &stacks, &stacks::LAYOUT, is_needed)?;
    Ok((new_samples, new_stacks))
}

/// Copies the rows for which `wanted` says so, row group by row group.
fn rewrite(
    id: FileId,
    from: &File,
    layout: &Layout<'_>,
    mut wanted: impl FnMut(&RecordBatch) -> Result<BooleanArray, FormatError>,
) -> Result<Bytes, FormatError> {
    let schema = from.schema();
    let mut to = FileWriter::new(id, schema, layout)?;
    for group in 0..from.groups() {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        for rows in from.all_batches(group, names)? {
            let rows = rows.map_err(|error| from.damaged(error.to_string()))?;
            let rows = filter_record_batch(&rows, &wanted(&rows)?);
            let rows = rows.map_err(|error| from.damaged(error.to_string()))?;
            if rows.num_rows() > 0 {
                to.add(&with_id(id, &rows, schema)?)?;
            }
        }
        to.end_group()?;
    }
    to.finish()
}

/// The same rows, of another pair.
fn with_id(id: FileId, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, FormatError> {
    let mut columns = rows.columns().to_vec();
    if let Some(first) = columns.first_mut() {
        *first = Arc::new(Int64Array::from(vec![id.number(); rows.num_rows()]));
    }
    RecordBatch::try_new(schema.clone(), columns).map_err(FormatError::write)
}

/// Which rows are of one of these services.
fn is_of(
    file: &File,
    rows: &RecordBatch,
    services: &[String],
) -> Result<BooleanArray, FormatError> {
    let damaged = || file.damaged("it has no services");
    let column = rows.column_by_name(SERVICE).ok_or_else(damaged)?;
    let column: &DictionaryArray<Int32Type> =
        column.as_dictionary_opt::<Int32Type>().ok_or_else(damaged)?;
    let texts: &StringArray = column.values().as_string_opt::<i32>().ok_or_else(damaged)?;
    let matching: Vec<bool> = (0..texts.len())
        .map(|at| services.iter().any(|service| service == texts.value(at)))
        .collect();
    let keys = column.keys().values().iter();
    let is_wanted =
        |key: &i32| usize::try_from(*key).ok().and_then(|key| matching.get(key).copied());
    Ok(keys.map(is_wanted).collect())
}

fn longs<'a>(
    file: &File,
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a Int64Array, FormatError> {
    let column = rows.column_by_name(name);
    let column = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.ok_or_else(|| file.damaged(format!("it has no column {name} of numbers")))
}

#[cfg(test)]
mod tests;
