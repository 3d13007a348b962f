// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Unwinder 2: the stack is copied for the agent, which walks it with the same code.
//!
//! For processes whose mappings are not in the kernel yet and for code whose table is not: the first
//! samples of everything. The agent goes on from the frame the walk had reached.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_RB_AVAIL_DATA, helpers::generated::bpf_probe_read_user, macros::perf_event,
    programs::PerfEventContext,
};
use fleetprof_abi::{
    MAX_KERNEL_FRAMES, MAX_STACK_BYTES, MAX_USER_FRAMES, RED_ZONE_BYTES, ResultCode, Scratch,
    WALK_BYTES,
};
use fleetprof_walk::{Machine as _, Walk};

use crate::{
    maps::{OUTPUT, RING, SETTINGS, State, end, rules, scratch, state},
    tables::{ARCHITECTURE, Live},
};

/// Memory is there or not by pages.
const PAGE_BYTES: u64 = 4096;
const PAGES: usize = (MAX_STACK_BYTES - RED_ZONE_BYTES) / PAGE_BYTES as usize;

/// Appends registers and stack to the record.
#[perf_event]
pub fn copy_stack(ctx: PerfEventContext) -> u32 {
    let (Some(scratch), Some(state), Some(rules)) = (scratch(), state(), rules()) else {
        end(ResultCode::NoScratch);
        return 0;
    };
    let State { walk, around } = state;
    let mut live = Live { scratch, around, rules };
    // They may be on a part of the stack that is not copied.
    walk.settle(ARCHITECTURE, &mut live);
    if is_crowded() {
        // The frame that the walk stands at is known at least.
        live.push(walk.frame());
        live.scratch.header.result = ResultCode::TableLate.number();
        // SAFETY: nothing here needs dropping when the call does not return.
        unsafe { OUTPUT.tail_call(&ctx, 0) };
        end(ResultCode::NoOutput);
        return 0;
    }
    let scratch = live.scratch;
    let (kernel, user) = (scratch.header.kernel_frames, scratch.header.user_frames);
    if kernel as usize > MAX_KERNEL_FRAMES || user as usize > MAX_USER_FRAMES {
        end(ResultCode::Malformed);
        return 0;
    }
    let bytes = copy(walk, scratch, (kernel + user) as usize);
    scratch.header.stack_bytes = bytes;
    scratch.header.result =
        if bytes == 0 { ResultCode::UserUnreadable } else { ResultCode::StackCopied }.number();
    // SAFETY: nothing here needs dropping when the call does not return.
    unsafe { OUTPUT.tail_call(&ctx, 0) };
    end(ResultCode::NoOutput);
    0
}

/// A ring that is three quarters full, although its reader was woken at half, has room for samples,
/// but not for stacks: better many samples without their outermost frames than none.
#[inline(always)]
fn is_crowded() -> bool {
    let half = SETTINGS.load().wakeup_bytes;
    RING.query(u64::from(BPF_RB_AVAIL_DATA)) >= half + half / 2
}

/// Puts the registers and the stack behind `frames` frames; bytes of the stack.
#[inline(always)]
fn copy(walk: &Walk, scratch: &mut Scratch, frames: usize) -> u32 {
    // SAFETY: `frames` is within the limits of both walks, behind which there is room for this.
    let registers = unsafe { scratch.frames.as_mut_ptr().add(frames) };
    // SAFETY: as above.
    unsafe { ptr::write(registers.cast::<Walk>(), *walk) };
    let stack = walk.registers[ARCHITECTURE.stack_pointer() as usize];
    // SAFETY: there is room for both behind the registers.
    let (red_zone, destination) = unsafe {
        let red_zone = registers.cast::<u8>().add(WALK_BYTES);
        (red_zone, red_zone.add(RED_ZONE_BYTES))
    };
    let below = stack.wrapping_sub(RED_ZONE_BYTES as u64);
    // Where it is not there, the helper writes zeros, and nothing was saved in it.
    // SAFETY: as many bytes are written.
    unsafe { bpf_probe_read_user(red_zone.cast(), RED_ZONE_BYTES as u32, below as *const _) };
    let mut copied = 0_u64;
    for page in 0..PAGES {
        let from = stack.wrapping_add(copied);
        let len = if page == 0 { PAGE_BYTES - (from & (PAGE_BYTES - 1)) } else { PAGE_BYTES };
        if copied > (page as u64) * PAGE_BYTES {
            break;
        }
        // SAFETY: at most `PAGES` pages are written.
        let status = unsafe {
            let to = destination.add(copied as usize);
            bpf_probe_read_user(to.cast(), len as u32, from as *const _)
        };
        if status != 0 {
            break;
        }
        copied += len;
    }
    if copied == 0 { 0 } else { copied as u32 + RED_ZONE_BYTES as u32 }
}
