//! The ring a perf event writes its records to.
#![expect(unsafe_code, reason = "the ring is memory shared with the kernel")]

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya_obj::generated::{perf_event_header, perf_event_mmap_page};
use rustix::mm::{MapFlags, ProtFlags};

use super::PerfEvent;

/// An event and its mapped ring: one page that says how far reader and writer are, then the data.
#[derive(Debug)]
pub(in crate::sampler) struct PerfRing {
    event: PerfEvent,
    reader: Reader,
}

/// The reading side of a ring in memory that somebody else maps and unmaps.
#[derive(Debug)]
struct Reader {
    base: ptr::NonNull<u8>,
    page: usize,
    /// A power of two.
    data_len: usize,
    /// The record being handed out, as a record may wrap around the end.
    record: Vec<u8>,
}

// SAFETY: the memory belongs to this value alone and is reachable from any thread.
unsafe impl Send for Reader {}

/// The kernel wrote something that is no sequence of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sampler) struct Damaged;

/// Hands out the records between two positions of a ring that no kernel writes: for fuzzers.
/// `data` is a power of two long.
pub(in crate::sampler) fn drain_memory(
    data: &[u8],
    tail: u64,
    head: u64,
    take: impl FnMut(&[u8]),
) -> Result<(), Damaged> {
    let page = rustix::param::page_size();
    let mut memory = vec![0_u64; (page + data.len()) / size_of::<u64>()];
    for (word, bytes) in memory[page / size_of::<u64>()..].iter_mut().zip(data.chunks_exact(8)) {
        *word = u64::from_ne_bytes(std::array::from_fn(|at| bytes[at]));
    }
    memory[offset_of!(perf_event_mmap_page, data_head) / size_of::<u64>()] = head;
    memory[offset_of!(perf_event_mmap_page, data_tail) / size_of::<u64>()] = tail;
    let base = ptr::NonNull::from(memory.as_mut_slice()).cast();
    let mut reader = Reader { base, page, data_len: data.len(), record: Vec::new() };
    let outcome = reader.drain(take);
    let tail = reader.position(offset_of!(perf_event_mmap_page, data_tail));
    assert_eq!(tail.load(Ordering::Relaxed), head, "the ring is not free again");
    outcome
}

// === impl PerfRing ===

impl PerfRing {
    /// Maps the ring of an event; `data_len` is a power of two, at least a page.
    pub(in crate::sampler) fn map(event: PerfEvent, data_len: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                page + data_len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &event,
                0,
            )
        }?;
        let base = ptr::NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { event, reader: Reader { base, page, data_len, record: Vec::new() } })
    }

    pub(in crate::sampler) fn event(&self) -> &PerfEvent {
        &self.event
    }

    /// Bytes of memory mapped.
    pub(in crate::sampler) fn mapped_bytes(&self) -> usize {
        self.reader.page + self.reader.data_len
    }

    /// Hands out every complete record, header included, and gives their room back to the kernel.
    pub(in crate::sampler) fn drain(&mut self, take: impl FnMut(&[u8])) -> Result<(), Damaged> {
        self.reader.drain(take)
    }
}

// === impl Reader ===

impl Reader {
    fn drain(&mut self, mut take: impl FnMut(&[u8])) -> Result<(), Damaged> {
        // Acquire: what the kernel wrote before it moved the head is visible after this load.
        let head =
            self.position(offset_of!(perf_event_mmap_page, data_head)).load(Ordering::Acquire);
        // Only this side writes the tail.
        let mut tail =
            self.position(offset_of!(perf_event_mmap_page, data_tail)).load(Ordering::Relaxed);
        let mut outcome = Ok(());
        while tail != head {
            let Some(len) = self.record_len(tail, head) else {
                outcome = Err(Damaged);
                tail = head;
                break;
            };
            self.copy_record(tail, len);
            take(&self.record);
            tail = tail.wrapping_add(len as u64);
        }
        // Release: the copies are made before the kernel may write there again.
        self.position(offset_of!(perf_event_mmap_page, data_tail)).store(tail, Ordering::Release);
        outcome
    }

    /// Length of the record at `tail`; `None` when it is none.
    fn record_len(&mut self, tail: u64, head: u64) -> Option<usize> {
        let available = usize::try_from(head.wrapping_sub(tail)).ok()?;
        if available < size_of::<perf_event_header>() || available > self.data_len {
            return None;
        }
        self.copy_record(tail, size_of::<perf_event_header>());
        let at = offset_of!(perf_event_header, size);
        let size = self.record.get(at..at + 2)?.try_into().ok()?;
        let len = usize::from(u16::from_ne_bytes(size));
        (size_of::<perf_event_header>()..=available).contains(&len).then_some(len)
    }

    /// Copies `len` bytes, at most `data_len`, from `position` on.
    fn copy_record(&mut self, position: u64, len: usize) {
        debug_assert!(len <= self.data_len);
        let start = (position & (self.data_len as u64 - 1)) as usize;
        let first = len.min(self.data_len - start);
        self.record.clear();
        // SAFETY: `data_len` bytes are mapped behind the first page. Both parts lie inside them, and
        // the kernel does not write between tail and head.
        unsafe {
            let data = self.base.as_ptr().add(self.page);
            self.record.extend_from_slice(std::slice::from_raw_parts(data.add(start), first));
            self.record.extend_from_slice(std::slice::from_raw_parts(data, len - first));
        }
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the offset is that of an aligned u64 inside the first mapped page, which lives as
        // long as `self` and which both sides access atomically.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }
}

impl AsFd for PerfRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for PerfRing {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, and nothing borrows from it any more.
        let result =
            unsafe { rustix::mm::munmap(self.reader.base.as_ptr().cast(), self.mapped_bytes()) };
        debug_assert!(result.is_ok(), "the range was mapped as one piece");
    }
}

#[cfg(test)]
mod tests;
