// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! What fleetprof runs in the kernel: one sample's way through four steps.
//!
//! ```text
//! perf event → sample ──tail call──▶ UNWINDERS[kind] ──tail call──▶ OUTPUT[0] = finish → RING
//!              head, kernel stack     user stack                     record, result counter
//! ```
//!
//! The record grows in this CPU's `SCRATCH`; a step hands over by a tail call, so each has the
//! verifier's whole budget and an unwinder may call itself again. A perf event program is never
//! interrupted by another one on its CPU (the kernel skips the inner one), so the scratch memory
//! needs no lock. In: perf events and `SETTINGS`. Out: records and counters of `fleetprof-abi`.
//! Policy (rates, whom to keep, names) is not here.
#![no_std]
#![no_main]

mod copy_stack;
mod entry;
mod finish;
mod frame_pointers;
mod maps;
mod registers;
mod tables;

/// The programs use helpers that the kernel gives to GPL-compatible code only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program in which this loop is reachable.
    loop {}
}
