//! The text of `/proc/kallsyms`, read line by line.

use std::{
    fs::File,
    io::{self, Write as _},
    ops::Range,
    path::Path,
};

/// A line of kallsyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol<'a> {
    pub(super) address: u64,
    /// As `nm` shows it.
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// Without the brackets; `None` for the kernel image.
    pub(super) module: Option<&'a [u8]>,
}

/// The lines of one object, with relative addresses.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    range: Range<u64>,
    module: Option<&'a [u8]>,
    text: Vec<u8>,
    after_function: bool,
}

const BUFFER_BYTES: usize = 64 << 10;

/// Bound on a listing, bytes; a large distribution kernel's functions have some 5 MiB.
const MAX_LISTING_BYTES: usize = 32 << 20;

// === impl Symbol ===

impl<'a> Symbol<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let address = words.next().filter(|digits| digits.len() <= 16)?;
        let address = address.iter().try_fold(0_u64, |value, byte| {
            Some(value << 4 | u64::from(char::from(*byte).to_digit(16)?))
        })?;
        let &[kind] = words.next()? else { return None };
        let name = words.next()?;
        let module = words.next().and_then(|word| word.strip_prefix(b"[")?.strip_suffix(b"]"));
        Some(Self { address, kind, name, module })
    }

    pub(super) fn is_function(&self) -> bool {
        matches!(self.kind, b't' | b'T' | b'w' | b'W' | b'i')
    }

    fn is_absolute(&self) -> bool {
        matches!(self.kind, b'a' | b'A')
    }
}

/// Hands out every symbol. Nothing is kept of them.
pub(super) fn for_each(path: &Path, sink: &mut dyn FnMut(&Symbol<'_>)) -> io::Result<()> {
    read(&mut File::open(path)?, &mut vec![0; BUFFER_BYTES], sink)
}

/// The same, of an open listing.
pub(super) fn read(
    listing: &mut impl io::Read,
    buffer: &mut [u8],
    sink: &mut dyn FnMut(&Symbol<'_>),
) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let len = listing.read(&mut buffer[filled..])?;
        filled += len;
        let text = &buffer[..filled];
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        text[..whole].split(|byte| *byte == b'\n').filter_map(Symbol::parse).for_each(|s| sink(&s));
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        // Names are at most 512 bytes, so a line always fits.
        if len == 0 || filled == buffer.len() {
            return Ok(());
        }
    }
}

// === impl Listing ===

impl<'a> Listing<'a> {
    /// The symbols of `module` (or the kernel image) within `range`, relative to its start.
    pub(super) fn new(range: Range<u64>, module: Option<&'a [u8]>) -> Self {
        Self { range, module, text: Vec::new(), after_function: false }
    }

    /// Functions, and of data only what tells where a function ends.
    pub(super) fn add(&mut self, symbol: &Symbol<'_>) {
        if symbol.module != self.module
            || !self.range.contains(&symbol.address)
            || symbol.is_absolute()
            || self.text.len() >= MAX_LISTING_BYTES
        {
            return;
        }
        if !symbol.is_function() && !self.after_function {
            return;
        }
        self.after_function = symbol.is_function();
        let kind = char::from(symbol.kind);
        // Writing to memory cannot fail.
        let _written = write!(self.text, "{:x} {kind} ", symbol.address - self.range.start);
        self.text.extend_from_slice(symbol.name);
        self.text.push(b'\n');
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.text.shrink_to_fit();
        self.text
    }
}

#[cfg(test)]
mod tests;
