//! Why there is no table or no answer, and the limits that keep a conversion within bounds.

use std::time::Duration;

/// What a conversion may use: binaries belong to others, and may say anything about themselves.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes that compressed sections may unpack to, all together.
    pub unpacked_bytes: u64,
    /// Most rows: changes of function, file or line from one address to the next.
    pub rows: u64,
    /// Most ranges of functions, and most lines, of one unit of debug information.
    pub unit_rows: u32,
    /// Most units of debug information.
    pub units: u32,
    /// Most symbols of code.
    pub symbols: u32,
    /// Most distinct inlined calls.
    pub inlined: u32,
    /// Most distinct functions.
    pub functions: u32,
    /// Most bytes of distinct names and paths.
    pub text_bytes: u32,
    /// Longest name or path; longer ones are cut, and counted.
    pub name_bytes: usize,
    /// Deepest nesting of inlined calls; deeper ones are left out, and counted.
    pub depth: u32,
    /// Most entries of debug information that are read, those read again for a reference included.
    pub steps: u64,
    /// Longest time for one table.
    pub time: Duration,
}

/// Why no table was made.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Not an ELF file.
    #[error("{what} is not an ELF file that can be read: {why}")]
    NotElf {
        /// Which of the files.
        what: &'static str,
        /// The parser's words.
        why: String,
    },
    /// An ELF file of a kind that is not supported.
    #[error("{0} cannot be converted")]
    Unsupported(&'static str),
    /// No file was given, or no file has code.
    #[error("there is no code: neither sections nor segments are executable")]
    NoCode,
    /// Files that do not belong together.
    #[error("{what} is of another build than the binary: their build IDs differ")]
    Mismatch {
        /// Which of the files.
        what: &'static str,
    },
    /// A number or a structure is not possible.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// More than a limit allows.
    #[error("more {what} than the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit that was passed.
        limit: u64,
    },
    /// The process may not have as much memory as a section unpacks to.
    #[error("not enough memory to unpack a section")]
    NoMemory,
    /// Conversion took longer than [`Limits::time`].
    #[error("conversion took longer than {0:?}")]
    TooSlow(Duration),
}

/// Why bytes are not a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not one of our files.
    #[error("not a symbol table: convert the object again")]
    Magic,
    /// Written by another version.
    #[error("symbol table of version {0}, this program reads version {current}: convert the object again", current = crate::format::VERSION)]
    Version(u16),
    /// Bytes are missing or too many.
    #[error("the symbol table is truncated: convert the object again")]
    Length,
    /// A checksum does not fit.
    #[error("the symbol table is damaged ({0}): convert the object again")]
    Checksum(&'static str),
    /// A number leads out of the table.
    #[error("the symbol table is damaged ({0}): convert the object again")]
    Invalid(&'static str),
}

/// Why a position has no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// The object has no symbols at all.
    #[error("its object has no symbols")]
    NoSymbols,
    /// The object has symbols, but none covers this position.
    #[error("no symbol of its object covers it")]
    NotCovered,
    /// No segment of the object holds this file offset.
    #[error("no segment of its object holds it")]
    NotMapped,
    /// The table leads nowhere.
    #[error("its symbol table is damaged ({0})")]
    Damaged(&'static str),
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 8 << 30,
            rows: 1 << 28,
            unit_rows: 1 << 24,
            units: 1 << 20,
            symbols: 1 << 23,
            inlined: 1 << 25,
            functions: 1 << 23,
            text_bytes: 1 << 30,
            name_bytes: 16 << 10,
            depth: 256,
            steps: 1 << 32,
            time: Duration::from_secs(600),
        }
    }
}
