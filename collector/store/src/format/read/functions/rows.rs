//! Rows of a functions file: which are wanted, and which functions they are of.

use fleetprof_proto::{labels, symbol::Reason};
use hashbrown::HashMap;

use crate::{
    catalog::FileId,
    format::{
        FormatError,
        read::{
            columns::{Columns, Text},
            file::File,
        },
    },
    functions::{Amounts, FunctionKey, FunctionsWanted},
    level::HOUR,
};

/// Number of the pair that a row was made from.
pub(super) const FILE_ID: &str = "file_id";

/// Whether the middle of an hour is in a range.
pub(super) fn is_in(hour: i64, range: Option<(i64, i64)>) -> bool {
    range.is_none_or(|(start, end)| (start..end).contains(&hour.saturating_add(HOUR / 2)))
}

/// The sum of the hours in a range; `None` when there is none.
pub(super) fn sum(
    hours: impl Iterator<Item = (i64, Amounts)>,
    range: (i64, i64),
) -> Option<Amounts> {
    let inside = hours.filter(|(hour, _)| is_in(*hour, Some(range)));
    inside.map(|(_, amounts)| amounts).reduce(|mut sum, amounts| {
        sum.add(amounts);
        sum
    })
}

/// Which rows are wanted.
pub(super) struct Filter<'a> {
    wanted: &'a FunctionsWanted,
    files: Option<&'a [i64]>,
    origin: Option<(Text<'a>, Text<'a>)>,
    /// By numbers of service and version.
    known: HashMap<(i32, i32), bool>,
}

// === impl Filter ===

impl<'a> Filter<'a> {
    pub(super) fn new(
        columns: &Columns<'a>,
        wanted: &'a FunctionsWanted,
    ) -> Result<Self, FormatError> {
        let files = wanted.files.as_ref().map(|_| columns.longs(FILE_ID)).transpose()?;
        let origin = match wanted.origin {
            Some(_) => Some((columns.text(labels::SERVICE)?, columns.text(labels::VERSION)?)),
            None => None,
        };
        Ok(Self { wanted, files, origin, known: HashMap::new() })
    }

    pub(super) fn has(&mut self, row: usize) -> bool {
        if let (Some(ids), Some(files)) = (self.files, &self.wanted.files) {
            let is_file = FileId::from_number(ids[row]).is_some_and(|id| files.contains(&id));
            if !is_file {
                return false;
            }
        }
        let (Some((service, version)), Some(matches)) = (&self.origin, &self.wanted.origin) else {
            return true;
        };
        let numbers = (service.numbers[row], version.numbers[row]);
        *self
            .known
            .entry(numbers)
            .or_insert_with(|| matches(service.get(row).unwrap_or_default(), version.get(row)))
    }
}

/// What the numbers of the column `unnamed` mean. The text of a number that no row has may be anything.
pub(super) struct Reasons(Vec<Option<Reason>>);

// === impl Reasons ===

impl Reasons {
    pub(super) fn new(texts: &Text<'_>) -> Self {
        Self(texts.meanings(Reason::from_name))
    }

    pub(super) fn get(
        &self,
        file: &File,
        texts: &Text<'_>,
        row: usize,
    ) -> Result<Option<Reason>, FormatError> {
        let Ok(number) = usize::try_from(texts.numbers[row]) else { return Ok(None) };
        match self.0[number] {
            None => Err(file.damaged("a reason is not known")),
            known => Ok(known),
        }
    }
}

/// The columns that make a function one.
pub(super) struct Keys<'a> {
    file: &'a File,
    pub(super) function: Text<'a>,
    source: Text<'a>,
    module: Text<'a>,
    unnamed: Text<'a>,
    reasons: Reasons,
}

// === impl Keys ===

impl<'a> Keys<'a> {
    pub(super) fn new(file: &'a File, columns: &Columns<'a>) -> Result<Self, FormatError> {
        let unnamed = columns.text("unnamed")?;
        Ok(Self {
            file,
            function: columns.text("function")?,
            source: columns.text("file")?,
            module: columns.text("module")?,
            reasons: Reasons::new(&unnamed),
            unnamed,
        })
    }

    pub(super) fn get(&self, row: usize) -> Result<FunctionKey, FormatError> {
        let function = self.function.get(row);
        let function = function.ok_or_else(|| self.file.damaged("a function has no name"))?;
        let (file, module) = (self.source.get(row), self.module.get(row));
        let key = FunctionKey::new(
            function.to_owned(),
            file.unwrap_or_default(),
            module.unwrap_or_default(),
        );
        let unnamed = self.reasons.get(self.file, &self.unnamed, row)?;
        Ok(FunctionKey { unnamed, ..key })
    }
}
