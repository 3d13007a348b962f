//! An ELF file, as far as symbols need it.
//!
//! In: its bytes, from an untrusted source. Out: its build ID, where it has code, how it is mapped, its
//! symbols, and sections by name, unpacked within the limits.

use std::{
    borrow::Cow,
    io::{ErrorKind, Read},
    ops::Range,
};

use object::{
    CompressionFormat, Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol,
    SectionFlags, SymbolFlags, elf,
};

use crate::{
    budget::Budget,
    bytes::u16_at,
    code::Code,
    error::ConvertError,
    symbols::{Rank, Symbol},
    table::Segment,
};

/// An ELF file in memory.
pub(crate) struct Elf<'a> {
    pub(crate) file: object::File<'a>,
    bytes: &'a [u8],
}

// === impl Elf ===

impl<'a> Elf<'a> {
    /// Reads the headers; `what` names the file in errors.
    pub(crate) fn parse(bytes: &'a [u8], what: &'static str) -> Result<Self, ConvertError> {
        if !bytes.starts_with(&elf::ELFMAG) {
            let why = "it does not begin like one".to_owned();
            return Err(ConvertError::NotElf { what, why });
        }
        let file = object::File::parse(bytes)
            .map_err(|error| ConvertError::NotElf { what, why: error.to_string() })?;
        if !file.is_little_endian() {
            return Err(ConvertError::Unsupported("an ELF file for a big-endian processor"));
        }
        Ok(Self { file, bytes })
    }

    /// Refuses what has no addresses yet or was never code.
    pub(crate) fn require_linked(&self) -> Result<(), ConvertError> {
        match self.file.kind() {
            ObjectKind::Executable | ObjectKind::Dynamic => Ok(()),
            ObjectKind::Relocatable => {
                Err(ConvertError::Unsupported("an object that is not linked"))
            }
            ObjectKind::Core => Err(ConvertError::Unsupported("a memory dump")),
            _ => Err(ConvertError::Unsupported("an ELF file that is no program and no library")),
        }
    }

    /// `e_machine`.
    pub(crate) fn machine(&self) -> u16 {
        u16_at(self.bytes, 18).unwrap_or(0)
    }

    /// The GNU build ID; empty when there is none.
    pub(crate) fn build_id(&self) -> &'a [u8] {
        self.file.build_id().ok().flatten().unwrap_or_default()
    }

    /// Where the file's sections have code; where it has none, its segments.
    pub(crate) fn code(&self) -> Vec<Range<u64>> {
        let sections = self.file.sections().filter(|section| {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return false };
            sh_flags.contains(elf::SHF_EXECINSTR) && sh_flags.contains(elf::SHF_ALLOC)
        });
        let range = |address: u64, size: u64| address..address.saturating_add(size);
        let mut code: Vec<_> =
            sections.map(|section| range(section.address(), section.size())).collect();
        if code.is_empty() {
            let segments =
                self.file.segments().filter(|segment| segment.permissions().executable());
            code.extend(segments.map(|segment| range(segment.address(), segment.size())));
        }
        code
    }

    /// What is mapped from the file, by offset. A file that holds debug information only keeps the
    /// addresses of its segments, but not their bytes.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let segment = |segment: object::Segment<'_, '_>| {
            let (offset, length) = segment.file_range();
            Segment { address: segment.address(), offset, length }
        };
        let mut segments: Vec<_> = self.file.segments().map(segment).collect();
        segments.retain(|segment| segment.length > 0);
        segments.sort_unstable_by_key(|segment| (segment.offset, segment.address));
        segments
    }

    /// Whether the file has debug information.
    pub(crate) fn has_dwarf(&self) -> bool {
        // A file that was stripped keeps the headers of some sections, but not their bytes.
        [".debug_info", ".zdebug_info"].into_iter().any(|name| {
            let section = self.file.section_by_name(name);
            section.is_some_and(|section| section.data().is_ok_and(|data| !data.is_empty()))
        })
    }

    /// The bytes of a section, unpacked; none when there is no such section.
    pub(crate) fn section(
        &self,
        name: &str,
        budget: &mut Budget,
    ) -> Result<Cow<'a, [u8]>, ConvertError> {
        let damaged = |_| ConvertError::Damaged("a section is outside of the file");
        let Some(section) = self.file.section_by_name(name) else {
            // GNU tools once marked compressed sections by their names.
            let old_name = name.replace(".debug_", ".zdebug_");
            return match self.file.section_by_name(&old_name) {
                Some(section) => unpack_old(section.data().map_err(damaged)?, budget),
                None => Ok(Cow::Borrowed(&[])),
            };
        };
        let packed = section.compressed_data().map_err(damaged)?;
        if packed.format == CompressionFormat::None {
            return Ok(Cow::Borrowed(packed.data));
        }
        budget.unpack(packed.uncompressed_size)?;
        unpack(packed.format, packed.data, packed.uncompressed_size).map(Cow::Owned)
    }

    /// Adds the code's symbols, those of `.symtab` or of `.dynsym`. Returns how many it added.
    pub(crate) fn symbols(
        &self,
        dynamic: bool,
        code: &Code,
        symbols: &mut Vec<Symbol<'a>>,
        budget: &mut Budget,
    ) -> Result<usize, ConvertError> {
        let before = symbols.len();
        let all = if dynamic { self.file.dynamic_symbols() } else { self.file.symbols() };
        let mut file: &[u8] = &[];
        for symbol in all {
            budget.step(1)?;
            let SymbolFlags::Elf { st_info, .. } = symbol.flags() else { continue };
            let kind = st_info.st_type();
            if kind == elf::STT_FILE {
                // The file of the local symbols that follow.
                file = symbol.name_bytes().unwrap_or_default();
                continue;
            }
            let named = [elf::STT_NOTYPE, elf::STT_FUNC, elf::STT_OBJECT, elf::STT_GNU_IFUNC];
            if symbol.is_undefined() || !named.contains(&kind) {
                continue;
            }
            let Some(address) = code.relative(symbol.address()) else { continue };
            // A name outside of the string table names nothing.
            let Ok(name) = symbol.name_bytes() else { continue };
            let is_marker = kind == elf::STT_NOTYPE && name.starts_with(b"$");
            if name.is_empty() || is_marker {
                continue;
            }
            let size = u32::try_from(symbol.size()).unwrap_or(u32::MAX);
            let file = if symbol.is_local() { file } else { &[] };
            let limit = budget.limits().symbols;
            if symbols.len() >= limit as usize {
                return Err(ConvertError::TooLarge { what: "symbols", limit: limit.into() });
            }
            symbols.push(Symbol { address, size, rank: Rank::Own, name, file });
        }
        Ok(symbols.len() - before)
    }
}

/// Unpacks a section that begins with a mark and its size, high byte first.
fn unpack_old<'a>(packed: &[u8], budget: &mut Budget) -> Result<Cow<'a, [u8]>, ConvertError> {
    let damaged = || ConvertError::Damaged("a compressed section");
    let body = packed.strip_prefix(b"ZLIB").ok_or_else(damaged)?;
    let (size, body) = body.split_first_chunk().ok_or_else(damaged)?;
    let size = u64::from_be_bytes(*size);
    budget.unpack(size)?;
    unpack(CompressionFormat::Zlib, body, size).map(Cow::Owned)
}

/// Unpacks `size` bytes, whatever the packed bytes claim.
fn unpack(format: CompressionFormat, packed: &[u8], size: u64) -> Result<Vec<u8>, ConvertError> {
    let damaged = || ConvertError::Damaged("a compressed section");
    let mut bytes = Vec::new();
    // The size is only a claim: memory grows with the bytes that really come.
    bytes.reserve_exact(size.min(packed.len() as u64 * 2) as usize);
    let read = match format {
        CompressionFormat::Zlib => {
            flate2::read::ZlibDecoder::new(packed).take(size).read_to_end(&mut bytes)
        }
        CompressionFormat::Zstandard => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| damaged())?;
            decoder.take(size).read_to_end(&mut bytes)
        }
        _ => return Err(ConvertError::Unsupported("a section that is compressed in a new way")),
    };
    read.map_err(|error| match error.kind() {
        ErrorKind::OutOfMemory => ConvertError::NoMemory,
        _ => damaged(),
    })?;
    Ok(bytes)
}
