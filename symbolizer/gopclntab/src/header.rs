//! The table's header: its format, and where its parts are.

use crate::function::{Function, Functions};

/// First word of the table, by format.
const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
/// Words of the header behind its first eight bytes.
const WORDS: usize = 8;
const WORD_BYTES: usize = 8;

/// A layout of the records of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// Go 1.18 and 1.19.
    Go118,
    /// Go 1.20 and later.
    Go120,
}

/// Go's function table.
#[derive(Clone, Copy, Debug)]
pub struct FunctionTable<'a> {
    pub(crate) format: Format,
    /// Bytes of the smallest instruction.
    pub(crate) quantum: u8,
    pub(crate) count: usize,
    pub(crate) names: &'a [u8],
    /// For each unit, where the paths of its files begin: words.
    units: &'a [u8],
    /// The paths, each with a zero behind it.
    files: &'a [u8],
    pub(crate) values: &'a [u8],
    /// The offsets of the functions, then their records.
    pub(crate) functions: &'a [u8],
    text_start: u64,
    /// Bytes from the start of the table to the names and to the functions.
    offsets: (u64, u64),
}

/// Longest name or path that is believed.
const MAX_TEXT: usize = 64 * 1024;

/// The bytes are no table that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Another format: Go before 1.18, one that is not known yet, or no table at all.
    #[error(
        "no Go function table of a known format (magic {0:#x}); Go 1.18 and later are supported"
    )]
    Format(u32),
    /// For a processor with other pointers.
    #[error("a Go function table for pointers of {0} bytes; 8 are supported")]
    PointerBytes(u8),
    /// A number in the header leads out of the table.
    #[error("the Go function table is damaged: {0}")]
    Damaged(&'static str),
}

// === impl FunctionTable ===

impl<'a> FunctionTable<'a> {
    /// Reads the header of `bytes`, a whole `.gopclntab`.
    ///
    /// # Errors
    /// When the format is not known, or the header is damaged.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TableError> {
        let truncated = TableError::Damaged("truncated header");
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or(truncated)?;
        let [a, b, c, d, _, _, quantum, pointer_bytes] = *head;
        let format = match u32::from_le_bytes([a, b, c, d]) {
            MAGIC_1_18 => Format::Go118,
            MAGIC_1_20 => Format::Go120,
            other => return Err(TableError::Format(other)),
        };
        if usize::from(pointer_bytes) != WORD_BYTES {
            return Err(TableError::PointerBytes(pointer_bytes));
        }
        if !matches!(quantum, 1 | 2 | 4) {
            return Err(TableError::Damaged("size of an instruction"));
        }
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(rest.as_chunks::<WORD_BYTES>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        if rest.len() < WORDS * WORD_BYTES {
            return Err(truncated);
        }
        let [count, _files, text_start, names, units, files, values, functions] = words;
        let offsets = (names, functions);
        let part = |start: u64, what| {
            let start = usize::try_from(start).map_err(|_| TableError::Damaged(what))?;
            bytes.get(start..).ok_or(TableError::Damaged(what))
        };
        let functions = part(functions, "functions")?;
        // Each has an offset and a record; one more offset ends the last.
        let count = usize::try_from(count)
            .ok()
            .filter(|&count| count < functions.len() / Function::OFFSET_BYTES)
            .ok_or(TableError::Damaged("number of functions"))?;
        let (names, values) = (part(names, "names")?, part(values, "values")?);
        let (units, files) = (part(units, "units")?, part(files, "files")?);
        Ok(Self {
            format,
            quantum,
            count,
            names,
            units,
            files,
            values,
            functions,
            text_start,
            offsets,
        })
    }

    /// The functions, by rising offset.
    #[must_use]
    pub fn functions(&self) -> Functions<'a> {
        Functions::new(*self)
    }

    /// Address of the text that offsets count from, as the header says it. Linkers may leave it to
    /// the loader to fill in, and Go 1.26 does not write it at all: `None` then.
    #[must_use]
    pub fn text_start(&self) -> Option<u64> {
        Some(self.text_start).filter(|&start| start != 0)
    }

    /// Bytes from the start of the table to its names and to its functions, which the runtime's
    /// description of the module points at, too.
    #[must_use]
    pub fn offsets(&self) -> (u64, u64) {
        self.offsets
    }

    /// The function name at an offset, as records hold them.
    #[must_use]
    pub fn name(&self, offset: u32) -> Option<&'a str> {
        text_at(self.names, offset)
    }

    /// The path of a file, by the unit of a function and the number that its code has there.
    #[must_use]
    pub fn file(&self, unit: u32, number: i32) -> Option<&'a str> {
        let index = unit.checked_add(u32::try_from(number).ok()?)?;
        let at = usize::try_from(index).ok()?.checked_mul(4)?;
        let offset = u32::from_le_bytes(*self.units.get(at..)?.first_chunk()?);
        // The compiler left some out.
        (offset != u32::MAX).then(|| text_at(self.files, offset))?
    }
}

fn text_at(texts: &[u8], offset: u32) -> Option<&str> {
    let text = texts.get(usize::try_from(offset).ok()?..)?;
    let end = text.iter().take(MAX_TEXT).position(|&byte| byte == 0)?;
    str::from_utf8(text.get(..end)?).ok()
}
