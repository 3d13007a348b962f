//! What was found out about pieces of code, before it is known which of it counts.
//!
//! A run is what one source says about one stretch of code without a hole: rows, packed, so that all
//! the rows of an object fit in memory beside it.

use crate::bytes::{Cursor, put_varint, zigzag};

/// What is known about code from one address to the next row's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) address: u32,
    pub(crate) content: Content,
}

/// Numbers of the builder's, 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) node: u32,
    pub(crate) file: u32,
    pub(crate) line: u32,
}

/// A stretch of code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) end: u32,
    first_byte: usize,
}

/// All runs, in the order of their sources.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    bytes: Vec<u8>,
    rows: u64,
    last: Row,
    is_open: bool,
}

/// The rows of a run, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunCursor<'a> {
    bytes: Cursor<'a>,
    end: u32,
    current: Row,
    /// The row behind it; its address is `end` when there is none.
    following: Row,
}

// === impl Runs ===

impl Runs {
    /// Adds a row that ends at `end` and begins where the row before it ended, or later; not before.
    pub(crate) fn push(&mut self, row: Row, end: u32) {
        if row.address >= end {
            return;
        }
        let goes_on = self.is_open && self.runs.last().is_some_and(|run| run.end == row.address);
        match self.runs.last_mut() {
            Some(run) if goes_on => {
                run.end = end;
                if self.last.content == row.content {
                    return;
                }
            }
            _ => {
                let first_byte = self.bytes.len();
                self.runs.push(Run { start: row.address, end, first_byte });
                self.last = Row { address: row.address, content: Content::default() };
                self.is_open = true;
            }
        }
        let (content, before) = (row.content, self.last.content);
        put_varint(&mut self.bytes, u64::from(row.address - self.last.address));
        for (new, old) in
            [(content.node, before.node), (content.file, before.file), (content.line, before.line)]
        {
            put_varint(&mut self.bytes, zigzag(i64::from(new) - i64::from(old)));
        }
        self.rows += 1;
        self.last = row;
    }

    /// The next row begins a run of its own.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn all(&self) -> &[Run] {
        &self.runs
    }

    /// The rows of run `number`.
    pub(crate) fn rows_of(&self, number: u32) -> RunCursor<'_> {
        let number = number as usize;
        let run = self.runs[number];
        let end = self.runs.get(number + 1).map_or(self.bytes.len(), |next| next.first_byte);
        let bytes = Cursor::new(&self.bytes[run.first_byte..end]);
        let start = Row { address: run.start, content: Content::default() };
        let mut cursor = RunCursor { bytes, end: run.end, current: start, following: start };
        cursor.advance();
        cursor.advance();
        cursor
    }
}

// === impl RunCursor ===

impl RunCursor<'_> {
    /// What is known at `address`, which is within the run and does not fall from one call to the
    /// next, and where that ends.
    pub(crate) fn seek(&mut self, address: u32) -> (Content, u32) {
        while self.following.address <= address && self.following.address < self.end {
            self.advance();
        }
        (self.current.content, self.following.address)
    }

    fn advance(&mut self) {
        self.current = self.following;
        let read = self.read();
        self.following = read.unwrap_or(Row { address: self.end, ..self.following });
    }

    fn read(&mut self) -> Option<Row> {
        let before = self.following;
        let address = before.address + self.bytes.varint32()?;
        let mut next = |before: u32| {
            let moved = self.bytes.signed()?;
            u32::try_from(i64::from(before) + moved).ok()
        };
        let node = next(before.content.node)?;
        let file = next(before.content.file)?;
        let line = next(before.content.line)?;
        Some(Row { address, content: Content { node, file, line } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(address: u32, node: u32, line: u32) -> Row {
        Row { address, content: Content { node, file: node * 3, line } }
    }

    #[test]
    fn rows_come_back_whole_or_in_part() {
        let mut runs = Runs::default();
        runs.push(row(10, 1, 5), 12);
        runs.push(row(12, 1, 5), 20);
        runs.push(row(20, 9, 0), 30);
        runs.push(row(30, 2, 4), 30);
        runs.push(row(40, 2, 4), 41);
        runs.close();
        runs.push(row(41, 2, 7), 50);
        let bounds: Vec<_> = runs.all().iter().map(|run| (run.start, run.end)).collect();
        assert_eq!(bounds, [(10, 30), (40, 41), (41, 50)]);
        assert_eq!(runs.rows(), 4);
        let mut cursor = runs.rows_of(0);
        assert_eq!(cursor.seek(10), (row(0, 1, 5).content, 20));
        assert_eq!(cursor.seek(19), (row(0, 1, 5).content, 20));
        assert_eq!(cursor.seek(20), (row(0, 9, 0).content, 30));
        assert_eq!(runs.rows_of(0).seek(29), (row(0, 9, 0).content, 30));
        assert_eq!(runs.rows_of(1).seek(40), (row(0, 2, 4).content, 41));
        assert_eq!(runs.rows_of(2).seek(45), (row(0, 2, 7).content, 50));
    }
}
