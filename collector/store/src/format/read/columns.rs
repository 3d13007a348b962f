//! Columns of a batch of rows, checked.

use std::{borrow::Cow, sync::LazyLock};

use arrow_array::{
    Array, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, MapArray, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray, types::Int32Type,
};

use super::file::File;
use crate::{
    format::{FormatError, schema::AMOUNTS},
    functions::Amounts,
    level::HOUR,
};

/// Rows of some columns.
pub(super) struct Columns<'a> {
    file: &'a File,
    group: usize,
    rows: &'a RecordBatch,
}

/// A column of texts by numbers: equal numbers are equal texts.
pub(super) struct Text<'a> {
    /// By row; -1 is null.
    pub(super) numbers: Cow<'a, [i32]>,
    /// By number.
    pub(super) texts: &'a StringArray,
}

/// The column of all labels that have none of their own.
pub(super) struct LabelMap<'a> {
    offsets: &'a [i32],
    names: Text<'a>,
    values: Text<'a>,
}

/// The column of hours of a functions file.
pub(super) struct Hours<'a> {
    offsets: &'a [i32],
    starts: &'a [i64],
    amounts: [&'a [i64]; AMOUNTS.len()],
}

// === impl Columns ===

impl<'a> Columns<'a> {
    /// Of rows of a row group, as [`File::batches`] gives them.
    pub(super) fn new(file: &'a File, group: usize, rows: &'a RecordBatch) -> Self {
        Self { file, group, rows }
    }

    fn get<T: Array + 'static>(&self, name: &str) -> Result<&'a T, FormatError> {
        let column =
            self.rows.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
        column.ok_or_else(|| self.file.damaged(format!("column {name} is missing or another")))
    }

    fn never_null<T: Array + 'static>(&self, name: &str) -> Result<&'a T, FormatError> {
        let column = self.get::<T>(name)?;
        if column.null_count() > 0 {
            return Err(self.file.damaged(format!("column {name} has nulls")));
        }
        Ok(column)
    }

    /// Numbers.
    pub(super) fn longs(&self, name: &str) -> Result<&'a [i64], FormatError> {
        Ok(self.never_null::<Int64Array>(name)?.values())
    }

    /// Numbers that are not negative.
    pub(super) fn amounts(&self, name: &str) -> Result<&'a [i64], FormatError> {
        let amounts = self.longs(name)?;
        if amounts.iter().any(|amount| *amount < 0) {
            return Err(self.file.damaged(format!("column {name} has negative numbers")));
        }
        Ok(amounts)
    }

    /// Times, microseconds.
    pub(super) fn times(&self, name: &str) -> Result<&'a [i64], FormatError> {
        Ok(self.never_null::<TimestampMicrosecondArray>(name)?.values())
    }

    /// Numbers.
    pub(super) fn ints(&self, name: &str) -> Result<&'a [i32], FormatError> {
        Ok(self.never_null::<Int32Array>(name)?.values())
    }

    /// Yes or no.
    pub(super) fn flags(&self, name: &str) -> Result<&'a BooleanArray, FormatError> {
        self.never_null(name)
    }

    /// Numbers or null; `None`: null in every row.
    pub(super) fn maybe_longs(&self, name: &str) -> Result<Option<&'a Int64Array>, FormatError> {
        self.is_there(name).then(|| self.get(name)).transpose()
    }

    /// Numbers or null; `None`: null in every row.
    pub(super) fn maybe_ints(&self, name: &str) -> Result<Option<&'a Int32Array>, FormatError> {
        self.is_there(name).then(|| self.get(name)).transpose()
    }

    fn is_there(&self, name: &str) -> bool {
        !self.file.is_null(self.group, name)
    }

    /// Texts.
    pub(super) fn text(&self, name: &str) -> Result<Text<'a>, FormatError> {
        if !self.is_there(name) {
            return Ok(Text::nulls(self.rows.num_rows()));
        }
        let column = self.get::<DictionaryArray<Int32Type>>(name)?;
        Text::new(column).ok_or_else(|| self.file.damaged(format!("column {name} has bad numbers")))
    }

    /// The amounts of functions, in the order of [`AMOUNTS`].
    pub(super) fn all_amounts(&self) -> Result<[&'a [i64]; AMOUNTS.len()], FormatError> {
        let [a, b, c, d] = AMOUNTS;
        Ok([self.amounts(a)?, self.amounts(b)?, self.amounts(c)?, self.amounts(d)?])
    }

    /// The column of hours of a functions file.
    pub(super) fn hours(&self, name: &str) -> Result<Hours<'a>, FormatError> {
        let list = self.never_null::<ListArray>(name)?;
        let entries: Option<&'a StructArray> = list.values().as_any().downcast_ref();
        let entries = entries.filter(|entries| entries.null_count() == 0);
        let column = |at: usize| entries.and_then(|entries| entries.columns().get(at));
        let starts =
            column(0).and_then(|it| it.as_any().downcast_ref::<TimestampMicrosecondArray>());
        let long = |at: usize| column(at).and_then(|it| it.as_any().downcast_ref::<Int64Array>());
        let longs = (starts, long(1), long(2), long(3), long(4));
        let (Some(starts), Some(a), Some(b), Some(c), Some(d)) = longs else {
            return Err(self.file.damaged(format!("column {name} is another")));
        };
        let amounts: [&'a [i64]; AMOUNTS.len()] = [a.values(), b.values(), c.values(), d.values()];
        let nulls = [a, b, c, d].iter().any(|it| it.null_count() > 0) || starts.null_count() > 0;
        if nulls || amounts.iter().any(|it| it.iter().any(|amount| *amount < 0)) {
            return Err(self.file.damaged(format!("column {name} has nulls or negative numbers")));
        }
        let end = |start: &i64| start.checked_mul(1000).and_then(|start| start.checked_add(HOUR));
        if starts.values().iter().any(|start| end(start).is_none()) {
            return Err(self
                .file
                .damaged(format!("column {name} has hours that are not of this age")));
        }
        Ok(Hours { offsets: list.value_offsets(), starts: starts.values(), amounts })
    }

    /// The column of all labels that have none of their own.
    pub(super) fn labels(&self, name: &str) -> Result<LabelMap<'a>, FormatError> {
        let map = self.never_null::<MapArray>(name)?;
        let text = |column: &'a dyn Array| {
            let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>()?;
            Text::new(column)
        };
        match (text(map.keys()), text(map.values())) {
            (Some(names), Some(values)) => {
                Ok(LabelMap { offsets: map.value_offsets(), names, values })
            }
            _ => Err(self.file.damaged(format!("column {name} has bad numbers"))),
        }
    }
}

// === impl Hours ===

impl<'a> Hours<'a> {
    /// The hours of a row: their starts, Unix nanoseconds, and amounts.
    pub(super) fn get(&self, row: usize) -> impl Iterator<Item = (i64, Amounts)> {
        let (start, end) = (self.offsets.get(row), self.offsets.get(row + 1));
        let range = start.zip(end).and_then(|(start, end)| {
            Some(usize::try_from(*start).ok()?..usize::try_from(*end).ok()?)
        });
        range
            .unwrap_or_default()
            .map(|at| (self.starts[at].saturating_mul(1000), amounts(&self.amounts, at)))
    }
}

/// The amounts of a row, from columns in the order of [`AMOUNTS`].
pub(super) fn amounts(columns: &[&[i64]; AMOUNTS.len()], row: usize) -> Amounts {
    let [self_samples, total_samples, self_nanos, total_nanos] =
        columns.map(|column| column[row].cast_unsigned());
    Amounts { self_samples, total_samples, self_nanos, total_nanos }
}

// === impl Text ===

impl<'a> Text<'a> {
    /// `None` when a number has no text.
    fn new(column: &'a DictionaryArray<Int32Type>) -> Option<Self> {
        let texts: &StringArray = column.values().as_any().downcast_ref()?;
        let numbers = column.keys();
        let numbers = if numbers.null_count() == 0 {
            Cow::Borrowed(&numbers.values()[..])
        } else {
            numbers.iter().map(|number| number.unwrap_or(-1)).collect()
        };
        let count = i32::try_from(texts.len()).ok()?;
        let is_valid = |number: &i32| (-1..count).contains(number);
        (texts.null_count() == 0 && numbers.iter().all(is_valid)).then_some(Self { numbers, texts })
    }

    /// Null in every row.
    fn nulls(rows: usize) -> Self {
        static NONE: LazyLock<StringArray> = LazyLock::new(|| StringArray::new_null(0));
        Self { numbers: Cow::Owned(vec![-1; rows]), texts: &NONE }
    }

    /// The text of a row; `None` is null.
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        let number = usize::try_from(*self.numbers.get(row)?).ok()?;
        Some(self.texts.value(number))
    }

    /// Marks rows that differ from the one before.
    pub(super) fn mark(&self, changes: &mut [bool]) {
        let pairs = self.numbers.iter().zip(self.numbers.iter().skip(1));
        for (change, (before, number)) in changes.iter_mut().skip(1).zip(pairs) {
            *change |= before != number;
        }
    }

    /// What each number means.
    pub(super) fn meanings<T>(&self, meaning: impl Fn(&str) -> T) -> Vec<T> {
        (0..self.texts.len()).map(|number| meaning(self.texts.value(number))).collect()
    }
}

// === impl LabelMap ===

impl<'a> LabelMap<'a> {
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(*self.offsets.get(row)?).ok()?;
        Some(start..usize::try_from(*self.offsets.get(row + 1)?).ok()?)
    }

    /// Names and values of a row; `None` where either is null.
    pub(super) fn get(&self, row: usize) -> impl Iterator<Item = Option<(&'a str, &'a str)>> {
        let entries = self.range(row).unwrap_or_default();
        entries.map(|entry| Some((self.names.get(entry)?, self.values.get(entry)?)))
    }

    /// Marks rows that differ from the one before.
    pub(super) fn mark(&self, changes: &mut [bool]) {
        if self.names.numbers.is_empty() {
            return;
        }
        let entries = |row: usize| {
            let range = self.range(row)?;
            Some((self.names.numbers.get(range.clone())?, self.values.numbers.get(range)?))
        };
        for (row, change) in changes.iter_mut().enumerate().skip(1) {
            *change |= entries(row) != entries(row - 1);
        }
    }
}
