//! Writes a functions file.
//!
//! Sorted by function, so that one function is in one or two row groups, found by their bounds.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, ListArray, StructArray, TimestampMicrosecondArray,
    builder::{Int32Builder, Int64Builder, TimestampMicrosecondBuilder},
};
use arrow_buffer::OffsetBuffer;
use fleetprof_proto::symbol::Reason;

use super::{FileWriter, Layout};
use crate::{
    catalog::FileId,
    format::{
        EncodedFunctions, FormatError,
        schema::{self, AMOUNTS},
        strings::{Strings, column},
    },
    functions::{Amounts, FunctionKey, FunctionOrigin, FunctionRow, FunctionTable},
    level::HOUR,
};

/// Rows of a row group: what is decoded to find one function.
const GROUP_ROWS: usize = 8 << 10;

/// Writes a functions file.
///
/// # Errors
/// When a number has no place in it.
pub fn encode_functions(id: FileId, table: FunctionTable) -> Result<EncodedFunctions, FormatError> {
    let mut file = FileWriter::new(id, &schema::functions(), &Layout::default())?;
    let (keys, origins, rows) = table.into_rows();
    // Of each key.
    let ids: Vec<i64> = keys.iter().map(|key| key.id().0).collect();
    for group in rows.chunks(GROUP_ROWS) {
        file.group(columns(group, &keys, &ids, &origins)?)?;
    }
    let (bytes, end) = file.finish_in_parts()?;
    Ok(EncodedFunctions { bytes, end, rows: rows.len() as u64 })
}

fn columns(
    rows: &[FunctionRow],
    keys: &[FunctionKey],
    ids: &[i64],
    origins: &[FunctionOrigin],
) -> Result<Vec<ArrayRef>, FormatError> {
    let longs = |number: &dyn Fn(&FunctionRow) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(number)))
    };
    let sums: Vec<Amounts> = rows.iter().map(|row| sum(&row.hours)).collect();
    let key = |row: &FunctionRow| &keys[row.function];
    let mut columns = vec![
        longs(&|row| origins[row.origin].file.number()),
        texts(rows, |row| Some(&origins[row.origin].service))?,
        texts(rows, |row| origins[row.origin].version.as_deref())?,
        longs(&|row| ids[row.function]),
        texts(rows, |row| Some(&key(row).function))?,
        texts(rows, |row| some(&key(row).file))?,
        texts(rows, |row| some(&key(row).module))?,
        texts(rows, |row| key(row).unnamed.map(Reason::as_str))?,
        times(rows.iter().map(|row| row.hours.first().map_or(0, |(start, _)| *start))),
        times(rows.iter().map(|row| row.hours.last().map_or(0, |(start, _)| *start) + HOUR)),
    ];
    let mut sum_columns = AmountColumns::default();
    for sum in &sums {
        sum_columns.push(sum)?;
    }
    columns.extend(sum_columns.finish());
    columns.push(hours(rows)?);
    Ok(columns)
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn sum(hours: &[(i64, Amounts)]) -> Amounts {
    hours.iter().fold(Amounts::default(), |mut sum, (_, hour)| {
        sum.add(*hour);
        sum
    })
}

fn texts<'a>(
    rows: &'a [FunctionRow],
    text: impl Fn(&'a FunctionRow) -> Option<&'a str>,
) -> Result<ArrayRef, FormatError> {
    let mut texts = Strings::default();
    let mut numbers = Int32Builder::with_capacity(rows.len());
    for row in rows {
        numbers.append_option(text(row).map(|text| texts.number(text)));
    }
    column(numbers.finish(), &texts.finish())
}

fn times(nanos: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = TimestampMicrosecondArray::from_iter_values(nanos.map(|at| at.div_euclid(1000)));
    Arc::new(micros.with_timezone("UTC"))
}

fn hours(rows: &[FunctionRow]) -> Result<ArrayRef, FormatError> {
    let mut starts = TimestampMicrosecondBuilder::new();
    let mut amounts = AmountColumns::default();
    for (start, hour) in rows.iter().flat_map(|row| &row.hours) {
        starts.append_value(start.div_euclid(1000));
        amounts.push(hour)?;
    }
    let starts: ArrayRef = Arc::new(starts.finish().with_timezone("UTC"));
    let columns = std::iter::once(starts).chain(amounts.finish()).collect();
    let entries = StructArray::try_new(schema::hour_fields(), columns, None);
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.hours.len()));
    let entries = Arc::new(entries.map_err(FormatError::write)?);
    let list = ListArray::try_new(schema::hour_entry(), offsets, entries, None);
    Ok(Arc::new(list.map_err(FormatError::write)?))
}

/// The columns of amounts, in the order of [`AMOUNTS`].
#[derive(Default)]
struct AmountColumns([Int64Builder; AMOUNTS.len()]);

// === impl AmountColumns ===

impl AmountColumns {
    fn push(&mut self, amounts: &Amounts) -> Result<(), FormatError> {
        let values =
            [amounts.self_samples, amounts.total_samples, amounts.self_nanos, amounts.total_nanos];
        for (column, value) in self.0.iter_mut().zip(values) {
            let unstorable =
                |_| FormatError::Unstorable { what: "amount of a function", value: value.into() };
            column.append_value(i64::try_from(value).map_err(unstorable)?);
        }
        Ok(())
    }

    fn finish(self) -> impl Iterator<Item = ArrayRef> {
        self.0.into_iter().map(|mut column| -> ArrayRef { Arc::new(column.finish()) })
    }
}
