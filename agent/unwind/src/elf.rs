//! What of an ELF file matters for unwinding: segments with code, and the sections by name.
//!
//! In: an object. Out: an [`Image`]. Headers are bounded; a damaged section table is as good as
//! none, because the loader does not need it either.

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::code_map::{CodeMap, CodeSegment};
use crate::error::BuildError;
use crate::source::ReadAt;
use fleetprof_abi::Architecture;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
/// Bytes of section names that are read.
const MAX_NAMES: u64 = 4 << 20;

const MACHINE_X86_64: u16 = 62;
const MACHINE_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const SHT_NOBITS: u32 = 8;

/// Headers of an ELF file.
pub(crate) struct Image<'a> {
    pub(crate) file: &'a dyn ReadAt,
    pub(crate) length: u64,
    pub(crate) architecture: Architecture,
    /// Address of the first instruction of a program; 0 where there is none.
    pub(crate) entry: u64,
    pub(crate) code: CodeMap,
    /// Loaded segments: address, position in the file, size in the file.
    loads: Vec<(u64, u64, u64)>,
    frame_header: Option<(u64, u64)>,
    sections: Vec<Section>,
}

/// A section that matters here.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) flags: u64,
}

// === impl Image ===

impl<'a> Image<'a> {
    /// Reads the headers.
    pub(crate) fn read(file: &'a dyn ReadAt) -> Result<Self, BuildError> {
        let length = file.length()?;
        if length < HEADER_BYTES as u64 {
            return Err(BuildError::NotElf);
        }
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header)?;
        if header[..6] != *b"\x7fELF\x02\x01" {
            return Err(BuildError::NotElf);
        }
        let machine = u16_at(&header, 18).unwrap_or_default();
        let architecture = match machine {
            MACHINE_X86_64 => Architecture::X86_64,
            MACHINE_AARCH64 => Architecture::Aarch64,
            _ => return Err(BuildError::Machine { machine }),
        };
        let mut image = Self {
            file,
            length,
            architecture,
            entry: u64_at(&header, 24).unwrap_or_default(),
            code: CodeMap::default(),
            loads: Vec::new(),
            frame_header: None,
            sections: Vec::new(),
        };
        image.read_segments(&header)?;
        image.sections = image.read_sections(&header).unwrap_or_default();
        Ok(image)
    }

    /// The section with this name, if it has bytes in the file.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// All sections that matter here.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Address and size of `PT_GNU_EH_FRAME`.
    pub(crate) fn frame_header(&self) -> Option<(u64, u64)> {
        self.frame_header
    }

    /// Where an address is in the file, and how many bytes its segment has from there on.
    pub(crate) fn position(&self, address: u64) -> Option<(u64, u64)> {
        self.loads.iter().find_map(|&(start, offset, size)| {
            let inside = address.checked_sub(start).filter(|&inside| inside < size)?;
            Some((offset + inside, size - inside))
        })
    }

    /// Reads `size` bytes at `offset`; `what` names them, no more than `limit` are read.
    pub(crate) fn bytes(
        &self,
        offset: u64,
        size: u64,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, BuildError> {
        if size > limit {
            return Err(BuildError::TooLarge { what, limit });
        }
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(BuildError::Damaged { what });
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn read_segments(&mut self, header: &[u8]) -> Result<(), BuildError> {
        let what = "program headers";
        let offset = u64_at(header, 32).unwrap_or_default();
        let size = u16_at(header, 54).unwrap_or_default();
        let count = u16_at(header, 56).unwrap_or_default();
        if usize::from(size) != PROGRAM_HEADER_BYTES && count != 0 {
            return Err(BuildError::Damaged { what });
        }
        let bytes = u64::from(count) * PROGRAM_HEADER_BYTES as u64;
        let table = self.bytes(offset, bytes, u64::MAX, what)?;
        let mut code = Vec::new();
        for entry in table.chunks_exact(PROGRAM_HEADER_BYTES) {
            let number = |at| u64_at(entry, at).unwrap_or_default();
            let kind = u32_at(entry, 0).unwrap_or_default();
            let flags = u32_at(entry, 4).unwrap_or_default();
            let (offset, address, size) = (number(8), number(16), number(32));
            if kind == PT_GNU_EH_FRAME {
                self.frame_header = Some((address, size));
            }
            // What lies behind the end of the file cannot be executed.
            let size = size.min(self.length.saturating_sub(offset));
            if kind != PT_LOAD || size == 0 || address.checked_add(size).is_none() {
                continue;
            }
            self.loads.push((address, offset, size));
            if flags & PF_X != 0 {
                code.push(CodeSegment { address, position: offset, size });
            }
        }
        self.code = CodeMap::new(code)?;
        Ok(())
    }

    fn read_sections(&self, header: &[u8]) -> Option<Vec<Section>> {
        let offset = u64_at(header, 40)?;
        if offset == 0 || usize::from(u16_at(header, 58)?) != SECTION_HEADER_BYTES {
            return None;
        }
        let first = self.bytes(offset, SECTION_HEADER_BYTES as u64, u64::MAX, "sections").ok()?;
        // Numbers that do not fit the header are in the first section.
        let count = match u16_at(header, 60)? {
            0 => u64_at(&first, 32)?,
            count => u64::from(count),
        };
        let names = match u16_at(header, 62)? {
            u16::MAX => u64::from(u32_at(&first, 40)?),
            names => u64::from(names),
        };
        let bytes = count.checked_mul(SECTION_HEADER_BYTES as u64)?;
        let table = self.bytes(offset, bytes, 16 << 20, "sections").ok()?;
        let at = usize::try_from(names).ok()?.checked_mul(SECTION_HEADER_BYTES)?;
        let names = Section::parse(table.get(at..)?, &[])?;
        let names = self.bytes(names.offset, names.size, MAX_NAMES, "section names").ok()?;
        let sections = table
            .chunks_exact(SECTION_HEADER_BYTES)
            .filter_map(|entry| Section::parse(entry, &names))
            .filter(Section::matters)
            .collect();
        Some(sections)
    }
}

// === impl Section ===

impl Section {
    /// The bytes are compressed.
    pub(crate) const COMPRESSED: u64 = 1 << 11;

    fn parse(entry: &[u8], names: &[u8]) -> Option<Self> {
        if u32_at(entry, 4)? == SHT_NOBITS {
            return None;
        }
        let name = usize::try_from(u32_at(entry, 0)?).ok()?;
        let name = names.get(name..).unwrap_or_default();
        let end = name.iter().take(MAX_NAME).position(|&byte| byte == 0).unwrap_or(0);
        let name = String::from_utf8_lossy(name.get(..end)?).into_owned();
        Some(Self {
            name,
            flags: u64_at(entry, 8)?,
            address: u64_at(entry, 16)?,
            offset: u64_at(entry, 24)?,
            size: u64_at(entry, 32)?,
        })
    }

    fn matters(&self) -> bool {
        u8_at(self.name.as_bytes(), 0) == Some(b'.') && WANTED.contains(&self.name.as_str())
    }
}

/// Longest name of a section that is kept.
const MAX_NAME: usize = 64;

const WANTED: [&str; 13] = [
    ".eh_frame",
    ".debug_frame",
    ".zdebug_frame",
    ".text",
    ".got",
    ".plt",
    ".plt.sec",
    ".plt.got",
    ".plt.bnd",
    ".iplt",
    ".gopclntab",
    ".data.rel.ro.gopclntab",
    ".gnu_debuglink",
];
