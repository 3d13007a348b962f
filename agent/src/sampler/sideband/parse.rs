//! Bytes of a perf record → [`ProcessEvent`]. Pure.
//!
//! perf-event2 has a parser too, but its ring reader panics on records it does not expect, and it
//! brings a second set of kernel bindings beside aya's. Five kinds of record are all that is needed.

use aya_obj::generated::perf_event_type;
use fleetprof_abi::COMM_LEN;

use crate::sampler::event::{Inode, KernelBuildId, MappedFile, Mapping, ProcessEvent};

/// `PERF_RECORD_MISC_COMM_EXEC`: the name changed because of an exec.
const MISC_COMM_EXEC: u16 = 1 << 13;
/// `PERF_RECORD_MISC_MMAP_BUILD_ID`: a build ID stands where else the inode is.
const MISC_MMAP_BUILD_ID: u16 = 1 << 14;

const TYPE_LOST: u32 = perf_event_type::PERF_RECORD_LOST as u32;
const TYPE_COMM: u32 = perf_event_type::PERF_RECORD_COMM as u32;
const TYPE_EXIT: u32 = perf_event_type::PERF_RECORD_EXIT as u32;
const TYPE_FORK: u32 = perf_event_type::PERF_RECORD_FORK as u32;
const TYPE_MMAP2: u32 = perf_event_type::PERF_RECORD_MMAP2 as u32;

/// What a record is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Event(ProcessEvent),
    /// Not of interest: threads, renames, kinds that were not asked for.
    Ignored,
    /// Not understood.
    Damaged,
}

/// Reads one record as written with `sample_type = TIME` and `sample_id_all`: its last 8 bytes are
/// the time.
pub(super) fn parse(record: &[u8]) -> Parsed {
    parse_record(record).unwrap_or(Parsed::Damaged)
}

fn parse_record(record: &[u8]) -> Option<Parsed> {
    let mut head = Reader(record);
    let (kind, misc, _size) = (head.u32()?, head.u16()?, head.u16()?);
    let (body, time) = head.0.split_last_chunk::<8>()?;
    let time_ns = u64::from_ne_bytes(*time);
    let body = Reader(body);
    match kind {
        TYPE_FORK => fork(body, time_ns),
        TYPE_EXIT => exit(body, time_ns),
        TYPE_COMM => comm(body, time_ns, misc & MISC_COMM_EXEC != 0),
        TYPE_MMAP2 => mmap2(body, time_ns, misc & MISC_MMAP_BUILD_ID != 0),
        TYPE_LOST => lost(body, time_ns),
        _ => Some(Parsed::Ignored),
    }
}

fn fork(mut body: Reader<'_>, time_ns: u64) -> Option<Parsed> {
    let (pid, parent_pid) = (process(body.u32()?), process(body.u32()?));
    Some(match (pid, parent_pid) {
        // A thread's "parent" is its own process.
        (Some(pid), Some(parent_pid)) if pid != parent_pid => {
            Parsed::Event(ProcessEvent::Fork { time_ns, pid, parent_pid })
        }
        _ => Parsed::Ignored,
    })
}

fn exit(mut body: Reader<'_>, time_ns: u64) -> Option<Parsed> {
    let (pid, _parent, tid) = (body.u32()?, body.u32()?, body.u32()?);
    Some(match process(pid) {
        Some(pid) if pid == tid => Parsed::Event(ProcessEvent::Exit { time_ns, pid }),
        _ => Parsed::Ignored,
    })
}

fn comm(mut body: Reader<'_>, time_ns: u64, is_exec: bool) -> Option<Parsed> {
    let (pid, _tid) = (body.u32()?, body.u32()?);
    let name = body.string();
    let (Some(pid), true) = (process(pid), is_exec) else { return Some(Parsed::Ignored) };
    let mut comm = [0; COMM_LEN];
    let len = name.len().min(COMM_LEN - 1);
    comm[..len].copy_from_slice(&name[..len]);
    Some(Parsed::Event(ProcessEvent::Exec { time_ns, pid, comm }))
}

fn mmap2(mut body: Reader<'_>, time_ns: u64, has_build_id: bool) -> Option<Parsed> {
    let (pid, _tid) = (body.u32()?, body.u32()?);
    let (start, len, file_offset) = (body.u64()?, body.u64()?, body.u64()?);
    let file = body.array::<24>()?;
    let (_protection, _flags) = (body.u32()?, body.u32()?);
    let path = body.string().to_vec();
    let Some(pid) = process(pid) else { return Some(Parsed::Ignored) };
    if len == 0 || start.checked_add(len).is_none() {
        return None;
    }
    let file = if has_build_id { build_id(&file)? } else { inode(&file)? };
    let mapping = Mapping { time_ns, pid, start, len, file_offset, path, file };
    Some(Parsed::Event(ProcessEvent::Mmap(mapping)))
}

fn build_id(file: &[u8; 24]) -> Option<MappedFile> {
    let [len, _, _, _, bytes @ ..] = file;
    KernelBuildId::new(bytes.get(..usize::from(*len))?).map(MappedFile::BuildId)
}

fn inode(file: &[u8; 24]) -> Option<MappedFile> {
    let mut file = Reader(file);
    Some(MappedFile::Inode(Inode {
        major: file.u32()?,
        minor: file.u32()?,
        inode: file.u64()?,
        generation: file.u64()?,
    }))
}

fn lost(mut body: Reader<'_>, time_ns: u64) -> Option<Parsed> {
    let (_id, count) = (body.u64()?, body.u64()?);
    Some(Parsed::Event(ProcessEvent::Lost { time_ns, count }))
}

/// A process that can be named: not the idle task or one outside our pid namespace (0), and not one
/// that has lost its id already (all ones).
fn process(pid: u32) -> Option<u32> {
    (pid != 0 && pid != u32::MAX).then_some(pid)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    /// The rest up to the first zero byte.
    fn string(&self) -> &'a [u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
