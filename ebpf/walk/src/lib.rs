// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The walk along a user stack, one frame at a time.
//!
//! In: the registers of a thread ([`Walk`]) and a [`Machine`] that knows its memory and the tables
//! of its code. Out: each frame's address, and at the end a `ResultCode`. The same source runs in
//! the kernel, where the memory is that of the interrupted thread, and in the agent, where it is a
//! copy of its stack: so what is tested on recorded stacks is what runs in the kernel.
//!
//! It is written for the kernel's verifier: no loops without a small bound, no slices, no panics.
#![no_std]
#![forbid(unsafe_code)]

mod machine;
mod signal;
mod step;
mod table;
mod walk;

pub use machine::{Machine, Place};
pub use step::{Step, step};
pub use table::rule_at;
pub use walk::{FRAME_BY_POINTER, FRAME_IS_EXACT, Walk, frame_address};

#[cfg(test)]
mod tests;
