// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The alternative to `finish`: stacks counted in kernel maps instead of written to a ring.
//!
//! Measured by `agent/examples/output_cost.rs` and rejected in `docs/adr/002`; the product does not
//! contain it. Two forms: `by_stack` counts by the whole stack (full equality), `by_id` by the ids
//! of two stack maps (a 32-bit hash each).
#![no_std]
#![no_main]

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_USER_STACK, BPF_NOEXIST},
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_stack, bpf_get_stackid, bpf_map_update_elem},
    },
    macros::{map, perf_event},
    maps::{HashMap, PerCpuArray, StackTrace},
    programs::PerfEventContext,
};

/// As the kernel's own limit; with room for 512 user frames a key would be 5 KiB.
const FRAMES: usize = 127;
const ROOM: u32 = (FRAMES * size_of::<u64>()) as u32;
const ENTRIES: u32 = 16 * 1024;

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

/// The identity of a stack, all of it.
#[derive(Clone, Copy)]
#[repr(C)]
struct StackKey {
    pid_tgid: u64,
    kernel: [u64; FRAMES],
    user: [u64; FRAMES],
}

/// The identity of a stack by ids.
#[derive(Clone, Copy)]
#[repr(C)]
struct IdKey {
    pid_tgid: u64,
    kernel: i64,
    user: i64,
}

#[map]
static KEY: PerCpuArray<StackKey> = PerCpuArray::with_max_entries(1, 0);

#[map]
static BY_STACK: HashMap<StackKey, u64> = HashMap::with_max_entries(ENTRIES, 0);

#[map]
static BY_ID: HashMap<IdKey, u64> = HashMap::with_max_entries(ENTRIES, 0);

#[map]
static STACKS: StackTrace = StackTrace::with_max_entries(ENTRIES, 0);

/// 0: samples counted, 1: lost because a map was full, 2: stacks lost because of an equal hash.
#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(3, 0);

#[perf_event]
pub fn by_stack(ctx: PerfEventContext) -> u32 {
    let Some(key) = KEY.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's value; the helper clears what a stack leaves of its room.
    unsafe {
        (*key).pid_tgid = bpf_get_current_pid_tgid();
        bpf_get_stack(ctx.as_ptr(), ptr::addr_of_mut!((*key).kernel).cast(), ROOM, 0);
        let user = ptr::addr_of_mut!((*key).user);
        bpf_get_stack(ctx.as_ptr(), user.cast(), ROOM, u64::from(BPF_F_USER_STACK));
        if let Some(count) = BY_STACK.get_ptr_mut(&*key) {
            *count += 1;
            note(0);
            return 0;
        }
        let one = 1_u64;
        let status = bpf_map_update_elem(
            ptr::addr_of!(BY_STACK).cast_mut().cast(),
            key.cast(),
            ptr::from_ref(&one).cast_mut().cast(),
            u64::from(BPF_NOEXIST),
        );
        note(if status == 0 { 0 } else { 1 });
    }
    0
}

#[perf_event]
pub fn by_id(ctx: PerfEventContext) -> u32 {
    // SAFETY: plain helper calls.
    let (pid_tgid, kernel, user) = unsafe {
        (
            bpf_get_current_pid_tgid(),
            bpf_get_stackid(ctx.as_ptr(), stacks(), 0),
            bpf_get_stackid(ctx.as_ptr(), stacks(), u64::from(BPF_F_USER_STACK)),
        )
    };
    // EEXIST: another stack has the same hash.
    if kernel == -17 || user == -17 {
        note(2);
    }
    let key = IdKey { pid_tgid, kernel, user };
    if let Some(count) = BY_ID.get_ptr_mut(key) {
        // SAFETY: a live value of the map.
        unsafe { *count += 1 };
        note(0);
    } else {
        note(if BY_ID.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok() { 0 } else { 1 });
    }
    0
}

#[inline(always)]
fn stacks() -> *mut core::ffi::c_void {
    ptr::addr_of!(STACKS).cast_mut().cast()
}

#[inline(always)]
fn note(slot: u32) {
    if let Some(count) = OUTCOMES.get_ptr_mut(slot) {
        // SAFETY: this CPU's slot.
        unsafe { *count += 1 };
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
