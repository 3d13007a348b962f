//! Bytes that are read where they are needed.
//!
//! In: a file, or bytes in memory (the vDSO). Out: exactly the bytes asked for, or an error. Files
//! are read, never mapped: a foreign file may shrink at any moment, and a mapping would then kill
//! the reader.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// Random access to the bytes of an object.
pub trait ReadAt {
    /// Length in bytes, as far as it is known now: the object may change at any time.
    ///
    /// # Errors
    /// When the length cannot be told.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from the byte `offset` on.
    ///
    /// # Errors
    /// When not all of these bytes can be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

// === impl ReadAt ===

impl ReadAt for [u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for &[u8] {
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
}

impl ReadAt for Vec<u8> {
    fn length(&self) -> io::Result<u64> {
        self.as_slice().length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buffer)
    }
}

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

/// Bytes of a file in memory, in windows: for many small reads in rising order.
pub(crate) struct Window<'a> {
    file: &'a dyn ReadAt,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Bytes read at a time: most functions with their gaps, and no burden for memory.
    pub(crate) const BYTES: usize = 64 * 1024;

    pub(crate) fn new(file: &'a dyn ReadAt, length: u64) -> Self {
        Self { file, length, start: 0, bytes: Vec::new() }
    }

    /// At most `length` bytes from `position` on: fewer at the end of the file, none when they
    /// cannot be read. At most [`Self::BYTES`].
    pub(crate) fn bytes(&mut self, position: u64, length: usize) -> &[u8] {
        let length = length.min(Self::BYTES);
        let wanted = self.length.saturating_sub(position).min(length as u64) as usize;
        let inside = position.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let from = match inside {
            Some(from) if self.bytes.len().saturating_sub(from) >= wanted => from,
            _ => {
                self.fill(position);
                0
            }
        };
        let end = from.saturating_add(wanted).min(self.bytes.len());
        self.bytes.get(from..end).unwrap_or_default()
    }

    fn fill(&mut self, position: u64) {
        let length = self.length.saturating_sub(position).min(Self::BYTES as u64) as usize;
        self.start = position;
        self.bytes.resize(length, 0);
        if self.file.read_at(position, &mut self.bytes).is_err() {
            // Code that cannot be read is code about which nothing is known.
            self.bytes.clear();
        }
    }
}
