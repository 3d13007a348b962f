// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Last step: the record goes to the agent, and the sample's end is counted.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_output,
    macros::perf_event,
    programs::PerfEventContext,
};
use fleetprof_abi::{
    MAX_FRAMES, MAX_KERNEL_FRAMES, MAX_STACK_BYTES, MAX_USER_FRAMES, ResultCode, SampleHeader,
    Scratch, WALK_BYTES, counter_of,
};

use crate::maps::{RING, SETTINGS, State, count, end, scratch, state};

/// Writes the record and counts its result.
#[perf_event]
pub fn finish(_ctx: PerfEventContext) -> u32 {
    let Some(scratch) = scratch() else {
        end(ResultCode::NoScratch);
        return 0;
    };
    let kernel_frames = scratch.header.kernel_frames as usize;
    let user_frames = scratch.header.user_frames as usize;
    if kernel_frames > MAX_KERNEL_FRAMES || user_frames > MAX_USER_FRAMES {
        end(ResultCode::Malformed);
        return 0;
    }
    let frames_len = size_of::<SampleHeader>() + (kernel_frames + user_frames) * size_of::<u64>();
    let mut len = frames_len;
    let stack_bytes = scratch.header.stack_bytes as usize;
    if stack_bytes > MAX_STACK_BYTES {
        end(ResultCode::Malformed);
        return 0;
    }
    if stack_bytes > 0 {
        len += WALK_BYTES + stack_bytes;
    }
    // What went wrong in the kernel's part of the stack is worth more than that the rest went well.
    let mut result = scratch.header.result;
    if result == ResultCode::Complete.number() || result == ResultCode::KernelOnly.number() {
        let kernel_result = scratch.header.kernel_result;
        if kernel_result != ResultCode::Complete.number() {
            result = kernel_result;
            scratch.header.result = result;
        }
    }
    let mut status = write(scratch, len);
    if status < 0 && stack_bytes > 0 {
        // What has room without its copied stack is not lost with it.
        result = ResultCode::TableLate.number();
        scratch.header.result = result;
        scratch.header.stack_bytes = 0;
        let len = frames_len + add_frame(scratch);
        status = write(scratch, len);
    }
    if status < 0 {
        end(ResultCode::RingFull);
    } else {
        // `result` is a `ResultCode`'s number; as a slot it needs no table.
        count(counter_of(ResultCode::Complete) + u32::from(result));
    }
    0
}

/// Adds the frame that the walk stands at; its bytes.
#[inline(always)]
fn add_frame(scratch: &mut Scratch) -> usize {
    let header = &mut scratch.header;
    let at = (header.kernel_frames + header.user_frames) as usize;
    if let (Some(State { walk, .. }), Some(slot)) = (state(), scratch.frames.get_mut(at))
        && at < MAX_FRAMES
        && (header.user_frames as usize) < MAX_USER_FRAMES
    {
        *slot = walk.frame();
        header.user_frames += 1;
        return size_of::<u64>();
    }
    0
}

/// Writes the first `len` bytes of the record; negative when there is no room.
#[inline(always)]
fn write(scratch: &mut Scratch, len: usize) -> i64 {
    // SAFETY: the record is at most as long as the scratch memory.
    unsafe {
        bpf_ringbuf_output(
            ptr::addr_of!(RING).cast_mut().cast(),
            ptr::from_mut::<Scratch>(scratch).cast(),
            len as u64,
            wakeup(),
        )
    }
}

/// The reader drains the ring on a timer. It is woken only when the ring fills faster than that, so
/// a sample costs no wakeup and an idle host stays idle.
#[inline(always)]
fn wakeup() -> u64 {
    let waiting = RING.query(u64::from(BPF_RB_AVAIL_DATA));
    let flag = if waiting >= SETTINGS.load().wakeup_bytes {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    u64::from(flag)
}
