//! The order of rows and of stacks in a pair of files.
//!
//! Neighbours should be alike: that is what makes files small, and quick to read back. So rows are
//! sorted by labels first, and stacks are numbered as a walk of their prefix tree meets them.

use std::{collections::BTreeMap, ops::Range};

use fleetprof_proto::batch::Batch;

use super::{FormatError, micros, schema::LABELS};
use crate::table::Table;

/// Rows of a file's row group, at most; a stack with more has one of its own.
const MAX_GROUP_ROWS: usize = 128 << 10;
/// A row group with as many rows ends where a service does.
const FULL_GROUP_ROWS: usize = 16 << 10;

/// What is written, in order.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Labels by row of origins.
    pub(super) labels: Vec<Labels<'a>>,
    /// The rows of samples.
    pub(super) rows: Vec<Planned>,
    /// Rows of the code's stacks: that of stack 1, of stack 2, ….
    pub(super) stacks: Vec<u32>,
    /// The services, by name, and what of `rows` and `stacks` is theirs.
    pub(super) services: Vec<Service<'a>>,
}

/// One row of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Planned {
    /// Its labels' place among all.
    labels: u32,
    /// Microseconds.
    pub(super) start: i64,
    /// Microseconds.
    pub(super) end: i64,
    /// First its stack's place in the walk of the tree, then its number in the file.
    pub(super) stack: u32,
    /// As in the table.
    pub(super) result: u32,
    /// Row of the table.
    pub(super) row: u32,
}

/// What is of one service.
#[derive(Clone, Debug)]
pub(super) struct Service<'a> {
    /// Its name, empty if the samples have none.
    pub(super) name: &'a str,
    /// In [`Plan::rows`].
    pub(super) rows: Range<usize>,
    /// In [`Plan::stacks`].
    pub(super) stacks: Range<usize>,
}

/// A set of labels, by columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels<'a> {
    /// Those of [`LABELS`].
    pub(super) known: [Option<&'a str>; LABELS.len()],
    /// All others, by name.
    pub(super) others: BTreeMap<&'a str, &'a str>,
}

// === impl Labels ===

impl<'a> Labels<'a> {
    fn new(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut others: BTreeMap<_, _> = labels.filter(|(_, value)| !value.is_empty()).collect();
        Self { known: LABELS.map(|name| others.remove(name)), others }
    }

    fn service(&self) -> &'a str {
        self.known[0].unwrap_or_default()
    }
}

// === impl Plan ===

impl<'a> Plan<'a> {
    /// Orders a table.
    ///
    /// # Errors
    /// When a window is empty.
    pub(super) fn new(table: &'a Table) -> Result<Self, FormatError> {
        let code = &table.code;
        let labels: Vec<_> = (0..code.origin_count())
            .map(|origin| Labels::new(code.origin_labels(origin)))
            .collect();
        let origins = ranks(&labels);
        let walk = Walk::new(code);
        let mut rows = Vec::with_capacity(table.rows.len());
        for (number, row) in (0..).zip(&table.rows) {
            let (start, end) = micros(row.window);
            if end <= start {
                let value = i128::from(row.window.end_unix_nanos);
                return Err(FormatError::Unstorable { what: "end of a window", value });
            }
            let stack = walk.place[row.stack as usize];
            let labels = origins[row.origin as usize];
            rows.push(Planned { labels, start, end, stack, result: row.result, row: number });
        }
        rows.sort_unstable();
        let mut plan = Self { labels, rows, stacks: Vec::new(), services: Vec::new() };
        plan.number(table, &walk);
        Ok(plan)
    }

    /// Numbers the stacks of each service, and puts the numbers into the rows.
    fn number(&mut self, table: &Table, walk: &Walk) {
        let service =
            |row: &Planned| self.labels[table.rows[row.row as usize].origin as usize].service();
        let mut numbers = vec![0; walk.order.len()];
        let mut first = 0;
        for rows in self.rows.chunk_by_mut(|a, b| a.labels == b.labels || service(a) == service(b))
        {
            let name = service(&rows[0]);
            let mut places: Vec<u32> = rows.iter().map(|row| row.stack).collect();
            places.sort_unstable();
            places.dedup();
            let start = self.stacks.len();
            // The empty stack has the first place, and the number 0.
            for place in places.into_iter().filter(|place| *place > 0) {
                self.stacks.push(walk.order[place as usize]);
                // Not more than samples, which were numbered by 32 bits.
                numbers[place as usize] = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
            }
            for row in rows.iter_mut() {
                row.stack = numbers[row.stack as usize];
            }
            let stacks = start..self.stacks.len();
            self.services.push(Service { name, rows: first..first + rows.len(), stacks });
            first += rows.len();
        }
    }

    /// Disjoint spans of time that the rows cover, in order, Unix nanoseconds.
    ///
    /// # Errors
    /// When one ends after the last instant there is.
    pub(super) fn spans(&self) -> Result<Vec<(i64, i64)>, FormatError> {
        let mut windows: Vec<_> = self.rows.iter().map(|row| (row.start, row.end)).collect();
        windows.dedup();
        windows.sort_unstable();
        let mut spans: Vec<(i64, i64)> = Vec::new();
        for (start, end) in windows {
            match spans.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => spans.push((start, end)),
            }
        }
        let nanos = |micros: i64| {
            micros
                .checked_mul(1000)
                .ok_or(FormatError::Unstorable { what: "microsecond", value: i128::from(micros) })
        };
        spans.into_iter().map(|(start, end)| Ok((nanos(start)?, nanos(end)?))).collect()
    }
}

/// Which of the sorted distinct values each value is.
fn ranks<T: Ord>(values: &[T]) -> Vec<u32> {
    let mut sorted: Vec<usize> = (0..values.len()).collect();
    sorted.sort_unstable_by_key(|index| &values[*index]);
    let mut ranks = vec![0; values.len()];
    let mut rank = 0;
    for (index, value) in sorted.iter().enumerate() {
        if index > 0 && values[*value] != values[sorted[index - 1]] {
            rank += 1;
        }
        ranks[*value] = rank;
    }
    ranks
}

/// A walk of the prefix tree of stacks, parents before children.
struct Walk {
    /// Rows of stacks, in the order they are met.
    order: Vec<u32>,
    /// When each row of stacks is met.
    place: Vec<u32>,
}

// === impl Walk ===

impl Walk {
    /// No recursion: a stack of any depth is fine.
    fn new(code: &Batch) -> Self {
        let count = code.stack_count();
        let parents: Vec<u32> = (0..count)
            .map(|stack| code.stack_node(stack).map_or(0, |(parent, _)| index(parent)))
            .collect();
        // The children of `row` are those in `children[firsts[row]..firsts[row + 1]]`.
        let mut firsts = vec![0_usize; count + 1];
        for parent in parents.iter().skip(1) {
            firsts[*parent as usize + 1] += 1;
        }
        for row in 0..count {
            firsts[row + 1] += firsts[row];
        }
        let mut next = firsts.clone();
        let mut children = vec![0_u32; count.saturating_sub(1)];
        for (row, parent) in (0..).zip(&parents).skip(1) {
            children[next[*parent as usize]] = row;
            next[*parent as usize] += 1;
        }
        let mut walk = Self { order: Vec::with_capacity(count), place: vec![0; count] };
        let mut pending = vec![0_u32];
        while let Some(row) = pending.pop() {
            walk.place[row as usize] = index(walk.order.len());
            walk.order.push(row);
            let range = firsts[row as usize]..firsts[row as usize + 1];
            pending.extend(children[range].iter().rev());
        }
        walk
    }
}

/// A row of a batch, or one of a row group: those are numbered by 32 bits.
pub(super) fn index(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// Cuts items into row groups. `sections` are the services' items, `size` says how many rows an item has.
pub(super) fn groups(
    sections: impl Iterator<Item = Range<usize>>,
    size: impl Fn(usize) -> usize,
) -> Vec<Range<usize>> {
    let (mut groups, mut rows, mut start, mut end) = (Vec::new(), 0, 0, 0);
    for section in sections {
        let mut is_full = rows >= FULL_GROUP_ROWS;
        for item in section {
            let size = size(item);
            if rows > 0 && (is_full || rows + size > MAX_GROUP_ROWS) {
                groups.push(start..item);
                (start, rows, is_full) = (item, 0, false);
            }
            rows += size;
            end = item + 1;
        }
    }
    if start < end {
        groups.push(start..end);
    }
    groups
}
