//! Bytes of the ring buffer → [`RawSample`]. Pure; the bytes come from the kernel, but a record that
//! does not fit is an error, never a panic.

use std::mem::{offset_of, size_of};

use fleetprof_abi::{
    MAX_KERNEL_FRAMES, MAX_STACK_BYTES, MAX_USER_FRAMES, ResultCode, SampleHeader,
};

use super::event::{CopiedStack, RawSample};

/// Why a record is not a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("a record of {0} words is too short for its frames")]
    Short(usize),
    #[error("a record claims {0} kernel and {1} user frames")]
    Frames(usize, usize),
    #[error("a record claims {0} bytes of a stack")]
    Stack(usize),
    #[error("a record has the unknown result {0}")]
    Result(u16),
}

const HEADER_WORDS: usize = size_of::<SampleHeader>() / size_of::<u64>();
const _: () = assert!(HEADER_WORDS * size_of::<u64>() == size_of::<SampleHeader>());

/// Reads a record that starts at a multiple of 8 bytes, as all in the ring buffer do.
pub(super) fn parse(record: &[u64]) -> Result<RawSample<'_>, RecordError> {
    let short = RecordError::Short(record.len());
    let (header, frames) = record.split_at_checked(HEADER_WORDS).ok_or(short)?;
    let header = Words(header);
    let kernel_frames = header.u32(offset_of!(SampleHeader, kernel_frames)) as usize;
    let user_frames = header.u32(offset_of!(SampleHeader, user_frames)) as usize;
    if kernel_frames > MAX_KERNEL_FRAMES || user_frames > MAX_USER_FRAMES {
        return Err(RecordError::Frames(kernel_frames, user_frames));
    }
    let (kernel, rest) = frames.split_at_checked(kernel_frames).ok_or(short)?;
    let (user, rest) = rest.split_at_checked(user_frames).ok_or(short)?;
    let copied = match header.u32(offset_of!(SampleHeader, stack_bytes)) as usize {
        0 => None,
        bytes if bytes > MAX_STACK_BYTES => return Err(RecordError::Stack(bytes)),
        bytes => {
            let (registers, stack) = rest.split_first_chunk().ok_or(short)?;
            let words = stack.get(..bytes / size_of::<u64>()).ok_or(short)?;
            Some(CopiedStack { registers, words })
        }
    };
    let result = |offset| {
        let number = header.u16(offset);
        ResultCode::from_number(number).ok_or(RecordError::Result(number))
    };
    Ok(RawSample {
        pid: header.u32(offset_of!(SampleHeader, pid)),
        tid: header.u32(offset_of!(SampleHeader, tid)),
        start_boottime_ns: header.u64(offset_of!(SampleHeader, start_boottime_ns)),
        time_ns: header.u64(offset_of!(SampleHeader, time_ns)),
        weight_ns: header.u64(offset_of!(SampleHeader, weight_ns)),
        cgroup_id: header.u64(offset_of!(SampleHeader, cgroup_id)),
        cpu: header.u32(offset_of!(SampleHeader, cpu)),
        result: result(offset_of!(SampleHeader, result))?,
        kernel_result: result(offset_of!(SampleHeader, kernel_result))?,
        comm: header.bytes(offset_of!(SampleHeader, comm)),
        kernel,
        user,
        mm: header.u64(offset_of!(SampleHeader, mm)),
        copied,
    })
}

/// When the sample was taken; `None` when the record is too short to be one.
pub(super) fn time_ns(record: &[u64]) -> Option<u64> {
    let header = Words(record.get(..HEADER_WORDS)?);
    Some(header.u64(offset_of!(SampleHeader, time_ns)))
}

/// The words of a structure, all of them.
struct Words<'a>(&'a [u64]);

impl Words<'_> {
    fn u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(offset))
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.bytes(offset))
    }

    /// `N` bytes of a field; `offset` comes from `offset_of!`, so it is inside.
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|index| {
            let at = offset + index;
            self.0[at / size_of::<u64>()].to_ne_bytes()[at % size_of::<u64>()]
        })
    }
}

#[cfg(test)]
mod tests;
