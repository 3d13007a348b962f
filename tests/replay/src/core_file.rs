//! A captured thread as a core file, for debuggers: its registers and its stack, no more.

use fleetprof_abi::Architecture;

use crate::capture::Capture;

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;

/// Bytes of `struct elf_prstatus` before the registers, and behind them.
const BEFORE_REGISTERS: usize = 112;
const BEHIND_REGISTERS: usize = 8;
const PID_AT: usize = 32;

/// DWARF numbers in the order of x86-64's `struct user_regs_struct`; none for what is not captured.
const X86_64: [Option<u8>; 27] = {
    let mut order = [None; 27];
    // r15 to r12, rbp, rbx, r11 to r8, rax, rcx, rdx, rsi, rdi
    let first = [15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5];
    let mut at = 0;
    while at < first.len() {
        order[at] = Some(first[at]);
        at += 1;
    }
    order[19] = Some(7);
    order
};
const X86_64_IP: usize = 16;
/// Code and stack segment of 64-bit programs, where debuggers look which kind a thread is.
const X86_64_SEGMENTS: [(usize, u64); 2] = [(17, 0x33), (20, 0x2b)];

/// The bytes of the core file.
#[must_use]
pub fn write(capture: &Capture) -> Vec<u8> {
    let note = note(&status(capture));
    let pieces: Vec<_> = capture.stack.iter().collect();
    let headers = HEADER + PROGRAM_HEADER * (1 + pieces.len() as u64);
    let machine = match capture.architecture {
        Architecture::X86_64 => EM_X86_64,
        Architecture::Aarch64 => EM_AARCH64,
    };
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(16, 0);
    file.extend([ET_CORE, machine].into_iter().flat_map(u16::to_le_bytes));
    file.extend(1_u32.to_le_bytes());
    file.extend([0, HEADER, 0].into_iter().flat_map(u64::to_le_bytes));
    file.extend(0_u32.to_le_bytes());
    let counts = [HEADER as u16, PROGRAM_HEADER as u16, 1 + pieces.len() as u16, 0, 0, 0];
    file.extend(counts.into_iter().flat_map(u16::to_le_bytes));
    let mut offset = headers;
    let mut program_header = |kind: u32, address: u64, size: u64| {
        file.extend([kind, 6].into_iter().flat_map(u32::to_le_bytes));
        let numbers = [offset, address, 0, size, if kind == PT_LOAD { size } else { 0 }, 1];
        file.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        offset += size;
    };
    program_header(PT_NOTE, 0, note.len() as u64);
    for piece in &pieces {
        program_header(PT_LOAD, piece.base, piece.bytes.len() as u64);
    }
    file.extend(note);
    pieces.iter().for_each(|piece| file.extend(&piece.bytes));
    file
}

/// `struct elf_prstatus`.
fn status(capture: &Capture) -> Vec<u8> {
    let register = |number: u8| {
        let found = capture.registers.iter().find(|(known, _)| *known == number);
        found.map_or(0, |(_, value)| *value)
    };
    let mut words = match capture.architecture {
        Architecture::X86_64 => {
            let mut words: Vec<u64> =
                X86_64.iter().map(|number| number.map_or(0, register)).collect();
            words[X86_64_IP] = capture.ip;
            X86_64_SEGMENTS.into_iter().for_each(|(at, value)| words[at] = value);
            words
        }
        // x0 to x30, sp, pc, pstate
        Architecture::Aarch64 => (0..32).map(register).chain([capture.ip, 0]).collect(),
    };
    let mut status = vec![0; BEFORE_REGISTERS];
    status[PID_AT] = 1;
    status.extend(words.drain(..).flat_map(u64::to_le_bytes));
    status.resize(status.len() + BEHIND_REGISTERS, 0);
    status
}

fn note(status: &[u8]) -> Vec<u8> {
    let numbers = [5, status.len() as u32, NT_PRSTATUS];
    let mut note: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    note.extend(b"CORE\0\0\0\0");
    note.extend(status);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}
