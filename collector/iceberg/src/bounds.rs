//! What tables say of a file, from its Parquet footer: its rows, and for the columns that queries filter by
//! their bounds, so that engines leave out files without opening them.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use fleetprof_store::{Blob, BlobError, Blobs, parse_footer};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema,
    Struct,
};
use parquet::file::{
    metadata::{ParquetMetaData, RowGroupMetaData},
    statistics::Statistics,
};

/// What is read of the end of a file at first: the footer of nearly all.
const END_BYTES: u64 = 32 << 10;
/// Length of the footer's length, and of the magic bytes behind it.
const TAIL_BYTES: usize = 8;
/// Columns whose bounds are said. More would make manifests larger than they are worth.
const BOUNDED: [&str; 7] =
    ["file_id", "service", "version", "namespace", "cluster", "start", "end"];

/// A file cannot be described.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It is damaged or gone: other files are not.
    Damaged(String),
    /// The object store failed.
    Store(BlobError),
}

/// Describes a file, whose URL is given.
pub(crate) async fn describe(
    blobs: &Blobs,
    blob: &Blob,
    url: String,
    schema: &Schema,
) -> Result<DataFile, Unreadable> {
    let footer = footer(blobs, blob).await?;
    // Of bytes that nobody writes, the Parquet library panics at some.
    let read = catch_unwind(AssertUnwindSafe(|| {
        parse_footer(&footer).and_then(|it| file(&it, blob, url, schema))
    }));
    match read {
        Ok(file) => file.map_err(Unreadable::Damaged),
        Err(_) => Err(Unreadable::Damaged("the reader of Parquet panicked".to_owned())),
    }
}

/// The footer of a file, without its length.
async fn footer(blobs: &Blobs, blob: &Blob) -> Result<Bytes, Unreadable> {
    let end = part(blobs, blob, blob.bytes.saturating_sub(END_BYTES)).await?;
    let damaged = |what: &str| Unreadable::Damaged(what.to_owned());
    let Some((_, tail)) = end.split_last_chunk::<TAIL_BYTES>() else {
        return Err(damaged("it is too short"));
    };
    let [a, b, c, d, magic @ ..] = *tail;
    if &magic != b"PAR1" {
        return Err(damaged("it is no Parquet file"));
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = blob.bytes.checked_sub(length + TAIL_BYTES as u64) else {
        return Err(damaged("its footer is longer than the file"));
    };
    let end = if length + TAIL_BYTES as u64 <= end.len() as u64 {
        end
    } else {
        part(blobs, blob, start).await?
    };
    let stop = end.len() - TAIL_BYTES;
    let first = usize::try_from(length).ok().and_then(|length| stop.checked_sub(length));
    first.map(|first| end.slice(first..stop)).ok_or_else(|| damaged("its footer is not there"))
}

/// A file from an offset on.
async fn part(blobs: &Blobs, blob: &Blob, start: u64) -> Result<Bytes, Unreadable> {
    match blobs.ranges(blob, std::slice::from_ref(&(start..blob.bytes))).await {
        Ok(parts) => Ok(parts.into_iter().next().unwrap_or_default()),
        Err(error @ BlobError::Damaged { .. }) => Err(Unreadable::Damaged(error.to_string())),
        Err(error) => Err(Unreadable::Store(error)),
    }
}

fn file(
    metadata: &ParquetMetaData,
    blob: &Blob,
    url: String,
    schema: &Schema,
) -> Result<DataFile, String> {
    let rows = metadata.file_metadata().num_rows();
    let groups = metadata.row_groups();
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data)
        .file_path(url)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(u64::try_from(rows).map_err(|_| "it has a negative number of rows")?)
        .file_size_in_bytes(blob.bytes)
        .split_offsets(Some(groups.iter().filter_map(offset).collect()));
    let (mut values, mut nulls) = (HashMap::new(), HashMap::new());
    let (mut lower, mut upper) = (HashMap::new(), HashMap::new());
    for name in BOUNDED {
        let Some(field) = schema.as_struct().field_by_name(name) else { continue };
        let Some(primitive) = field.field_type.as_primitive_type() else { continue };
        let column: Option<Vec<&Statistics>> =
            groups.iter().map(|group| statistics(group, name)).collect();
        // Without statistics of a part, nothing is known of the whole.
        let Some(column) = column.filter(|parts| !parts.is_empty()) else { continue };
        values.insert(field.id, u64::try_from(rows).unwrap_or(0));
        let counts: Option<Vec<u64>> = column.iter().map(|part| part.null_count_opt()).collect();
        if let Some(counts) = counts {
            nulls.insert(field.id, counts.iter().fold(0, |sum: u64, it| sum.saturating_add(*it)));
        }
        if let Some((low, high)) = bounds(&column, primitive) {
            lower.insert(field.id, low);
            upper.insert(field.id, high);
        }
    }
    file.value_counts(values).null_value_counts(nulls).lower_bounds(lower).upper_bounds(upper);
    file.build().map_err(|error| error.to_string())
}

/// Where a row group begins.
fn offset(group: &RowGroupMetaData) -> Option<i64> {
    let first = group.columns().first()?;
    Some(first.dictionary_page_offset().unwrap_or_else(|| first.data_page_offset()))
}

fn statistics<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<&'a Statistics> {
    group.columns().iter().find(|column| column.column_path().string() == name)?.statistics()
}

/// The least and the greatest value of all parts; `None` unless it is known of each part that has values.
fn bounds(parts: &[&Statistics], primitive: &PrimitiveType) -> Option<(Datum, Datum)> {
    let mut bounds: Option<(Datum, Datum)> = None;
    for part in parts {
        let Some((low, high)) = ends(part, primitive) else {
            // A part of nulls alone has no bounds, and takes nothing from those of others.
            let is_empty =
                matches!(part, Statistics::ByteArray(texts) if texts.min_opt().is_none());
            if is_empty && part.null_count_opt().is_some_and(|count| count > 0) {
                continue;
            }
            return None;
        };
        bounds = Some(match bounds {
            None => (low, high),
            Some((least, most)) => {
                (if low < least { low } else { least }, if high > most { high } else { most })
            }
        });
    }
    bounds
}

fn ends(part: &Statistics, primitive: &PrimitiveType) -> Option<(Datum, Datum)> {
    match (part, primitive) {
        (Statistics::Int64(numbers), PrimitiveType::Long) => {
            Some((Datum::long(*numbers.min_opt()?), Datum::long(*numbers.max_opt()?)))
        }
        (Statistics::Int64(numbers), PrimitiveType::Timestamptz) => Some((
            Datum::timestamptz_micros(*numbers.min_opt()?),
            Datum::timestamptz_micros(*numbers.max_opt()?),
        )),
        // Long texts are shortened there, and still are bounds.
        (Statistics::ByteArray(texts), PrimitiveType::String) => Some((
            Datum::string(texts.min_opt()?.as_utf8().ok()?),
            Datum::string(texts.max_opt()?.as_utf8().ok()?),
        )),
        _ => None,
    }
}
