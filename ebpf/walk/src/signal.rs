// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Over a signal frame: the kernel put all registers of the interrupted code on the stack, and the
//! handler returned to a trampoline that has the kernel take them back.

use fleetprof_abi::{Architecture, ResultCode};

use crate::{Machine, Walk};

/// Where x86-64 keeps the registers, by DWARF number, in bytes from the trampoline's stack pointer
/// (`struct ucontext`, `uc_mcontext.gregs`).
const X86_64: [u8; 16] = [
    144, 136, 152, 128, 112, 104, 120, 160, // rax rdx rcx rbx rsi rdi rbp rsp
    40, 48, 56, 64, 72, 80, 88, 96, // r8 to r15
];
const X86_64_IP: u64 = 168;

/// Where arm64 keeps `x0`: behind `siginfo` (128 bytes) and the head of `ucontext` (176 bytes, then
/// the fault's address).
const AARCH64_X0: u64 = 128 + 176 + 8;
const AARCH64_SP: u64 = AARCH64_X0 + 31 * 8;
const AARCH64_IP: u64 = AARCH64_SP + 8;

/// Goes to the code that the signal interrupted.
#[inline(always)]
pub(crate) fn follow(
    architecture: Architecture,
    stack: u64,
    walk: &mut Walk,
    machine: &mut impl Machine,
) -> Result<(), ResultCode> {
    let ip = match architecture {
        Architecture::X86_64 => {
            for (register, offset) in (0_u8..).zip(X86_64) {
                let address = stack.wrapping_add(u64::from(offset));
                let value = machine.read(address).ok_or(ResultCode::UserUnreadable)?;
                walk.set(register, value);
            }
            machine.read(stack.wrapping_add(X86_64_IP))
        }
        Architecture::Aarch64 => {
            // x19 to x30 and the stack pointer: what frames are found by.
            for register in 19..31_u8 {
                let address = stack.wrapping_add(AARCH64_X0 + u64::from(register) * 8);
                let value = machine.read(address).ok_or(ResultCode::UserUnreadable)?;
                walk.set(register, value);
            }
            let sp = machine.read(stack.wrapping_add(AARCH64_SP));
            walk.set(architecture.stack_pointer(), sp.ok_or(ResultCode::UserUnreadable)?);
            machine.read(stack.wrapping_add(AARCH64_IP))
        }
    };
    walk.ip = ip.ok_or(ResultCode::UserUnreadable)?;
    walk.exact = 1;
    walk.by_pointer = 0;
    Ok(())
}
