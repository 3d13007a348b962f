//! Functions and their records.

use crate::header::{Format, FunctionTable};
use crate::values::Values;

/// A function.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    table: FunctionTable<'a>,
    /// Bytes from the start of the text to its entry.
    pub start: u32,
    /// To its end: the entry of the next one.
    pub end: u32,
    record: &'a [u8],
}

/// The functions of a table, by rising offset; those whose record is not there are left out.
#[derive(Clone, Debug)]
pub struct Functions<'a> {
    table: FunctionTable<'a>,
    next: usize,
}

/// Where fields are in a record.
const NAME: usize = 4;
const STACK_DELTAS: usize = 16;
const FILES: usize = 20;
const LINES: usize = 24;
const VALUE_TABLES: usize = 28;
const UNIT: usize = 32;

/// Of the tables behind a record: the numbers of inlined calls, and what describes these.
const INLINED_NUMBERS: u32 = 2;
const INLINED_CALLS: u32 = 3;

const TOP_FRAME: u8 = 1;
const WRITES_STACK_POINTER: u8 = 2;
const ASSEMBLY: u8 = 4;

// === impl Function ===

impl<'a> Function<'a> {
    /// Bytes of an entry in the list of offsets: the function's, and its record's.
    pub(crate) const OFFSET_BYTES: usize = 8;

    /// Its name, with the package's path; `None` when it is not there or no text.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        self.table.name(u32_at(self.record, NAME)?)
    }

    /// The compiled unit it is of, by which its files are numbered.
    #[must_use]
    pub fn unit(&self) -> u32 {
        u32_at(self.record, UNIT).unwrap_or_default()
    }

    /// Numbers of the source files, by range of code.
    #[must_use]
    pub fn files(&self) -> Values<'a> {
        self.values(FILES)
    }

    /// Source lines, by range of code.
    #[must_use]
    pub fn lines(&self) -> Values<'a> {
        self.values(LINES)
    }

    /// Numbers of the inlined calls that code comes from, by range of code; -1 for the function's own.
    #[must_use]
    pub fn inlined_numbers(&self) -> Values<'a> {
        let count = u32_at(self.record, VALUE_TABLES).unwrap_or_default();
        if INLINED_NUMBERS >= count {
            return Values::new(&[], self.table.quantum, 0);
        }
        self.values(self.record_bytes() + INLINED_NUMBERS as usize * 4)
    }

    /// Where its inlined calls are described: bytes from the start of the data of functions, which is
    /// not in this table.
    #[must_use]
    pub fn inlined_calls(&self) -> Option<u32> {
        let values = usize::try_from(u32_at(self.record, VALUE_TABLES)?).ok()?;
        let bytes = self.record_bytes();
        let count = u32::from(*self.record.get(bytes - 1)?);
        let at = bytes.checked_add(values.checked_mul(4)?)?;
        let at = at.checked_add(INLINED_CALLS as usize * 4)?;
        let offset = u32_at(self.record, at)?;
        (INLINED_CALLS < count && offset != u32::MAX).then_some(offset)
    }

    /// How far the stack pointer is below its value at the entry, in bytes, by range of code.
    #[must_use]
    pub fn stack_deltas(&self) -> Values<'a> {
        self.values(STACK_DELTAS)
    }

    /// It has no caller: goroutines and threads begin there, and handlers of signals.
    #[must_use]
    pub fn is_top_frame(&self) -> bool {
        self.flags() & TOP_FRAME != 0
    }

    /// It sets the stack pointer in ways that [`Self::stack_deltas`] does not know: it goes to
    /// another stack.
    #[must_use]
    pub fn writes_stack_pointer(&self) -> bool {
        self.flags() & WRITES_STACK_POINTER != 0
    }

    /// It was written in assembly.
    #[must_use]
    pub fn is_assembly(&self) -> bool {
        self.flags() & ASSEMBLY != 0
    }

    /// Its fixed part; tables' offsets follow.
    fn record_bytes(&self) -> usize {
        match self.table.format {
            Format::Go118 => 40,
            Format::Go120 => 44,
        }
    }

    fn flags(&self) -> u8 {
        let at = match self.table.format {
            Format::Go118 => 37,
            Format::Go120 => 41,
        };
        self.record.get(at).copied().unwrap_or_default()
    }

    fn values(&self, field: usize) -> Values<'a> {
        let at = u32_at(self.record, field).and_then(|at| usize::try_from(at).ok());
        // 0 stands for no values.
        let bytes = at.filter(|&at| at != 0).and_then(|at| self.table.values.get(at..));
        Values::new(bytes.unwrap_or_default(), self.table.quantum, self.end - self.start)
    }
}

// === impl Functions ===

impl<'a> Functions<'a> {
    pub(crate) fn new(table: FunctionTable<'a>) -> Self {
        Self { table, next: 0 }
    }

    /// The function with this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Function<'a>> {
        if number >= self.table.count {
            return None;
        }
        let bytes = self.table.functions;
        let at = number * Function::OFFSET_BYTES;
        let (start, record) = (u32_at(bytes, at)?, u32_at(bytes, at + 4)?);
        let end = u32_at(bytes, at + Function::OFFSET_BYTES)?;
        let record = bytes.get(usize::try_from(record).ok()?..)?;
        (end > start).then_some(Function { table: self.table, start, end, record })
    }
}

impl<'a> Iterator for Functions<'a> {
    type Item = (usize, Function<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.table.count {
            let number = self.next;
            self.next += 1;
            if let Some(function) = self.get(number) {
                return Some((number, function));
            }
        }
        None
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
