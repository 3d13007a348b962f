// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The registers a thread had in user mode: where the walk along its stack begins.
//!
//! A thread that was interrupted in user mode has them in the event's context. One that was in the
//! kernel left them at the far end of its kernel stack when it entered. There is a helper for that
//! from Linux 5.15 on; we look ourselves, in the same way on every kernel, and believe what we find
//! only when it can be the state of a user program.

use aya_ebpf::{
    bindings::bpf_perf_event_data, helpers::bpf_probe_read_kernel, programs::PerfEventContext,
};
use fleetprof_abi::TaskOffsets;
use fleetprof_walk::Walk;

/// What was found.
pub enum Registers {
    /// A 64-bit program's.
    Found,
    /// A 32-bit program's: there are no tables for it.
    Compat,
    /// None that can be believed.
    NotFound,
}

/// Whether the CPU was in user mode.
#[inline(always)]
pub fn is_user(ctx: &PerfEventContext) -> bool {
    arch::is_user(ctx.ctx)
}

/// Fills in the registers of the interrupted thread.
#[inline(always)]
pub fn capture(
    ctx: &PerfEventContext,
    task: u64,
    offsets: &TaskOffsets,
    walk: &mut Walk,
) -> Registers {
    if arch::is_user(ctx.ctx) {
        return arch::from_context(ctx.ctx, walk);
    }
    if offsets.stack == 0 || offsets.user_registers == 0 {
        return Registers::NotFound;
    }
    let field = task.wrapping_add(u64::from(offsets.stack)) as *const u64;
    // SAFETY: the helper checks the address; a wrong one is an error.
    let Ok(stack) = (unsafe { bpf_probe_read_kernel(field) }) else {
        return Registers::NotFound;
    };
    let end = stack.wrapping_add(u64::from(offsets.user_registers));
    for padding in arch::PADDING {
        match arch::from_stack(end.wrapping_sub(padding), walk) {
            Registers::NotFound => {}
            found => return found,
        }
    }
    Registers::NotFound
}

#[cfg(not(bpf_target_arch = "aarch64"))]
mod arch {
    use core::ptr;

    use aya_ebpf::bindings::pt_regs;
    use fleetprof_walk::Walk;

    use super::{Registers, bpf_perf_event_data, bpf_probe_read_kernel};

    /// Some kernels leave two words free behind the registers.
    pub const PADDING: [u64; 2] = [0, 16];

    /// Code segments of user programs: 64 bit (Linux, Linux under Xen), 32 bit.
    const USER_64: [u64; 2] = [0x33, 0xe033];
    const USER_32: [u64; 2] = [0x23, 0xe023];

    /// The 16 general registers.
    const KNOWN: u32 = 0xffff;

    /// Whether the CPU was in user mode.
    #[inline(always)]
    pub fn is_user(context: *mut bpf_perf_event_data) -> bool {
        // SAFETY: the context outlives the program.
        unsafe { ptr::read_volatile(&raw const (*context).regs.cs) & 3 == 3 }
    }

    macro_rules! copy {
        ($walk:ident, $from:expr, $($number:literal $register:ident),+) => {
            $(
                // SAFETY: a field of a live structure; the kernel allows reads of single fields.
                $walk.registers[$number] =
                    unsafe { ptr::read_volatile(&raw const (*$from).$register) };
            )+
        };
    }

    macro_rules! copy_all {
        ($walk:ident, $from:expr) => {
            copy!(
                $walk, $from, 0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi, 5 rdi, 6 rbp, 7 rsp, 8 r8, 9 r9,
                10 r10, 11 r11, 12 r12, 13 r13, 14 r14, 15 r15
            )
        };
    }

    #[inline(always)]
    pub fn from_context(context: *mut bpf_perf_event_data, walk: &mut Walk) -> Registers {
        // SAFETY: the context outlives the program; fields are read one by one.
        let regs = unsafe { &raw const (*context).regs };
        copy_all!(walk, regs);
        // SAFETY: as above.
        let (ip, cs) = unsafe {
            (ptr::read_volatile(&raw const (*regs).rip), ptr::read_volatile(&raw const (*regs).cs))
        };
        walk.begin(ip, true, KNOWN);
        kind(cs)
    }

    #[inline(always)]
    pub fn from_stack(address: u64, walk: &mut Walk) -> Registers {
        // SAFETY: the helper checks the address; a wrong one is an error.
        let Ok(saved) = (unsafe { bpf_probe_read_kernel(address as *const pt_regs) }) else {
            return Registers::NotFound;
        };
        let found = kind(saved.cs);
        if !matches!(found, Registers::NotFound) {
            copy_all!(walk, &raw const saved);
            // In a system call it is the instruction after it, as with a return address.
            walk.begin(saved.rip, (saved.orig_rax as i64) < 0, KNOWN);
        }
        found
    }

    #[inline(always)]
    fn kind(cs: u64) -> Registers {
        if cs == USER_64[0] || cs == USER_64[1] {
            Registers::Found
        } else if cs == USER_32[0] || cs == USER_32[1] {
            Registers::Compat
        } else {
            Registers::NotFound
        }
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use core::{mem::offset_of, ptr};

    use aya_ebpf::{bindings::user_pt_regs, helpers::generated::bpf_probe_read_kernel as read};
    use fleetprof_abi::REGISTERS;
    use fleetprof_walk::Walk;

    use super::{Registers, bpf_perf_event_data, bpf_probe_read_kernel};

    pub const PADDING: [u64; 1] = [0];

    /// What follows the general registers and the stack pointer in the kernel's `struct pt_regs`.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Rest {
        pc: u64,
        pstate: u64,
        orig_x0: u64,
        /// Negative outside of system calls.
        syscall: i32,
        unused: u32,
    }

    /// Exception level and execution state in `pstate`; 0 is 64-bit user mode.
    const MODE: u64 = 0x1f;
    const COMPAT: u64 = 0x10;

    /// Addresses of user memory have at most 52 bits.
    const USER_END: u64 = 1 << 52;

    /// All 31 general registers, and the stack pointer.
    const KNOWN: u32 = u32::MAX;
    const GENERAL_BYTES: usize = REGISTERS * size_of::<u64>();
    const _: () = assert!(offset_of!(user_pt_regs, pc) == GENERAL_BYTES);

    /// Whether the CPU was in user mode.
    #[inline(always)]
    pub fn is_user(context: *mut bpf_perf_event_data) -> bool {
        // SAFETY: the context outlives the program.
        unsafe { ptr::read_volatile(&raw const (*context).regs.pstate) & 0xf == 0 }
    }

    macro_rules! copy {
        ($walk:ident, $from:expr, $($number:literal)+) => {
            $(
                // SAFETY: a field of a live structure; the kernel allows reads of single fields.
                $walk.registers[$number] =
                    unsafe { ptr::read_volatile(&raw const (*$from).regs[$number]) };
            )+
        };
    }

    #[inline(always)]
    pub fn from_context(context: *mut bpf_perf_event_data, walk: &mut Walk) -> Registers {
        // SAFETY: the context outlives the program.
        let regs = unsafe { &raw const (*context).regs };
        copy!(walk, regs, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26
            27 28 29 30);
        // SAFETY: as above.
        let (sp, pc, pstate) = unsafe {
            (
                ptr::read_volatile(&raw const (*regs).sp),
                ptr::read_volatile(&raw const (*regs).pc),
                ptr::read_volatile(&raw const (*regs).pstate),
            )
        };
        walk.registers[31] = sp;
        walk.begin(pc, true, KNOWN);
        kind(walk, pstate)
    }

    #[inline(always)]
    pub fn from_stack(address: u64, walk: &mut Walk) -> Registers {
        // They lie there in the order of their numbers, the stack pointer last.
        // SAFETY: the array has as many bytes; the helper checks the address.
        let status = unsafe {
            let to = walk.registers.as_mut_ptr().cast();
            read(to, GENERAL_BYTES as u32, address as *const _)
        };
        let rest = address.wrapping_add(GENERAL_BYTES as u64) as *const Rest;
        // SAFETY: the helper checks the address; a wrong one is an error.
        let rest = unsafe { bpf_probe_read_kernel(rest) };
        match rest {
            Ok(rest) if status == 0 => {
                // In a system call it is the instruction after it, as with a return address.
                walk.begin(rest.pc, rest.syscall < 0, KNOWN);
                kind(walk, rest.pstate)
            }
            _ => Registers::NotFound,
        }
    }

    #[inline(always)]
    fn kind(walk: &Walk, pstate: u64) -> Registers {
        if pstate & MODE == 0 && walk.ip < USER_END && walk.registers[31] < USER_END {
            Registers::Found
        } else if pstate & 0xf == 0 && pstate & COMPAT != 0 {
            Registers::Compat
        } else {
            Registers::NotFound
        }
    }
}
