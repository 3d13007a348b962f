//! Writes the samples.

use std::{ops::Range, sync::Arc};

use arrow_array::{
    ArrayRef, Int32Array, Int64Array, MapArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use bytes::Bytes;

use super::{FileWriter, Layout};
use crate::{
    catalog::FileId,
    format::{
        FormatError,
        order::{Labels, Plan, Planned, groups},
        schema::{self, LABELS},
        strings::{Strings, Texts, column},
    },
    table::{Row, Table},
};

/// Rows that follow each other are of one file, mostly of the same time, and have stacks that follow each other.
pub(in crate::format) const LAYOUT: Layout<'_> =
    Layout { delta: &["file_id", "start", "end", "stack_id"], unbounded: &[] };

/// Writes the samples.
pub(super) fn write(id: FileId, table: &Table, plan: &Plan<'_>) -> Result<Bytes, FormatError> {
    let mut file = FileWriter::new(id, &schema::samples(), &LAYOUT)?;
    let numbers = Numbers::new(&plan.labels);
    for group in groups(plan.services.iter().map(|service| service.rows.clone()), |_| 1) {
        let columns = Group { id, table, rows: &plan.rows[group], numbers: &numbers }.columns()?;
        file.group(columns)?;
    }
    file.finish()
}

/// Sets of labels as numbers of texts.
struct Numbers {
    /// By origin and column; -1 for null.
    known: Vec<[i32; LABELS.len()]>,
    /// All others, of all origins.
    others: Vec<(i32, i32)>,
    /// By origin, in `others`.
    ranges: Vec<Range<usize>>,
    texts: Vec<Texts>,
    other_names: Texts,
    other_values: Texts,
}

/// Rows of one row group.
struct Group<'a> {
    id: FileId,
    table: &'a Table,
    rows: &'a [Planned],
    numbers: &'a Numbers,
}

// === impl Numbers ===

impl Numbers {
    fn new(sets: &[Labels<'_>]) -> Self {
        let mut texts: [Strings; LABELS.len()] = Default::default();
        let (mut names, mut values) = (Strings::default(), Strings::default());
        let (mut known, mut others, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for labels in sets {
            let mut row = [-1; LABELS.len()];
            for (column, text) in labels.known.iter().enumerate() {
                // The service is never null.
                let text = if column == 0 { Some(text.unwrap_or_default()) } else { *text };
                row[column] = text.map_or(-1, |text| texts[column].number(text));
            }
            known.push(row);
            let start = others.len();
            let pair = |(name, value): (&&str, &&str)| (names.number(name), values.number(value));
            others.extend(labels.others.iter().map(pair));
            ranges.push(start..others.len());
        }
        let texts = texts.into_iter().map(Strings::finish).collect();
        let (other_names, other_values) = (names.finish(), values.finish());
        Self { known, others, ranges, texts, other_names, other_values }
    }
}

// === impl Group ===

impl Group<'_> {
    fn columns(&self) -> Result<Vec<ArrayRef>, FormatError> {
        let mut columns: Vec<ArrayRef> = vec![self.longs(|_, _| self.id.number())];
        for label in 0..LABELS.len() {
            columns.push(self.label(label)?);
        }
        columns.push(self.other_labels()?);
        columns.push(self.times(|planned| planned.start));
        columns.push(self.times(|planned| planned.end));
        columns.push(self.longs(|planned, _| planned.stack.into()));
        // All its bits, though codes are small.
        let results = self.rows.iter().map(|planned| planned.result.cast_signed());
        columns.push(Arc::new(Int32Array::from_iter_values(results)));
        columns.push(self.amounts("number of samples", |row| row.samples)?);
        columns.push(self.amounts("CPU time in nanoseconds", |row| row.nanos)?);
        Ok(columns)
    }

    fn origin(&self, planned: &Planned) -> usize {
        self.table.rows[planned.row as usize].origin as usize
    }

    fn label(&self, label: usize) -> Result<ArrayRef, FormatError> {
        let number = |planned: &Planned| {
            let number = self.numbers.known[self.origin(planned)][label];
            (number >= 0).then_some(number)
        };
        column(self.rows.iter().map(number).collect(), &self.numbers.texts[label])
    }

    fn other_labels(&self) -> Result<ArrayRef, FormatError> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        offsets.push(0);
        for planned in self.rows {
            for (name, value) in
                &self.numbers.others[self.numbers.ranges[self.origin(planned)].clone()]
            {
                names.push(*name);
                values.push(*value);
            }
            let end = i32::try_from(names.len());
            offsets.push(end.map_err(|_| FormatError::Unstorable {
                what: "number of labels",
                value: names.len() as i128,
            })?);
        }
        let names = column(Int32Array::from(names), &self.numbers.other_names)?;
        let values = column(Int32Array::from(values), &self.numbers.other_values)?;
        let entries = StructArray::try_new(schema::label_fields(), vec![names, values], None)
            .map_err(FormatError::write)?;
        // They were counted upwards.
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let map = MapArray::try_new(schema::label_entry(), offsets, entries, None, false);
        Ok(Arc::new(map.map_err(FormatError::write)?))
    }

    fn times(&self, time: impl Fn(&Planned) -> i64) -> ArrayRef {
        let times = TimestampMicrosecondArray::from_iter_values(self.rows.iter().map(time));
        Arc::new(times.with_timezone("UTC"))
    }

    fn longs(&self, value: impl Fn(&Planned, &Row) -> i64) -> ArrayRef {
        let value = |planned: &Planned| value(planned, &self.table.rows[planned.row as usize]);
        Arc::new(Int64Array::from_iter_values(self.rows.iter().map(value)))
    }

    fn amounts(
        &self,
        what: &'static str,
        amount: impl Fn(&Row) -> u64,
    ) -> Result<ArrayRef, FormatError> {
        let amount = |planned: &Planned| {
            let amount = amount(&self.table.rows[planned.row as usize]);
            let unstorable = |_| FormatError::Unstorable { what, value: amount.into() };
            i64::try_from(amount).map_err(unstorable)
        };
        let amounts: Result<Vec<i64>, _> = self.rows.iter().map(amount).collect();
        Ok(Arc::new(Int64Array::from(amounts?)))
    }
}
