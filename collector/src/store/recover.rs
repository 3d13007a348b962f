//! Reads a segment file of unknown state from its start.
//!
//! In: an open file. Out: its readable records in order, the places that are damaged, and a torn tail
//! (the part of a last write that a crash left). After damage it searches for the next record. Memory
//! is bounded by one record's meta, time by the size of the file. Changes nothing.

use std::{fs::File, io};

use fleetprof_proto::{batch::Window, ids::BatchId};

use super::{
    disk::read_at,
    segment::{HEADER_BYTES, PREFIX_BYTES, Prefix, RECORD_MAGIC, RecordMeta, SegmentId},
};

/// Read at once to get a prefix and, nearly always, the whole meta.
const GUESS_BYTES: u64 = 1024;
/// Read at once while searching.
const SEARCH_BYTES: u64 = 64 << 10;

/// Where a record is, and what an index needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordRef {
    pub offset: u64,
    pub meta_len: u32,
    pub payload_len: u32,
    pub id: BatchId,
    pub window: Window,
    pub samples: u64,
}

/// A walk over a file's records.
pub(super) struct Walk<'a> {
    file: &'a File,
    id: SegmentId,
    at: u64,
    len: u64,
    verify_payloads: bool,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Step {
    /// A record whose meta is intact (and whose payload is, where that is verified).
    Record(RecordRef, Box<RecordMeta>),
    /// A record whose meta is intact and whose payload is not.
    Hollow(RecordRef),
    /// Bytes that are not a record.
    Damaged { offset: u64, len: u64 },
    /// An incomplete record or zeros at the end.
    Torn { offset: u64 },
}

// === impl RecordRef ===

impl RecordRef {
    pub(super) fn new(
        offset: u64,
        prefix: Prefix,
        id: BatchId,
        window: Window,
        samples: u64,
    ) -> Self {
        // Both lengths come from 32-bit fields.
        let narrow = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        Self {
            offset,
            meta_len: narrow(prefix.meta_len),
            payload_len: narrow(prefix.payload_len),
            id,
            window,
            samples,
        }
    }

    /// Bytes of the whole record.
    pub(super) fn len(&self) -> usize {
        PREFIX_BYTES + self.meta_len as usize + self.payload_len as usize
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a File, id: SegmentId, verify_payloads: bool) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, id, at: HEADER_BYTES as u64, len, verify_payloads })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// What comes next; `None` at the end.
    pub(super) fn step(&mut self) -> io::Result<Option<Step>> {
        let offset = self.at;
        if offset >= self.len {
            return Ok(None);
        }
        if let Some((prefix, meta, id)) = self.record_at(offset)? {
            self.at = offset + prefix.record_len();
            let record = RecordRef::new(offset, prefix, id, meta.window(), meta.samples);
            if self.verify_payloads && !self.payload_matches(offset, prefix, &meta)? {
                return Ok(Some(Step::Hollow(record)));
            }
            return Ok(Some(Step::Record(record, Box::new(meta))));
        }
        let next = self.search(offset + 1)?;
        self.at = next.unwrap_or(self.len);
        if next.is_none() && self.looks_torn(offset)? {
            return Ok(Some(Step::Torn { offset }));
        }
        let len = self.at - offset;
        Ok(Some(Step::Damaged { offset, len }))
    }

    /// The record at an offset, if there is a whole one with intact meta.
    fn record_at(&self, offset: u64) -> io::Result<Option<(Prefix, RecordMeta, BatchId)>> {
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
        Ok(meta.and_then(|meta| meta.id().map(|id| (prefix, meta, id))))
    }

    fn payload_matches(&self, at: u64, prefix: Prefix, meta: &RecordMeta) -> io::Result<bool> {
        let start = at + (PREFIX_BYTES + prefix.meta_len) as u64;
        let payload = read_at(self.file, start, prefix.payload_len)?;
        Ok(crc32c::crc32c(&payload) == meta.payload_crc)
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

    /// Whether the rest of the file is what an interrupted append leaves: the beginning of a record
    /// that would go on past the end, or zeros.
    fn looks_torn(&self, offset: u64) -> io::Result<bool> {
        let left = self.len - offset;
        let head_len = usize::try_from(left.min(PREFIX_BYTES as u64)).unwrap_or(0);
        let head = read_at(self.file, offset, head_len)?;
        if let Some(prefix) = Prefix::read(&head) {
            let meta_end = PREFIX_BYTES as u64 + prefix.meta_len as u64;
            if left < meta_end {
                return Ok(true);
            }
            // Its meta is whole: only if it is intact are its lengths to be believed.
            let meta = read_at(self.file, offset + PREFIX_BYTES as u64, prefix.meta_len)?;
            return Ok(left < prefix.record_len() && prefix.meta(self.id.salt, &meta).is_some());
        }
        let magic = head.len().min(RECORD_MAGIC.len());
        if head.len() < PREFIX_BYTES && head[..magic] == RECORD_MAGIC[..magic] {
            return Ok(true);
        }
        self.is_zero(offset)
    }

    fn is_zero(&self, mut from: u64) -> io::Result<bool> {
        while from < self.len {
            let size = usize::try_from((self.len - from).min(SEARCH_BYTES)).unwrap_or(0);
            if read_at(self.file, from, size)?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            from += size as u64;
        }
        Ok(true)
    }
}
