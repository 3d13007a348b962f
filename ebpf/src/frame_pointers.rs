// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Unwinder 0: the kernel walks the user stack along frame pointers, from the registers the task
//! had when it entered the kernel (or was interrupted in user mode). It knows the stacks of 32-bit
//! programs, for which there are no tables.

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_F_USER_STACK, helpers::generated::bpf_get_stack,
    macros::perf_event, programs::PerfEventContext,
};
use fleetprof_abi::{MAX_KERNEL_FRAMES, MAX_USER_FRAMES, ResultCode, Scratch};

use fleetprof_walk::FRAME_IS_EXACT;

use crate::maps::{OUTPUT, State, end, scratch, stack_room, state};

/// Appends the user frames to the record.
#[perf_event]
pub fn frame_pointers(ctx: PerfEventContext) -> u32 {
    let Some(scratch) = scratch() else {
        end(ResultCode::NoScratch);
        return 0;
    };
    if !walk_user(&ctx, scratch) {
        end(ResultCode::Malformed);
        return 0;
    }
    // SAFETY: nothing here needs dropping when the call does not return.
    unsafe { OUTPUT.tail_call(&ctx, 0) };
    end(ResultCode::NoOutput);
    0
}

/// False when the kernel frames do not fit their limit.
#[inline(always)]
fn walk_user(ctx: &PerfEventContext, scratch: &mut Scratch) -> bool {
    let kernel_frames = scratch.header.kernel_frames as usize;
    if kernel_frames > MAX_KERNEL_FRAMES {
        return false;
    }
    let room = stack_room(MAX_USER_FRAMES);
    // SAFETY: `kernel_frames` was checked, and `frames` has room for the limits of both walks.
    let written = unsafe {
        let destination = scratch.frames.as_mut_ptr().add(kernel_frames);
        bpf_get_stack(ctx.as_ptr(), destination.cast(), room, u64::from(BPF_F_USER_STACK))
    };
    if written <= 0 {
        scratch.header.result = ResultCode::UserUnreadable.number();
        return true;
    }
    scratch.header.user_frames = (written as u32) / size_of::<u64>() as u32;
    if let (Some(State { walk, .. }), Some(innermost)) =
        (state(), scratch.frames.get_mut(kernel_frames))
        && walk.exact != 0
    {
        *innermost |= FRAME_IS_EXACT;
    }
    scratch.header.result =
        if written as u32 == room { ResultCode::UserTruncated } else { ResultCode::FramePointers }
            .number();
    true
}
