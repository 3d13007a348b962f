//! Reads a segment file from its start.
//!
//! In: a file. Out: its batches in order, and the places that are damaged. After damage it searches for
//! the next record. Memory is bounded by one record, time by the size of the file. Changes nothing.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use bytes::Bytes;

use super::segment::{HEADER_BYTES, PREFIX_BYTES, Prefix, RECORD_MAGIC, RecordMeta, SegmentId};

/// Read at once to get a prefix and, nearly always, the whole meta.
const GUESS_BYTES: u64 = 1024;
/// Read at once while searching.
const SEARCH_BYTES: u64 = 64 << 10;

/// A walk over a file's records.
pub(super) struct Walk<'a> {
    file: &'a File,
    id: SegmentId,
    at: u64,
    len: u64,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Step {
    /// A record whose meta is intact, and its payload, which may not be.
    Record(Box<RecordMeta>, Bytes),
    /// Bytes that are not a record: damage, or at the end a write that was never finished.
    Damaged { offset: u64, len: u64 },
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a File, id: SegmentId) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, id, at: HEADER_BYTES as u64, len })
    }

    /// What comes next; `None` at the end.
    pub(super) fn step(&mut self) -> io::Result<Option<Step>> {
        let offset = self.at;
        if offset >= self.len {
            return Ok(None);
        }
        if let Some((prefix, meta)) = self.record_at(offset)? {
            self.at = offset + prefix.record_len();
            let start = offset + (PREFIX_BYTES + prefix.meta_len) as u64;
            let payload = read_at(self.file, start, prefix.payload_len)?;
            return Ok(Some(Step::Record(Box::new(meta), payload.into())));
        }
        self.at = self.search(offset + 1)?.unwrap_or(self.len);
        Ok(Some(Step::Damaged { offset, len: self.at - offset }))
    }

    /// The record at an offset, if there is a whole one with intact meta.
    fn record_at(&self, offset: u64) -> io::Result<Option<(Prefix, RecordMeta)>> {
        let left = self.len - offset;
        // The file is at most as large as the address space.
        let guess = usize::try_from(left.min(GUESS_BYTES)).unwrap_or(0);
        let mut bytes = read_at(self.file, offset, guess)?;
        let Some(prefix) = Prefix::read(&bytes) else { return Ok(None) };
        if prefix.record_len() > left {
            return Ok(None);
        }
        let end = PREFIX_BYTES + prefix.meta_len;
        if bytes.len() < end {
            bytes = read_at(self.file, offset, end)?;
        }
        let meta = prefix.meta(self.id.salt, &bytes[PREFIX_BYTES..end]);
        Ok(meta.filter(|meta| meta.id().is_some()).map(|meta| (prefix, meta)))
    }

    /// The next offset from `from` on at which a record stands.
    fn search(&self, mut from: u64) -> io::Result<Option<u64>> {
        while self.len.saturating_sub(from) >= PREFIX_BYTES as u64 {
            let size = usize::try_from((self.len - from).min(SEARCH_BYTES)).unwrap_or(0);
            let bytes = read_at(self.file, from, size)?;
            let starts = bytes.windows(4).enumerate().filter(|(_, four)| *four == RECORD_MAGIC);
            for (start, _) in starts {
                let offset = from + start as u64;
                if self.len - offset >= PREFIX_BYTES as u64 && self.record_at(offset)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            // The magic may stand across two reads.
            from += (size - 3) as u64;
        }
        Ok(None)
    }
}

/// Reads a part of a file.
pub(super) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
