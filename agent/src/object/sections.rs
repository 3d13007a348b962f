//! The sections of an ELF file by name, from a file of any size: its headers and names are read, not more.

use fleetprof_proto::ids::elf_identity;
use object::{
    Endianness, ReadRef, StringTable,
    elf::{FileHeader64, SectionHeader64},
    read::elf::{FileHeader as _, SectionHeader as _},
};

/// Largest table of section names read, bytes.
const MAX_NAMES_BYTES: u64 = 1 << 20;

/// A 64-bit ELF file that has sections.
pub(super) struct Sections<'data, R: ReadRef<'data>> {
    pub(super) header: &'data FileHeader64<Endianness>,
    pub(super) endian: Endianness,
    pub(super) table: &'data [SectionHeader64<Endianness>],
    names: StringTable<'data, R>,
}

// === impl Sections ===

impl<'data, R: ReadRef<'data>> Sections<'data, R> {
    /// `None` when the headers are not those of such a file, or are damaged.
    pub(super) fn read(data: R) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let table = elf_identity::sections(header, endian, data).ok()?;
        let strings = table.get(header.shstrndx(endian, data).ok()? as usize)?;
        if strings.sh_size(endian) > MAX_NAMES_BYTES {
            return None;
        }
        let names = header.section_strings(endian, data, table).ok()?;
        Some(Self { header, endian, table, names })
    }

    /// Empty when its name cannot be read.
    pub(super) fn name(&self, section: &'data SectionHeader64<Endianness>) -> &'data [u8] {
        section.name(self.endian, self.names).unwrap_or_default()
    }
}
