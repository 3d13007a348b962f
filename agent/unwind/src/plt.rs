//! Procedure linkage tables for which the linker wrote no unwind information.
//!
//! In: the bytes of the section. Out: its rules. Stubs are 16 bytes; the kind is told by the first
//! bytes, because linkers lay them out in their own ways.

use crate::elf::Section;
use crate::error::BuildError;
use crate::frames::Output;
use crate::machine::at_entry;
use crate::pieces::Piece;
use fleetprof_abi::{Architecture, FpRule, RaRule, Rule, RuleKind};

/// Names of sections with stubs.
const NAMES: [&str; 5] = [".plt", ".plt.sec", ".plt.got", ".plt.bnd", ".iplt"];

/// Bytes of a stub of x86-64.
const STUB: u64 = 16;
/// Bytes of the first stub of arm64.
const FIRST_STUB_AARCH64: u64 = 32;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const JUMP_INDIRECT: [u8; 2] = [0xff, 0x25];
const PUSH_INDIRECT: [u8; 2] = [0xff, 0x35];
const PUSH_IMMEDIATE: u8 = 0x68;
/// `stp x16, x30, [sp, #-16]!`
const STORE_LINK: [u8; 4] = [0xf0, 0x7b, 0xbf, 0xa9];

/// The section holds stubs.
pub(crate) fn is_plt(section: &Section) -> bool {
    NAMES.contains(&section.name.as_str())
}

/// Writes the rules of `piece`, a part of a section at `section_start` that begins with `head`.
pub(crate) fn write(
    architecture: Architecture,
    piece: Piece,
    section_start: u64,
    head: &[u8],
    output: &mut Output<'_>,
) -> Result<(), BuildError> {
    let rows = match architecture {
        Architecture::X86_64 => x86_64(head),
        Architecture::Aarch64 => aarch64(head),
    };
    for (index, (at, rule)) in rows.iter().enumerate() {
        let start = section_start + at;
        let end = rows.get(index + 1).map_or(u64::MAX, |(next, _)| section_start + next);
        if end > piece.start && start < piece.end {
            output.writer.set(start.max(piece.start), *rule)?;
        }
    }
    Ok(())
}

/// Rules by distance from the start of the section.
fn x86_64(head: &[u8]) -> Vec<(u64, Rule)> {
    let entry = at_entry(Architecture::X86_64);
    let pushed = |bytes| {
        let mut rule = entry;
        rule.cfa_offset += bytes;
        rule
    };
    if !head.starts_with(&PUSH_INDIRECT) {
        // No stub in front that calls the dynamic linker.
        return vec![(0, stubs(head, entry))];
    }
    let others = head.get(STUB as usize..).unwrap_or_default();
    // The first stub is jumped to with one word pushed, and pushes another one with its first
    // instruction, of 6 bytes.
    vec![(0, pushed(8)), (6, pushed(16)), (STUB, stubs(others, entry))]
}

/// The rule for all stubs like the one that `stub` begins with.
fn stubs(stub: &[u8], entry: Rule) -> Rule {
    let after_endbr = stub.strip_prefix(&ENDBR64);
    let threshold = match (stub, after_endbr) {
        // push; jmp
        ([PUSH_IMMEDIATE, ..], _) => 5,
        // endbr64; push; jmp
        (_, Some([PUSH_IMMEDIATE, ..])) => 9,
        // jmp; push; jmp
        _ if stub.starts_with(&JUMP_INDIRECT) && stub.get(6) == Some(&PUSH_IMMEDIATE) => 11,
        _ => return entry,
    };
    Rule { kind: RuleKind::Plt as u8, cfa_offset: threshold, ..entry }
}

/// Rules by distance from the start of the section: only the first stub stores something.
fn aarch64(head: &[u8]) -> Vec<(u64, Rule)> {
    let entry = at_entry(Architecture::Aarch64);
    let Some(at) = head.chunks_exact(4).take(2).position(|word| word == STORE_LINK) else {
        return vec![(0, entry)];
    };
    let stored = Rule {
        cfa_offset: 16,
        fp_ra: Rule::fp_ra(FpRule::Same, RaRule::AtCfa),
        ra_offset: -1,
        ..entry
    };
    vec![(0, entry), (at as u64 * 4 + 4, stored), (FIRST_STUB_AARCH64, entry)]
}
