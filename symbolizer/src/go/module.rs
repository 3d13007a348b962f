//! The runtime's description of a module (`runtime.moduledata`), as far as names need it.
//!
//! Stripped binaries do not say where it is. Its first word points at the function table and others at
//! parts of that, so it is searched for by these. In position-independent binaries the words are not in
//! the file: the dynamic linker's relocations hold them.

use fleetprof_gopclntab::FunctionTable;
use object::{Object, ObjectSection, SectionFlags, elf};

/// Where words are in it.
const NAMES_AT: u64 = 8;
const FUNCTIONS_AT: u64 = 128;
const TEXT_AT: u64 = 176;
/// The data of functions: Go 1.20 and later, and before.
const DATA_AT: [u64; 2] = [320, 304];
/// The end of the read-only data stands before it.
const RODATA_BEFORE: u64 = 8;

/// Sizes of a relocation, and its kinds that add the place where the binary is loaded.
const RELOCATION_BYTES: usize = 24;
const RELATIVE: [u32; 2] = [elf::R_X86_64_RELATIVE.0, elf::R_AARCH64_RELATIVE.0];

/// What is known of a module.
#[derive(Debug)]
pub(super) struct Module<'a> {
    /// Address of the text that functions are relative to.
    pub(super) text: u64,
    /// What functions' data begins with, to the end of its section; empty when it was not found.
    pub(super) data: &'a [u8],
}

/// Words of the file as they will be when it is loaded at 0.
struct Words<'f, 'a> {
    file: &'f object::File<'a>,
    /// Address and word, by address.
    relocated: Vec<(u64, u64)>,
}

// === impl Module ===

impl<'a> Module<'a> {
    /// `None` when nobody says where the text starts.
    pub(super) fn find(
        file: &object::File<'a>,
        table_address: u64,
        table: &FunctionTable<'a>,
    ) -> Option<Self> {
        let words = Words { file, relocated: relocations(file) };
        let (names, functions) = table.offsets();
        let points_at_parts = |at: &u64| {
            let word = |offset| words.at(at.checked_add(offset)?);
            word(NAMES_AT) == table_address.checked_add(names)
                && word(FUNCTIONS_AT) == table_address.checked_add(functions)
        };
        let Some(at) = words.equal_to(table_address).into_iter().find(points_at_parts) else {
            let section = file.section_by_name(".text").map(|section| section.address());
            return Some(Self { text: table.text_start().or(section)?, data: &[] });
        };
        let text = words.at(at.checked_add(TEXT_AT)?)?;
        let data = DATA_AT.into_iter().find_map(|offset| {
            // Elsewhere the same two words are something else: the data follows the read-only data.
            let (rodata, data) = (words.at(at + offset - RODATA_BEFORE)?, words.at(at + offset)?);
            (rodata <= data).then(|| bytes_from(file, data))?
        });
        Some(Self { text, data: data.unwrap_or_default() })
    }
}

// === impl Words ===

impl Words<'_, '_> {
    /// The word at an address.
    fn at(&self, address: u64) -> Option<u64> {
        if let Ok(found) = self.relocated.binary_search_by_key(&address, |(at, _)| *at) {
            return Some(self.relocated[found].1);
        }
        let bytes = bytes_from(self.file, address)?;
        Some(u64::from_le_bytes(*bytes.first_chunk()?))
    }

    /// Addresses of words in data that are `wanted`.
    fn equal_to(&self, wanted: u64) -> Vec<u64> {
        let relocated = self.relocated.iter().filter(|(_, word)| *word == wanted);
        let mut found: Vec<u64> = relocated.map(|(at, _)| *at).collect();
        for section in self.file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            let is_code = sh_flags.contains(elf::SHF_EXECINSTR);
            if is_code || !sh_flags.contains(elf::SHF_ALLOC) || !section.address().is_multiple_of(8)
            {
                continue;
            }
            let words = section.data().unwrap_or_default().as_chunks::<8>().0;
            let equal =
                words.iter().zip(0_u64..).filter(|(word, _)| **word == wanted.to_le_bytes());
            found.extend(equal.filter_map(|(_, i)| section.address().checked_add(i * 8)));
        }
        found
    }
}

/// What the dynamic linker will write, by address.
fn relocations(file: &object::File<'_>) -> Vec<(u64, u64)> {
    let section = file.section_by_name(".rela.dyn");
    let bytes = section.and_then(|section| section.data().ok()).unwrap_or_default();
    let relative = bytes.as_chunks::<RELOCATION_BYTES>().0.iter().filter_map(|entry| {
        let word = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
        let kind = word(8)? as u32;
        RELATIVE.contains(&kind).then_some((word(0)?, word(16)?))
    });
    let mut relative: Vec<(u64, u64)> = relative.collect();
    relative.sort_unstable();
    relative
}

/// The bytes at an address, to the end of its section.
fn bytes_from<'a>(file: &object::File<'a>, address: u64) -> Option<&'a [u8]> {
    file.sections().find_map(|section| {
        let inside = usize::try_from(address.checked_sub(section.address())?).ok()?;
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return None };
        let loaded = sh_flags.contains(elf::SHF_ALLOC) && inside < section.data().ok()?.len();
        loaded.then(|| section.data().ok()?.get(inside..))?
    })
}
