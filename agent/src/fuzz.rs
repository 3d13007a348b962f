//! What the ways for fuzzers into this crate's parsers share.
//!
//! Each module with a parser of bytes from outside has a `fuzz` module beside it: any bytes in, an
//! abort when something is not as it must be. They are called by `tests/fuzz`, and are nobody
//! else's interface.

use std::io::{self, Read};

/// Bytes that come in pieces, as a file of `/proc` does.
pub(crate) struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

// === impl Pieces ===

impl<'a> Pieces<'a> {
    /// At most `piece` bytes at a time.
    pub(crate) fn new(bytes: &'a [u8], piece: usize) -> Self {
        Self { bytes, piece }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.piece.min(buffer.len());
        self.bytes.read(&mut buffer[..len])
    }
}
