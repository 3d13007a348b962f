//! The section table of an ELF file, as far as it decides what a parser may be given.
//!
//! In: an open ELF file that `identity` accepted. Out: which addresses share a section, how much
//! memory its compressed sections claim, and copies of the file without links to other files.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::FileExt,
};

use object::{
    Endianness, ReadRef,
    elf::{self, FileHeader32, FileHeader64},
    read::{
        ReadCache,
        elf::{CompressionHeader, FileHeader, SectionHeader},
    },
};

use crate::{
    identity::{IdentityError, is_debug_link},
    options::Options,
};

/// What the section headers say.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// Address ranges of code, ascending by start.
    code: Vec<Range<u64>>,
    /// Sum of the sizes that compressed sections claim, bytes.
    decompressed: u64,
    /// Where in the file the names of link sections are kept (`sh_name` fields).
    link_names: Vec<u64>,
}

// === impl Sections ===

impl Sections {
    /// Reads the section headers.
    ///
    /// # Errors
    /// When they contradict the file.
    pub(crate) fn read(file: &File) -> Result<Self, IdentityError> {
        Self::of(&ReadCache::new(file))
    }

    /// The same, of any bytes.
    pub(crate) fn of<'data>(data: impl ReadRef<'data>) -> Result<Self, IdentityError> {
        let ident = data.read_bytes_at(0, 6).map_err(|()| IdentityError::NotElf)?;
        let mut sections = match elf::FileClass(ident[4]) {
            elf::ELFCLASS64 => from_elf::<FileHeader64<Endianness>, _>(data),
            _ => from_elf::<FileHeader32<Endianness>, _>(data),
        }
        .map_err(|_| IdentityError::Damaged("its section headers are wrong"))?;
        sections.code.sort_unstable_by_key(|range| range.start);
        Ok(sections)
    }

    /// Memory that decompression takes if the sections are honest, bytes.
    pub(crate) fn decompressed_bytes(&self) -> u64 {
        self.decompressed
    }

    /// Whether two addresses are in the same code section, or nothing is known about sections.
    pub(crate) fn same(&self, a: u64, b: u64) -> bool {
        let index = |address: u64| {
            let after = self.code.partition_point(|range| range.start <= address);
            after.checked_sub(1).filter(|i| self.code[*i].contains(&address))
        };
        self.code.is_empty() || index(a).is_some_and(|i| Some(i) == index(b))
    }

    /// A private copy of the file whose link sections have lost their names.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub(crate) fn copy_without_links(&self, file: &File, options: &Options) -> io::Result<File> {
        let mut copy = tempfile::tempfile_in(&options.scratch_dir)?;
        let mut original = file;
        original.seek(SeekFrom::Start(0))?;
        io::copy(&mut original, &mut copy)?;
        copy.flush()?;
        for field in &self.link_names {
            // Name 0 is the empty one.
            copy.write_all_at(&[0; 4], *field)?;
        }
        Ok(copy)
    }
}

fn from_elf<'data, Elf, R>(data: R) -> object::read::Result<Sections>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let mut found = Sections::default();
    let table = header.sections(endian, data)?;
    let first_header: u64 = header.e_shoff(endian).into();
    for (index, section) in table.iter().enumerate() {
        if section.sh_flags(endian).contains(elf::SHF_EXECINSTR) {
            let start = section.sh_addr(endian).into();
            found.code.push(start..start.saturating_add(section.sh_size(endian).into()));
        }
        if let Some((compression, ..)) = section.compression(endian, data)? {
            let claim = compression.ch_size(endian).into();
            found.decompressed = found.decompressed.saturating_add(claim);
        }
        if table.section_name(endian, section).is_ok_and(is_debug_link) {
            let before = index as u64 * size_of::<Elf::SectionHeader>() as u64;
            found.link_names.push(first_header.saturating_add(before));
        }
    }
    Ok(found)
}
