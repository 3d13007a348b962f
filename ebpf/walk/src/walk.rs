// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Where a walk is.

use fleetprof_abi::{Architecture, REGISTERS, WALK_BYTES};

use crate::Machine;

/// In a frame: the address is that of an instruction that was interrupted. Without it, it is a
/// return address: of the instruction after the call.
pub const FRAME_IS_EXACT: u64 = 1 << 63;

/// In a frame: it was found by a frame pointer in code about which nothing else is known.
pub const FRAME_BY_POINTER: u64 = 1 << 62;

/// The registers of the frame that the walk has reached. All zero: nothing is known.
///
/// Where a function saved a register is noted, but its value is read only when a frame is found by
/// it: most are never needed, and a read is what a step costs most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Walk {
    /// By DWARF number: the value, or the address of the memory that has it.
    pub registers: [u64; REGISTERS],
    /// Address of the instruction, or that it returns to.
    pub ip: u64,
    /// Bit n: register n is known.
    pub known: u32,
    /// Bit n: what is known of register n is where in memory it is.
    pub in_memory: u32,
    /// Not 0: `ip` is that of an interrupted instruction.
    pub exact: u32,
    /// Not 0: this frame was found by a frame pointer in unknown code.
    pub by_pointer: u32,
    /// Not 0: so was any frame until here.
    pub any_by_pointer: u32,
    /// Keeps the layout free of implicit padding; zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Walk>() == WALK_BYTES);

/// The address of a frame, without its marks.
#[inline(always)]
#[must_use]
pub const fn frame_address(frame: u64) -> u64 {
    frame & !(FRAME_IS_EXACT | FRAME_BY_POINTER)
}

// === impl Walk ===

impl Walk {
    /// Begins a walk at an instruction, with the registers of `known` set (bits, by number). Little
    /// is written here: the first step of every sample finds all memory cold.
    #[inline(always)]
    pub fn begin(&mut self, ip: u64, exact: bool, known: u32) {
        self.ip = ip;
        self.exact = exact as u32;
        self.known = known;
        self.in_memory = 0;
        self.by_pointer = 0;
        self.any_by_pointer = 0;
    }

    /// Sets a register.
    #[inline(always)]
    pub fn set(&mut self, register: u8, value: u64) {
        let register = register as usize % REGISTERS;
        self.registers[register] = value;
        self.known |= 1 << register;
        self.in_memory &= !(1 << register);
    }

    /// A register; `None` when it is not known, or its memory cannot be read.
    #[inline(always)]
    pub(crate) fn get(&mut self, register: u8, machine: &mut impl Machine) -> Option<u64> {
        let register = register as usize % REGISTERS;
        let bit = 1 << register;
        if self.known & bit == 0 {
            return None;
        }
        if self.in_memory & bit != 0 {
            self.registers[register] = machine.read(self.registers[register])?;
            self.in_memory &= !bit;
        }
        Some(self.registers[register])
    }

    /// Notes that a register is in memory.
    #[inline(always)]
    pub(crate) fn set_saved(&mut self, register: u8, address: u64) {
        let register = register as usize % REGISTERS;
        self.registers[register] = address;
        self.known |= 1 << register;
        self.in_memory |= 1 << register;
    }

    /// Reads what is in memory, for a walk that goes on where that memory is not.
    #[inline(always)]
    pub fn settle(&mut self, architecture: Architecture, machine: &mut impl Machine) {
        for register in architecture.tracked() {
            if self.get(register, machine).is_none() {
                self.forget(register);
            }
        }
        if self.get(architecture.frame_pointer(), machine).is_none() {
            self.forget(architecture.frame_pointer());
        }
    }

    /// Notes that a register is not known any more.
    #[inline(always)]
    pub(crate) fn forget(&mut self, register: u8) {
        self.known &= !(1 << (register as usize % REGISTERS));
    }

    /// The frame as it is handed out.
    #[inline(always)]
    #[must_use]
    pub fn frame(&self) -> u64 {
        let mut frame = self.ip;
        if self.exact != 0 {
            frame |= FRAME_IS_EXACT;
        }
        if self.by_pointer != 0 {
            frame |= FRAME_BY_POINTER;
        }
        frame
    }

    /// Address to look up: that of the call for a return address, because the instruction after a
    /// call that never returns may belong to another function.
    #[inline(always)]
    #[must_use]
    pub fn lookup(&self) -> u64 {
        if self.exact != 0 { self.ip } else { self.ip.wrapping_sub(1) }
    }

    /// Registers that a function must leave as they were, as bits.
    #[inline(always)]
    pub(crate) const fn preserved(architecture: Architecture) -> u32 {
        let [a, b, c, d, e] = architecture.tracked();
        1 << architecture.stack_pointer()
            | 1 << architecture.frame_pointer()
            | 1 << a
            | 1 << b
            | 1 << c
            | 1 << d
            | 1 << e
    }
}
