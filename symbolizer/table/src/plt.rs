//! Linkage stubs: `name@plt` for the code that jumps to functions of other objects.
//!
//! In: an ELF file with its stubs (`.plt`, `.plt.sec`, `.plt.got`, `.iplt`) and dynamic relocations.
//! Out: a symbol for each stub. Which function a stub is for is read from its code: it jumps to where
//! a slot of the GOT says, and a relocation fills that slot.

use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget};
use rustc_hash::FxHashMap;

use crate::{
    budget::Budget,
    bytes::{u16_at, u32_at},
    code::Code,
    elf::Elf,
    error::ConvertError,
    symbols::{Rank, Symbol},
};

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// Sections of stubs.
const SECTIONS: [&str; 4] = [".plt", ".plt.sec", ".plt.got", ".iplt"];

/// Stubs are aligned to this.
const STUB_BYTES: usize = 16;

/// A stub: its address, its length, and the address of the slot that it jumps through.
struct Stub {
    address: u64,
    length: u32,
    slot: u64,
}

/// The names of the stubs, made to be borrowed by their symbols.
#[derive(Debug, Default)]
pub(crate) struct StubNames {
    /// Address and length of each stub, and its name.
    stubs: Vec<(u64, u32, Vec<u8>)>,
}

// === impl StubNames ===

impl StubNames {
    /// Reads the stubs of `elf`; none when it has none or they are of a form that is not known.
    pub(crate) fn read(elf: &Elf<'_>, budget: &mut Budget) -> Result<Self, ConvertError> {
        let slots = slots(elf, budget)?;
        let mut stubs = Vec::new();
        if slots.is_empty() {
            return Ok(Self { stubs });
        }
        for name in SECTIONS {
            let Some(section) = elf.file.section_by_name(name) else { continue };
            let Ok(code) = section.data() else { continue };
            budget.step(code.len() as u64 / STUB_BYTES as u64)?;
            for stub in read(elf.machine(), section.address(), code) {
                if let Some(function) = slots.get(&stub.slot) {
                    let name = [function.as_slice(), b"@plt"].concat();
                    stubs.push((stub.address, stub.length, name));
                }
            }
        }
        Ok(Self { stubs })
    }

    /// Adds a symbol for each stub. Returns how many it added.
    pub(crate) fn symbols<'a>(&'a self, code: &Code, symbols: &mut Vec<Symbol<'a>>) -> usize {
        let before = symbols.len();
        symbols.extend(self.stubs.iter().filter_map(|(address, size, name)| {
            let address = code.relative(*address)?;
            Some(Symbol { address, rank: Rank::Stub, size: *size, name, file: &[] })
        }));
        symbols.len() - before
    }
}

/// The names of the functions whose addresses relocations write into slots.
fn slots(elf: &Elf<'_>, budget: &mut Budget) -> Result<FxHashMap<u64, Vec<u8>>, ConvertError> {
    let mut slots = FxHashMap::default();
    let Some(table) = elf.file.dynamic_symbol_table() else { return Ok(slots) };
    for (slot, relocation) in elf.file.dynamic_relocations().into_iter().flatten() {
        budget.step(1)?;
        let RelocationTarget::Symbol(number) = relocation.target() else { continue };
        let Ok(symbol) = table.symbol_by_index(number) else { continue };
        if let Ok(name) = symbol.name_bytes()
            && !name.is_empty()
        {
            let longest = name.len().min(budget.limits().name_bytes);
            slots.insert(slot, name[..longest].to_vec());
        }
    }
    Ok(slots)
}

/// The stubs of a section. The entry that all others fall back to jumps through a slot that no
/// relocation fills.
fn read(machine: u16, address: u64, code: &[u8]) -> Vec<Stub> {
    // `.plt.got` has entries of eight bytes without CET.
    let slot_of = match machine {
        X86_64 => x86_64,
        AARCH64 => aarch64,
        _ => return Vec::new(),
    };
    let mut stubs: Vec<Stub> = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..code.len().min(at + STUB_BYTES)];
        let here = address.wrapping_add(at as u64);
        match slot_of(rest, here) {
            Some((slot, length)) => {
                stubs.push(Stub { address: here, length: length as u32, slot });
                at += length;
            }
            None => at += STUB_BYTES / 2,
        }
    }
    stubs
}

/// `[endbr64] [bnd] jmp *slot(%rip)`: the slot, and how long the stub is.
fn x86_64(code: &[u8], address: u64) -> Option<(u64, usize)> {
    let branch_target = code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]);
    let mut at = if branch_target { 4 } else { 0 };
    if code.get(at) == Some(&0xf2) {
        at += 1;
    }
    if u16_at(code, at)? != u16::from_le_bytes([0xff, 0x25]) {
        return None;
    }
    let distance = i64::from(u32_at(code, at + 2)?.cast_signed());
    let next = at as u64 + 6;
    let slot = address.wrapping_add(next).wrapping_add_signed(distance);
    // Eight bytes when a two-byte nop fills them up, as in `.plt.got`.
    let short = !branch_target && code.get(6..8) == Some(&[0x66, 0x90]);
    Some((slot, if short { 8 } else { STUB_BYTES }))
}

/// `[bti c]; adrp x16, page; ldr x17, [x16, #offset]; add …; br x17`.
fn aarch64(code: &[u8], address: u64) -> Option<(u64, usize)> {
    const BTI_C: u32 = 0xd503_245f;
    let at = if u32_at(code, 0)? == BTI_C { 4 } else { 0 };
    let adrp = u32_at(code, at)?;
    let load = u32_at(code, at + 4)?;
    if adrp & 0x9f00_001f != 0x9000_0010 || load & 0xffc0_03ff != 0xf940_0211 {
        return None;
    }
    let low = adrp >> 29 & 3;
    let high = adrp >> 5 & 0x7_ffff;
    // 21 bits of pages, signed.
    let pages = i64::from(((high << 2 | low) << 11).cast_signed() >> 11);
    let page = (address.wrapping_add(at as u64) & !0xfff).wrapping_add_signed(pages << 12);
    let slot = page.wrapping_add(u64::from(load >> 10 & 0xfff) * 8);
    Some((slot, STUB_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_of_x86_64() {
        // ld's lazy stub, its CET stub, and the short one of .plt.got.
        let lazy = [0xff, 0x25, 0xe2, 0x2f, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0xe0, 0xff, 0xff, 0xff];
        assert_eq!(x86_64(&lazy, 0x1030), Some((0x4018, 16)));
        let cet =
            [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0xad, 0x2f, 0, 0, 0x0f, 0x1f, 0x44, 0, 0];
        assert_eq!(x86_64(&cet, 0x1050), Some((0x4008, 16)));
        let short = [0xff, 0x25, 0xaa, 0x2f, 0, 0, 0x66, 0x90];
        assert_eq!(x86_64(&short, 0x1060), Some((0x4010, 8)));
        let first =
            [0xff, 0x35, 0xe2, 0x2f, 0, 0, 0xff, 0x25, 0xe4, 0x2f, 0, 0, 0x0f, 0x1f, 0x40, 0];
        assert_eq!(x86_64(&first, 0x1020), None);
    }

    #[test]
    fn stubs_of_aarch64() {
        // adrp x16, 0x1f000; ldr x17, [x16, #0xfa8]; add x16, x16, #0xfa8; br x17
        let words: [u32; 4] = [0xf000_00f0, 0xf947_d611, 0x913e_a210, 0xd61f_0220];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(aarch64(&code, 0x6d0), Some((0x1f_fa8, 16)));
    }
}
