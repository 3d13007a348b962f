//! Which generated function is, or lately was, at an address.
//!
//! In: [`Record`]s in the order of a file; a later one replaces what it overlaps, as memory for code is
//! used again. Out: names by address and time. Pure; memory is bounded.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    names::{NameId, Names},
    record::{Record, Rows},
};

/// The functions of one file.
#[derive(Debug)]
pub(super) struct CodeTable {
    max_bytes: usize,
    names: Names,
    /// By first address; they do not overlap.
    ranges: BTreeMap<u64, Range>,
    /// What was replaced lately, with the time of replacement: samples from before may still come.
    replaced: Vec<(u64, u64, Range)>,
    /// The lines of the function that comes next.
    lines: Option<(u64, Arc<Lines>)>,
    line_bytes: Arc<AtomicUsize>,
    /// Records there was no room for.
    refused: u64,
}

/// A function, or what is left of it.
#[derive(Clone, Debug)]
struct Range {
    len: u32,
    /// Bytes of the function before this.
    skipped: u32,
    name: NameId,
    /// Since when it is there; 0 = not known.
    since_ns: u64,
    lines: Option<Arc<Lines>>,
}

/// Positions by offset in the function. What is cut or moved shares them, so they count themselves.
#[derive(Debug)]
struct Lines {
    rows: Box<[LineRow]>,
    all_bytes: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug)]
struct LineRow {
    offset: u32,
    line: u32,
    file: Option<NameId>,
}

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Found {
    function: NameId,
    file: Option<NameId>,
    line: u32,
}

/// Most replaced functions kept at a time.
const MAX_REPLACED: usize = 1024;

/// How long they are kept: samples wait that long for unwind tables, at most.
const KEEP_NS: u64 = crate::unwind::WAIT_NS + 1_000_000_000;

// === impl CodeTable ===

impl CodeTable {
    /// An empty table that takes no more when it has so many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            names: Names::default(),
            ranges: BTreeMap::new(),
            replaced: Vec::new(),
            lines: None,
            line_bytes: Arc::default(),
            refused: 0,
        }
    }

    /// Takes note of a record. `to_boottime` makes its time one of `CLOCK_BOOTTIME`.
    pub(super) fn apply(&mut self, record: Record<'_>, to_boottime: impl Fn(u64) -> u64) {
        match record {
            Record::Load { start, size, name, time_ns } => {
                let lines = self.lines.take().filter(|(of, _)| *of == start);
                let lines = lines.map(|(_, lines)| lines);
                let since_ns = to_boottime(time_ns);
                let (Ok(len), Some(end)) = (u32::try_from(size), start.checked_add(size)) else {
                    self.refused += 1;
                    return;
                };
                // Also when there is no room: no name is better than that of what was there before.
                self.remove(start, end, since_ns);
                let name = if self.has_room() { self.names.intern(name) } else { None };
                match name {
                    Some(name) => {
                        let range = Range { len, skipped: 0, name, since_ns, lines };
                        self.ranges.insert(start, range);
                    }
                    None => self.refused += 1,
                }
            }
            Record::Move { from, to, size, time_ns } => {
                self.moved(from, to, size, to_boottime(time_ns));
            }
            Record::Lines { start, rows } if self.has_room() => {
                self.lines = Some((start, Arc::new(self.lines_of(start, rows))));
            }
            Record::Lines { .. } => self.refused += 1,
        }
    }

    fn moved(&mut self, from: u64, to: u64, size: u64, at_ns: u64) {
        let known = self.ranges.get(&from).filter(|range| u64::from(range.len) == size).cloned();
        let (Some(range), Some(end)) = (known, to.checked_add(size)) else {
            self.refused += 1;
            return;
        };
        self.remove(from, from.saturating_add(size), at_ns);
        self.remove(to, end, at_ns);
        self.ranges.insert(to, Range { since_ns: at_ns, ..range });
    }

    fn has_room(&self) -> bool {
        self.bytes() < self.max_bytes
    }

    /// What is at `address` in a sample taken at `time_ns`, `CLOCK_BOOTTIME`.
    pub(super) fn find(&self, address: u64, time_ns: u64) -> Option<Found> {
        let past = self.replaced.iter().find(|(until_ns, start, range)| {
            time_ns < *until_ns && range.since_ns <= time_ns && range.holds(*start, address)
        });
        if let Some((_, start, range)) = past {
            return Some(range.found(*start, address));
        }
        // One that came after the sample is taken too: most files do not tell when anything came.
        let (start, range) = self.ranges.range(..=address).next_back()?;
        range.holds(*start, address).then(|| range.found(*start, address))
    }

    /// Function, file and line of what was found here.
    pub(super) fn show(&self, found: Found) -> (&str, Option<&str>, u32) {
        let file = found.file.map(|file| self.names.get(file));
        (self.names.get(found.function), file.filter(|file| !file.is_empty()), found.line)
    }

    /// What it was made with.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How many functions there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Records there was no room for, or that speak of nothing that is known.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether no two functions overlap.
    pub(super) fn is_sound(&self) -> bool {
        let ends = self.ranges.iter().map(|(start, range)| range.end(*start));
        ends.zip(self.ranges.keys().skip(1)).all(|(end, next)| end <= *next)
            && self.ranges.values().all(|range| range.len > 0)
    }

    /// Memory it holds, bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        // Nodes of the tree are two thirds full in the mean.
        let ranges = self.ranges.len() * size_of::<(u64, Range)>() * 3 / 2;
        let replaced = self.replaced.capacity() * size_of::<(u64, u64, Range)>();
        self.names.bytes() + ranges + replaced + self.line_bytes.load(Relaxed)
    }

    /// Forgets what was replaced too long before `now_ns` for any sample to ask.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.replaced.retain(|(until_ns, ..)| until_ns.saturating_add(KEEP_NS) > now_ns);
        if self.replaced.is_empty() {
            self.replaced = Vec::new();
        }
    }

    /// Takes out what is between two addresses at a time, 0 for one that is not known. What lies across
    /// them is cut.
    fn remove(&mut self, start: u64, end: u64, at_ns: u64) {
        while let Some((&first, range)) = self.ranges.range(..end).next_back()
            && range.end(first) > start
        {
            let Some(range) = self.ranges.remove(&first) else { return };
            let last = range.end(first);
            if first < start {
                self.ranges.insert(first, range.part(first, first, start));
            }
            if last > end {
                self.ranges.insert(end, range.part(first, end, last));
            }
            if at_ns > range.since_ns && self.replaced.len() < MAX_REPLACED {
                self.replaced.push((at_ns, first, range));
            }
        }
    }

    fn lines_of(&mut self, start: u64, rows: Rows<'_>) -> Lines {
        let mut lines: Vec<LineRow> = rows
            .filter_map(|row| {
                let offset = u32::try_from(row.address.checked_sub(start)?).ok()?;
                Some(LineRow { offset, line: row.line, file: self.names.intern(row.file) })
            })
            .collect();
        // Of rows at one address the last holds: those before it have no code.
        lines.sort_by_key(|row| row.offset);
        let lines = Lines { rows: lines.into(), all_bytes: Arc::clone(&self.line_bytes) };
        self.line_bytes.fetch_add(lines.bytes(), Relaxed);
        lines
    }
}

// === impl Range ===

impl Range {
    fn end(&self, start: u64) -> u64 {
        start.saturating_add(self.len.into())
    }

    fn holds(&self, start: u64, address: u64) -> bool {
        start <= address && address < self.end(start)
    }

    /// What is between two addresses of a range that begins at `first`.
    fn part(&self, first: u64, start: u64, end: u64) -> Self {
        let [len, before] = [end - start, start - first].map(|n| u32::try_from(n).unwrap_or(0));
        Self { len, skipped: self.skipped.saturating_add(before), ..self.clone() }
    }

    fn found(&self, start: u64, address: u64) -> Found {
        let offset = (address - start).saturating_add(self.skipped.into());
        let row = self.lines.as_deref().and_then(|lines| {
            let after = lines.rows.partition_point(|row| u64::from(row.offset) <= offset);
            lines.rows.get(after.checked_sub(1)?)
        });
        Found {
            function: self.name,
            file: row.and_then(|row| row.file),
            line: row.map_or(0, |row| row.line),
        }
    }
}

// === impl Lines ===

impl Lines {
    fn bytes(&self) -> usize {
        self.rows.len() * size_of::<LineRow>() + 2 * size_of::<usize>() + size_of::<Self>()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes(), Relaxed);
    }
}

#[cfg(test)]
mod tests;
