//! Reads a functions file as a whole, for checks.

use std::collections::BTreeMap;

use bytes::Bytes;
use fleetprof_proto::labels;

use super::{
    FunctionsFile, HOURS, KEY, Part,
    rows::{FILE_ID, Keys, sum},
};
use crate::{
    catalog::FileId,
    format::{
        FormatError,
        read::{
            columns::{Columns, amounts},
            guarded,
        },
        schema::{AMOUNTS, FUNCTIONS},
    },
};

/// Samples and CPU time in functions themselves, nanoseconds, by pair of files.
pub(crate) type SelfSums = BTreeMap<FileId, (u64, u64)>;

const FUNCTION_ID: &str = "function_id";

// === impl FunctionsFile ===

impl FunctionsFile {
    /// Reads every row, of a file that was opened by its end. Each must be of the function that its number
    /// says, and its hours must add up.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn audit(&mut self, bytes: &Bytes) -> Result<SelfSums, FormatError> {
        let mut columns = vec![FILE_ID, labels::SERVICE, labels::VERSION, FUNCTION_ID, HOURS];
        columns.extend(KEY);
        columns.extend(AMOUNTS);
        let part = Part { groups: (0..self.file.groups()).collect(), columns };
        let mut parts = Vec::new();
        for range in self.ranges(&part)? {
            let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let is_there = range.filter(|(start, end)| start <= end && *end <= bytes.len());
            let (start, end) =
                is_there.ok_or_else(|| self.file.damaged("a column is not there"))?;
            parts.push(bytes.slice(start..end));
        }
        self.fill(&part, parts)?;
        guarded(FUNCTIONS, || {
            let mut sums = SelfSums::new();
            for group in 0..self.file.groups() {
                for rows in self.file.batches(group, part.columns.iter().copied())? {
                    let rows = rows.map_err(|error| self.file.damaged(error.to_string()))?;
                    let columns = Columns::new(&self.file, group, &rows);
                    self.audit_rows(&columns, rows.num_rows(), &mut sums)?;
                }
            }
            Ok(sums)
        })
    }

    fn audit_rows(
        &self,
        columns: &Columns<'_>,
        rows: usize,
        sums: &mut SelfSums,
    ) -> Result<(), FormatError> {
        let (pairs, numbers) = (columns.longs(FILE_ID)?, columns.longs(FUNCTION_ID)?);
        let (totals, hours) = (columns.all_amounts()?, columns.hours(HOURS)?);
        let _origin = (columns.text(labels::SERVICE)?, columns.text(labels::VERSION)?);
        let keys = Keys::new(&self.file, columns)?;
        for row in 0..rows {
            if keys.get(row)?.id().0 != numbers[row] {
                return Err(self.file.damaged("a function has the number of another"));
            }
            let of_row = amounts(&totals, row);
            if sum(hours.get(row), (i64::MIN, i64::MAX)).unwrap_or_default() != of_row {
                return Err(self.file.damaged("the hours of a function are not its sum"));
            }
            let pair = FileId::from_number(pairs[row]);
            let pair = pair.ok_or_else(|| self.file.damaged("a row is of no pair"))?;
            let sum = sums.entry(pair).or_default();
            sum.0 = sum.0.saturating_add(of_row.self_samples);
            sum.1 = sum.1.saturating_add(of_row.self_nanos);
        }
        Ok(())
    }
}
