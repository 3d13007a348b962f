//! Columns of a batch of rows, checked.

use std::borrow::Cow;

use arrow_array::{
    Array, BooleanArray, DictionaryArray, Int32Array, Int64Array, MapArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, types::Int32Type,
};

use super::file::File;
use crate::format::FormatError;

/// Rows of some columns.
pub(super) struct Columns<'a> {
    file: &'a File,
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

// === impl Columns ===

impl<'a> Columns<'a> {
    pub(super) fn new(file: &'a File, rows: &'a RecordBatch) -> Self {
        Self { file, rows }
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

    /// Numbers or null.
    pub(super) fn maybe_longs(&self, name: &str) -> Result<&'a Int64Array, FormatError> {
        self.get(name)
    }

    /// Numbers or null.
    pub(super) fn maybe_ints(&self, name: &str) -> Result<&'a Int32Array, FormatError> {
        self.get(name)
    }

    /// Texts.
    pub(super) fn text(&self, name: &str) -> Result<Text<'a>, FormatError> {
        let column = self.get::<DictionaryArray<Int32Type>>(name)?;
        Text::new(column).ok_or_else(|| self.file.damaged(format!("column {name} has bad numbers")))
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
