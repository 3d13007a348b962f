//! What is told from the bytes of code: padding, and the trampolines of signal handlers.

use fleetprof_abi::{Architecture, FpRule, RaRule, Rule, RuleKind, SAME_VALUE, TRACKED};

/// `mov $15, %rax; syscall` as glibc, the kernel and Go have it.
const RETURN_X86_64: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
/// `mov $15, %eax; syscall` as musl has it.
const RETURN_X86_64_SHORT: [u8; 7] = [0xb8, 15, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #139; svc #0`
const RETURN_AARCH64: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// Longest trampoline.
pub(crate) const TRAMPOLINE_BYTES: usize = 9;

/// Length of the trampoline of a signal handler that `code` begins with.
pub(crate) fn trampoline(architecture: Architecture, code: &[u8]) -> Option<u64> {
    let patterns: &[&[u8]] = match architecture {
        Architecture::X86_64 => &[&RETURN_X86_64, &RETURN_X86_64_SHORT],
        Architecture::Aarch64 => &[&RETURN_AARCH64],
    };
    patterns.iter().find(|pattern| code.starts_with(pattern)).map(|pattern| pattern.len() as u64)
}

/// Where the first trampoline in `code` begins.
pub(crate) fn find_trampoline(architecture: Architecture, code: &[u8]) -> Option<usize> {
    let last: u8 = match architecture {
        Architecture::X86_64 => RETURN_X86_64[3],
        Architecture::Aarch64 => RETURN_AARCH64[1],
    };
    // Candidates by one rare byte; it is the same distance from the start in no pattern.
    code.iter().enumerate().filter(|&(_, &byte)| byte == last).find_map(|(at, _)| {
        [3, 1].into_iter().find_map(|before| {
            let start = at.checked_sub(before)?;
            trampoline(architecture, code.get(start..)?).map(|_| start)
        })
    })
}

/// The rule at the first instruction of a function: only the call has happened.
pub(crate) fn at_entry(architecture: Architecture) -> Rule {
    let (cfa_offset, ra, ra_offset) = match architecture {
        Architecture::X86_64 => (8, RaRule::AtCfa, -1),
        Architecture::Aarch64 => (0, RaRule::InLinkRegister, 0),
    };
    Rule {
        kind: RuleKind::Cfa as u8,
        cfa_register: architecture.stack_pointer(),
        fp_ra: Rule::fp_ra(FpRule::Same, ra),
        saved: [SAME_VALUE; TRACKED],
        fp_offset: 0,
        ra_offset,
        cfa_offset,
    }
}

/// All of `code` is what assemblers and linkers fill holes with.
pub(crate) fn is_padding(architecture: Architecture, mut code: &[u8]) -> bool {
    let filler = match architecture {
        Architecture::X86_64 => x86_filler,
        Architecture::Aarch64 => aarch64_filler,
    };
    while !code.is_empty() {
        match filler(code).and_then(|length| code.get(length..)) {
            Some(rest) => code = rest,
            None => return false,
        }
    }
    true
}

/// Length of the `nop`, `int3` or zero that `code` begins with.
fn x86_filler(code: &[u8]) -> Option<usize> {
    if let [0x90 | 0xcc | 0, ..] = code {
        return Some(1);
    }
    let prefixes = code.iter().take_while(|&&byte| matches!(byte, 0x66 | 0x2e)).count();
    let length = match code.get(prefixes..)? {
        [0x90, ..] => 1,
        [0x0f, 0x1f, modrm, rest @ ..] => {
            let has_sib = modrm & 7 == 4;
            let displacement = match modrm >> 6 {
                0 => 0,
                1 => 1,
                2 => 4,
                _ => return None,
            };
            let more = usize::from(has_sib) + displacement;
            // Padding may be cut by the next function.
            3 + more.min(rest.len())
        }
        _ => return None,
    };
    Some(prefixes + length)
}

/// Length of the `nop`, `brk` or zero that `code` begins with.
fn aarch64_filler(code: &[u8]) -> Option<usize> {
    match code {
        [0x1f, 0x20, 0x03, 0xd5, ..] | [0, 0, 0, 0, ..] => Some(4),
        // brk #n
        [low, _, middle, 0xd4, ..] if low & 0x1f == 0 && middle & 0xe0 == 0x20 => Some(4),
        _ => None,
    }
}
