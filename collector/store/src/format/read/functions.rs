//! Reads parts of a functions file. No I/O: asks for byte ranges, and is given them.

mod audit;
mod rows;

use std::ops::Range;

use arrow_array::RecordBatch;
use bytes::Bytes;
use fleetprof_proto::labels;

use self::rows::{FILE_ID, Filter, Keys, Reasons, is_in, sum};
use super::{
    columns::{Columns, amounts},
    file::File,
    guarded,
};
use crate::{
    catalog::FileId,
    format::{
        FormatError,
        schema::{self, AMOUNTS, CHUNKS_KEY, FUNCTIONS},
    },
    functions::{
        Amounts, FunctionHistory, FunctionId, FunctionKey, FunctionPlace, FunctionSum,
        FunctionsWanted,
    },
};

/// Columns that make a function one.
const KEY: [&str; 4] = ["function", "file", "module", "unnamed"];
const HOURS: &str = "hours";

/// A functions file of which the end is known, and parts may be.
#[derive(Debug)]
pub struct FunctionsFile {
    file: File,
    /// CRC-32C of each column of each row group.
    sums: Vec<u32>,
}

/// Columns of row groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    groups: Vec<usize>,
    columns: Vec<&'static str>,
}

// === impl FunctionsFile ===

impl FunctionsFile {
    /// Opens a file of this length by its end.
    ///
    /// # Errors
    /// When it is damaged, or of a newer format.
    pub fn open(end: &[u8], length: u64) -> Result<Self, FormatError> {
        guarded(FUNCTIONS, || {
            let file = File::open_end(FUNCTIONS, end, length, schema::functions())?;
            let texts = file.metadata_text(CHUNKS_KEY).unwrap_or_default().as_bytes();
            let sum =
                |digits: &[u8; 8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
            let sums: Option<Vec<u32>> = texts.as_chunks().0.iter().map(sum).collect();
            let chunks: usize = (0..file.groups()).map(|group| file.chunks(group).count()).sum();
            match sums.filter(|sums| sums.len() == chunks) {
                Some(sums) => Ok(Self { file, sums }),
                None => Err(file.damaged("it has no checksums of its parts")),
            }
        })
    }

    /// For fuzzers: the checksums of all parts become those of what stands in their places.
    pub(in crate::format) fn trust(&mut self, bytes: &[u8]) {
        let chunks = (0..self.file.groups()).flat_map(|group| self.file.chunks(group));
        let sum = |range: Range<u64>| {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            bytes.get(range).map(crc32c::crc32c)
        };
        self.sums = chunks.map(|(_, range)| sum(range).unwrap_or_default()).collect();
    }

    /// Its number.
    pub fn id(&self) -> FileId {
        self.file.id()
    }

    /// What [`Self::sums`] reads.
    pub fn sums_part(&self, wanted: &FunctionsWanted) -> Part {
        Part { groups: (0..self.file.groups()).collect(), columns: sum_columns(wanted) }
    }

    /// What [`Self::names`] reads.
    pub fn names_part(&self, places: &[FunctionPlace]) -> Part {
        let mut groups: Vec<usize> = places.iter().map(|place| place.group as usize).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|group| *group < self.file.groups());
        Part { groups, columns: KEY.to_vec() }
    }

    /// What [`Self::history`] reads.
    pub fn history_part(&self, function: &str) -> Part {
        let mut columns = vec![FILE_ID, labels::SERVICE, labels::VERSION, HOURS];
        columns.extend(KEY);
        let groups = 0..self.file.groups();
        let groups = groups.filter(|group| self.file.may_have(*group, "function", function));
        Part { groups: groups.collect(), columns }
    }

    /// Where the bytes of a part are.
    ///
    /// # Errors
    /// When they are not in the file.
    pub fn ranges(&self, part: &Part) -> Result<Vec<Range<u64>>, FormatError> {
        let ranges: Vec<Range<u64>> = self.chunks(part).map(|(_, range)| range).collect();
        if ranges.iter().any(|range| range.end > self.file.length()) {
            return Err(self.file.damaged("a column ends after the end"));
        }
        Ok(ranges)
    }

    /// Takes the bytes of a part, in the order of [`Self::ranges`].
    ///
    /// # Errors
    /// When they are not what was written.
    pub fn fill(&mut self, part: &Part, bytes: Vec<Bytes>) -> Result<(), FormatError> {
        let mut parts = Vec::with_capacity(bytes.len());
        let chunks: Vec<_> = self.chunks(part).collect();
        if chunks.len() != bytes.len() {
            return Err(self.file.damaged("it has other parts than were asked for"));
        }
        for ((number, range), bytes) in chunks.into_iter().zip(bytes) {
            if self.sums.get(number) != Some(&crc32c::crc32c(&bytes)) {
                return Err(self.file.damaged("the checksum of a part is wrong"));
            }
            parts.push((range.start, bytes));
        }
        parts.sort_by_key(|(start, _)| *start);
        self.file.fill(parts);
        Ok(())
    }

    /// The chunks of a part, by number.
    fn chunks(&self, part: &Part) -> impl Iterator<Item = (usize, Range<u64>)> {
        let all = (0..self.file.groups()).flat_map(|group| {
            self.file.chunks(group).map(move |(column, range)| (group, column, range))
        });
        all.enumerate().filter_map(|(number, (group, column, range))| {
            let wanted = part.groups.contains(&group) && part.columns.contains(&column);
            wanted.then_some((number, range))
        })
    }

    /// The sums of all functions; rows of one function that follow each other are one.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn sums(&self, wanted: &FunctionsWanted) -> Result<Vec<FunctionSum>, FormatError> {
        guarded(FUNCTIONS, || {
            let mut sums: Vec<FunctionSum> = Vec::new();
            for group in 0..self.file.groups() {
                let mut first = 0;
                for rows in self.file.batches(group, sum_columns(wanted))? {
                    let rows = rows.map_err(|error| self.file.damaged(error.to_string()))?;
                    self.add_sums(&rows, group, first, wanted, &mut sums)?;
                    first += rows.num_rows();
                }
            }
            Ok(sums)
        })
    }

    fn add_sums(
        &self,
        rows: &RecordBatch,
        group: usize,
        first: usize,
        wanted: &FunctionsWanted,
        sums: &mut Vec<FunctionSum>,
    ) -> Result<(), FormatError> {
        let columns = Columns::new(&self.file, group, rows);
        let ids = columns.longs("function_id")?;
        let unnamed = columns.text("unnamed")?;
        let reasons = Reasons::new(&unnamed);
        let mut filter = Filter::new(&columns, wanted)?;
        let (hours, totals) = match wanted.hours {
            Some(range) => (Some((columns.hours(HOURS)?, range)), None),
            None => (None, Some(columns.all_amounts()?)),
        };
        for (row, id) in ids.iter().enumerate() {
            if !filter.has(row) {
                continue;
            }
            let amounts = match (&hours, &totals) {
                (Some((hours, range)), _) => match sum(hours.get(row), *range) {
                    Some(sum) => sum,
                    None => continue,
                },
                (_, Some(totals)) => amounts(totals, row),
                _ => continue,
            };
            let id = FunctionId(*id);
            match sums.last_mut() {
                Some(last) if last.id == id => last.amounts.add(amounts),
                _ => {
                    let unnamed = reasons.get(&self.file, &unnamed, row)?;
                    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                    let place = FunctionPlace { group: place(group), row: place(first + row) };
                    sums.push(FunctionSum { id, unnamed, amounts, place });
                }
            }
        }
        Ok(())
    }

    /// The functions at some places, which are in order and each once.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn names(&self, places: &[FunctionPlace]) -> Result<Vec<FunctionKey>, FormatError> {
        guarded(FUNCTIONS, || {
            let mut names = Vec::with_capacity(places.len());
            for places in places.chunk_by(|a, b| a.group == b.group) {
                let (mut first, mut places) = (0, places.iter().peekable());
                let group = places.peek().map_or(0, |place| place.group as usize);
                for rows in self.file.batches(group, KEY)? {
                    let rows = rows.map_err(|error| self.file.damaged(error.to_string()))?;
                    let keys = Keys::new(&self.file, &Columns::new(&self.file, group, &rows))?;
                    let end = first + rows.num_rows();
                    while let Some(place) = places.next_if(|place| (place.row as usize) < end) {
                        names.push(keys.get(place.row as usize - first)?);
                    }
                    first = end;
                }
            }
            if names.len() != places.len() {
                return Err(self.file.damaged("it has fewer rows than were there"));
            }
            Ok(names)
        })
    }

    /// What there is of functions of this name, by the hour.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn history(
        &self,
        function: &str,
        wanted: &FunctionsWanted,
    ) -> Result<Vec<FunctionHistory>, FormatError> {
        guarded(FUNCTIONS, || {
            let mut found = Vec::new();
            let Part { groups, columns } = self.history_part(function);
            for group in groups {
                if !self.has_function(group, function)? {
                    continue;
                }
                for rows in self.file.batches(group, columns.iter().copied())? {
                    let rows = rows.map_err(|error| self.file.damaged(error.to_string()))?;
                    let columns = Columns::new(&self.file, group, &rows);
                    self.add_history(&columns, rows.num_rows(), function, wanted, &mut found)?;
                }
            }
            Ok(found)
        })
    }

    /// Whether a function is in a row group: its names are less than the rest.
    fn has_function(&self, group: usize, function: &str) -> Result<bool, FormatError> {
        for rows in self.file.batches(group, ["function"])? {
            let rows = rows.map_err(|error| self.file.damaged(error.to_string()))?;
            let names = Columns::new(&self.file, group, &rows).text("function")?;
            if names.meanings(|name| name == function).contains(&true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add_history(
        &self,
        columns: &Columns<'_>,
        rows: usize,
        function: &str,
        wanted: &FunctionsWanted,
        found: &mut Vec<FunctionHistory>,
    ) -> Result<(), FormatError> {
        let (service, version) = (columns.text(labels::SERVICE)?, columns.text(labels::VERSION)?);
        let hours = columns.hours(HOURS)?;
        let keys = Keys::new(&self.file, columns)?;
        let mut filter = Filter::new(columns, wanted)?;
        for row in 0..rows {
            if !filter.has(row) || keys.function.get(row) != Some(function) {
                continue;
            }
            let in_range = |(hour, _): &(i64, Amounts)| is_in(*hour, wanted.hours);
            let hours: Vec<_> = hours.get(row).filter(in_range).collect();
            if !hours.is_empty() {
                found.push(FunctionHistory {
                    service: service.get(row).unwrap_or_default().to_owned(),
                    version: version.get(row).map(str::to_owned),
                    hours,
                });
            }
        }
        Ok(())
    }
}

/// Columns of sums.
fn sum_columns(wanted: &FunctionsWanted) -> Vec<&'static str> {
    let mut columns = vec!["function_id", "unnamed"];
    match wanted.hours {
        Some(_) => columns.push(HOURS),
        None => columns.extend(AMOUNTS),
    }
    columns.extend(wanted.files.as_ref().map(|_| FILE_ID));
    if wanted.origin.is_some() {
        columns.extend([labels::SERVICE, labels::VERSION]);
    }
    columns
}
