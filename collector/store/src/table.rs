//! Samples of many hosts and windows in memory: what files are written from and read into.
//!
//! Pure. Memory grows with distinct code, labels and windows, see [`TableBuilder::rows`].

use std::collections::BTreeMap;

use fleetprof_proto::batch::{Batch, BatchBuilder, OriginIndex, StackIndex, Translation, Window};
use fleetprof_proto::{labels, v1};

use crate::catalog::NewFile;

/// Samples and the code they refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Objects, frames, stacks and sets of labels. It has no samples of its own, and no labels that
    /// hold for all.
    pub code: Batch,
    /// The samples. No two rows have the same origin, stack, result and window.
    pub rows: Vec<Row>,
}

/// Samples that have everything in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Row of the code's origins.
    pub origin: u32,
    /// Row of the code's stacks.
    pub stack: u32,
    /// The sampler's result code.
    pub result: u32,
    /// When they were taken.
    pub window: Window,
    /// How many.
    pub samples: u64,
    /// CPU time they stand for, nanoseconds.
    pub nanos: u64,
}

/// Adds up samples, by full equality.
#[derive(Debug, Default)]
pub struct TableBuilder {
    code: BatchBuilder,
    /// Those of the same key are added up from time to time.
    rows: Vec<(Key, (u64, u64))>,
    /// How many rows there are when that is done next; at least [`ADD_UP_AT`].
    add_up_at: usize,
}

/// The window of samples of which it does not matter.
pub const NO_WINDOW: Window = Window { start_unix_nanos: 0, end_unix_nanos: 0 };

/// Fewer rows are added up at the end only.
const ADD_UP_AT: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    origin: OriginIndex,
    start: i64,
    end: i64,
    stack: StackIndex,
    result: u32,
}

/// Labels that samples keep.
pub type Kept = Vec<(String, String)>;

// === impl Table ===

impl Table {
    /// What the catalog says of a file, as samples of its whole range that have a service and no stack.
    pub fn of_sums(file: &NewFile) -> Self {
        let mut builder = TableBuilder::new();
        let (start_unix_nanos, end_unix_nanos) = file.range();
        let window = Window { start_unix_nanos, end_unix_nanos };
        for sum in &file.services {
            let origin = builder.code.origin([(labels::SERVICE, sum.service.as_str())]);
            builder.add(origin, StackIndex::EMPTY, 0, window, (sum.samples, sum.nanos));
        }
        builder.finish()
    }

    /// The sums of its sets of labels, as samples of one window without a stack. `keep` says what stays of a
    /// label's value; nothing: the label goes.
    pub fn of_origins<'a>(&'a self, keep: impl Fn(&str, &'a str) -> Option<&'a str>) -> Self {
        let mut builder = TableBuilder::new();
        let origins: Vec<_> = (0..self.code.origin_count())
            .map(|origin| {
                let labels = self.code.origin_labels(origin);
                let kept = labels.filter_map(|(name, value)| Some((name, keep(name, value)?)));
                builder.code.origin(kept)
            })
            .collect();
        for row in &self.rows {
            let origin = origins[row.origin as usize];
            builder.add(origin, StackIndex::EMPTY, 0, NO_WINDOW, (row.samples, row.nanos));
        }
        builder.finish()
    }

    /// The service of one origin, empty if it has none.
    pub(crate) fn service(&self, origin: usize) -> &str {
        let mut labels = self.code.origin_labels(origin);
        labels.find(|(name, _)| *name == labels::SERVICE).map_or("", |(_, value)| value)
    }

    /// The labels of one origin.
    pub fn labels(&self, origin: u32) -> BTreeMap<&str, &str> {
        self.code.origin_labels(origin as usize).collect()
    }

    /// Adds the samples to a batch, whatever their windows. `select` is asked once for each set of
    /// labels, and answers those to keep, or `None` to leave its samples out. Returns the number of
    /// samples added.
    pub fn add_to(
        &self,
        batch: &mut BatchBuilder,
        mut select: impl FnMut(&BTreeMap<&str, &str>) -> Option<Kept>,
    ) -> u64 {
        let origins: Vec<Option<OriginIndex>> = (0..self.code.origin_count())
            .map(|origin| {
                let kept = select(&self.code.origin_labels(origin).collect())?;
                Some(batch.origin(kept.iter().map(|(name, value)| (&**name, &**value))))
            })
            .collect();
        let mut translation = Translation::new(&self.code);
        let mut added = 0_u64;
        for row in &self.rows {
            let Some(origin) = origins[row.origin as usize] else { continue };
            let stack = translation.stack(batch, row.stack as usize);
            batch.add(origin, stack, row.result, row.samples, row.nanos);
            added = added.saturating_add(row.samples);
        }
        added
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.samples))
    }
}

// === impl TableBuilder ===

impl TableBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows so far, of samples and of code: the measure of memory, some 60 to 100 bytes each.
    pub fn rows(&self) -> usize {
        self.rows.len() + self.code.rows()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds all samples of a batch, with all their labels.
    pub fn add_batch(&mut self, batch: &Batch) {
        let origins: Vec<_> = (0..batch.origin_count())
            .map(|origin| self.code.origin(batch.labels().chain(batch.origin_labels(origin))))
            .collect();
        let stacks = Translation::new(batch).all(&mut self.code);
        let window = batch.window();
        for row in batch.samples() {
            let stack = stacks[row.stack];
            self.add(origins[row.origin], stack, row.result, window, (row.count, row.nanos));
        }
    }

    /// Adds the samples of a table. `select` is asked once for each set of labels, and answers those to
    /// keep, or `None` to leave its samples out; `window` says which window samples get, or `None` to
    /// leave them out. Returns the number of samples added.
    pub fn add_table(
        &mut self,
        table: &Table,
        mut select: impl FnMut(&BTreeMap<&str, &str>) -> Option<Kept>,
        mut window: impl FnMut(Window) -> Option<Window>,
    ) -> u64 {
        let origins: Vec<Option<OriginIndex>> = (0..table.code.origin_count())
            .map(|origin| {
                let kept = select(&table.code.origin_labels(origin).collect())?;
                Some(self.code.origin(kept.iter().map(|(name, value)| (&**name, &**value))))
            })
            .collect();
        let mut translation = Translation::new(&table.code);
        let mut added = 0_u64;
        for row in &table.rows {
            let Some(origin) = origins[row.origin as usize] else { continue };
            let Some(window) = window(row.window) else { continue };
            let stack = translation.stack(&mut self.code, row.stack as usize);
            self.add(origin, stack, row.result, window, (row.samples, row.nanos));
            added = added.saturating_add(row.samples);
        }
        added
    }

    /// The code that rows refer to, for [`Self::add`].
    pub(crate) fn code(&mut self) -> &mut BatchBuilder {
        &mut self.code
    }

    /// Adds samples, and CPU time in nanoseconds. Origin and stack are of [`Self::code`].
    pub(crate) fn add(
        &mut self,
        origin: OriginIndex,
        stack: StackIndex,
        result: u32,
        window: Window,
        (samples, nanos): (u64, u64),
    ) {
        let (start, end) = (window.start_unix_nanos, window.end_unix_nanos);
        self.rows.push((Key { origin, start, end, stack, result }, (samples, nanos)));
        if self.rows.len() >= self.add_up_at.max(ADD_UP_AT) {
            self.add_up();
            self.add_up_at = 2 * self.rows.len();
        }
    }

    /// Sorts the rows and adds up those of the same key.
    fn add_up(&mut self) {
        // Mostly runs that are sorted already.
        self.rows.sort_by_key(|(key, _)| *key);
        self.rows.dedup_by(|(key, (samples, nanos)), (first, sum)| {
            let is_same = key == first;
            if is_same {
                *sum = (sum.0.saturating_add(*samples), sum.1.saturating_add(*nanos));
            }
            is_same
        });
    }

    /// What was added, in the order origin, window, stack, result.
    pub fn finish(mut self) -> Table {
        self.add_up();
        let row = |(key, (samples, nanos)): (Key, (u64, u64))| Row {
            origin: key.origin.row(),
            stack: key.stack.row(),
            result: key.result,
            window: Window { start_unix_nanos: key.start, end_unix_nanos: key.end },
            samples,
            nanos,
        };
        let code = self.code.finish(NO_WINDOW, [], v1::Accounting::default());
        Table { code, rows: self.rows.into_iter().map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that rows are added up on the way, so that memory does not grow with what is added, and that
    /// nothing is lost by it.
    #[test]
    fn rows_of_the_same_key_are_one() {
        const KEYS: usize = 100_000;
        let mut builder = TableBuilder::new();
        let origin = builder.code().origin([(labels::SERVICE, "a")]);
        let window =
            |key: usize| Window { start_unix_nanos: key as i64, end_unix_nanos: key as i64 + 1 };
        for round in 0..8 {
            for key in 0..KEYS {
                // In another order each time.
                let key = (key * 7919 + round) % KEYS;
                builder.add(origin, StackIndex::EMPTY, 0, window(key), (1, key as u64));
            }
            assert!(builder.rows.len() <= 2 * KEYS + ADD_UP_AT, "{}", builder.rows.len());
        }
        let table = builder.finish();
        assert_eq!(table.rows.len(), KEYS);
        for (key, row) in table.rows.iter().enumerate() {
            assert_eq!((row.window, row.samples, row.nanos), (window(key), 8, 8 * key as u64));
        }
    }
}
