//! The layout of a table: a header that says where each section is, and the sections.
//!
//! Everything is little-endian and read in place, so that a table can be mapped and used. The header
//! has a checksum of its own, which is checked when a table is opened; the sections have one each,
//! which [`crate::Table::verify`] checks: once, when a table arrives.
//!
//! ```text
//!   0  magic "fpsymtab"          8  version u16     10  e_machine u16    12  sources u32
//!  16  base address u64         24  length of all u64
//!  32  checksum of the header (with zeros here) u32                      36  zero u32
//!  40  for each section, in the order of `Section`: offset u64, length u64, checksum u32, zero u32
//! ```
//!
//! Addresses are those of the ELF file, kept relative to the base address in 32 bits.
//!
//! | section | what it holds |
//! |---|---|
//! | build ID | its bytes |
//! | segments | address, file offset and length of each, u64 each, by file offset |
//! | addresses | of the first row of each block, u32 each |
//! | blocks | where each block of rows begins, u32 each, and where the last one ends |
//! | groups | where each group of strings begins, u32 each, see `strings` |
//! | files | directory and name, u32 each; 0: none, a string is its number + 1 |
//! | functions | name, file, line, u32 each; 0: none, a string or file is its number + 1 |
//! | nodes | chains of inlined calls, see `nodes` |
//! | rows | see `rows` |
//! | strings | see `strings` |
//!
//! The small ones that every lookup needs come first: they are read from a disk together.

use std::ops::Range;

use crate::{
    bytes::{u16_at, u32_at, u64_at},
    error::TableError,
};

const MAGIC: &[u8; 8] = b"fpsymtab";

/// Version of the format. Tables of other versions are refused: they are made again from the object.
pub const VERSION: u16 = 1;

/// The sections, in their order in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    BuildId,
    Segments,
    Addresses,
    Blocks,
    Groups,
    Files,
    Functions,
    Nodes,
    Rows,
    Strings,
}

pub(crate) const SECTIONS: [Section; 10] = [
    Section::BuildId,
    Section::Segments,
    Section::Addresses,
    Section::Blocks,
    Section::Groups,
    Section::Files,
    Section::Functions,
    Section::Nodes,
    Section::Rows,
    Section::Strings,
];

const PREFIX_BYTES: usize = 40;
const ENTRY_BYTES: usize = 24;
const CHECKSUM_AT: usize = 32;
pub(crate) const HEADER_BYTES: usize = PREFIX_BYTES + SECTIONS.len() * ENTRY_BYTES;

pub(crate) const SEGMENT_BYTES: usize = 24;
pub(crate) const FUNCTION_BYTES: usize = 12;
pub(crate) const FILE_BYTES: usize = 8;

/// What a table was made from, and what was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSet(pub u32);

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) machine: u16,
    pub(crate) sources: SourceSet,
    pub(crate) base: u64,
    pub(crate) sections: [Range<usize>; SECTIONS.len()],
    pub(crate) checksums: [u32; SECTIONS.len()],
}

// === impl Section ===

impl Section {
    /// For errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BuildId => "build ID",
            Self::Segments => "segments",
            Self::Addresses => "addresses",
            Self::Blocks => "blocks",
            Self::Rows => "rows",
            Self::Nodes => "nodes",
            Self::Functions => "functions",
            Self::Files => "files",
            Self::Groups => "groups of strings",
            Self::Strings => "strings",
        }
    }

    /// Size of one entry.
    fn entry_bytes(self) -> usize {
        match self {
            Self::BuildId | Self::Rows | Self::Nodes | Self::Strings => 1,
            Self::Segments => SEGMENT_BYTES,
            Self::Addresses | Self::Blocks | Self::Groups => 4,
            Self::Functions => FUNCTION_BYTES,
            Self::Files => FILE_BYTES,
        }
    }
}

// === impl SourceSet ===

impl SourceSet {
    /// Debug information.
    pub const DWARF: Self = Self(1);
    /// The full symbol table.
    pub const SYMTAB: Self = Self(1 << 1);
    /// The dynamic linker's symbols.
    pub const DYNSYM: Self = Self(1 << 2);
    /// Linkage stubs.
    pub const PLT: Self = Self(1 << 3);
    /// Compressed symbols within the binary.
    pub const MINI_DEBUG_INFO: Self = Self(1 << 4);
    /// A file that several debug files share, as dwz makes.
    pub const SHARED_DWARF: Self = Self(1 << 5);
    /// Debug information that was split off at compile time.
    pub const SPLIT_DWARF: Self = Self(1 << 6);
    /// Functions that another crate added: a language's own tables.
    pub const OTHER: Self = Self(1 << 7);
    /// A file that the debug information names was not given: with it, the table would say more.
    pub const INCOMPLETE: Self = Self(1 << 16);
    /// Some of the debug information was skipped because it is damaged.
    pub const DAMAGED: Self = Self(1 << 17);

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Its members in words.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (Self::DWARF, "dwarf"),
            (Self::SHARED_DWARF, "shared"),
            (Self::SPLIT_DWARF, "split"),
            (Self::SYMTAB, "symtab"),
            (Self::MINI_DEBUG_INFO, "mini"),
            (Self::DYNSYM, "dynsym"),
            (Self::PLT, "plt"),
            (Self::OTHER, "go"),
            (Self::INCOMPLETE, "incomplete"),
            (Self::DAMAGED, "damaged"),
        ];
        all.into_iter().filter(move |(one, _)| self.has(*one)).map(|(_, name)| name)
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

// === impl Header ===

impl Header {
    /// Puts a table together.
    pub(crate) fn lay_out(
        machine: u16,
        sources: SourceSet,
        base: u64,
        sections: [&[u8]; SECTIONS.len()],
    ) -> Vec<u8> {
        // Numbers of four and eight bytes lie where they are fast to read.
        let padded = |section: &[u8]| section.len().next_multiple_of(8);
        let length = HEADER_BYTES + sections.iter().map(|section| padded(section)).sum::<usize>();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&machine.to_le_bytes());
        out.extend_from_slice(&sources.0.to_le_bytes());
        out.extend_from_slice(&base.to_le_bytes());
        out.extend_from_slice(&(length as u64).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        let mut at = HEADER_BYTES;
        for section in sections {
            out.extend_from_slice(&(at as u64).to_le_bytes());
            out.extend_from_slice(&(section.len() as u64).to_le_bytes());
            out.extend_from_slice(&crc32c::crc32c(section).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            at += padded(section);
        }
        let checksum = crc32c::crc32c(&out);
        out[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        for section in sections {
            out.extend_from_slice(section);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        out
    }

    /// Reads and checks the header of a table.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, TableError> {
        let header = bytes.get(..HEADER_BYTES).ok_or_else(|| {
            if bytes.starts_with(MAGIC) { TableError::Length } else { TableError::Magic }
        })?;
        if !header.starts_with(MAGIC) {
            return Err(TableError::Magic);
        }
        let version = u16_at(header, 8).unwrap_or(0);
        if version != VERSION {
            return Err(TableError::Version(version));
        }
        let mut zeroed: [u8; HEADER_BYTES] = [0; HEADER_BYTES];
        zeroed.copy_from_slice(header);
        zeroed[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
        if u32_at(header, CHECKSUM_AT) != Some(crc32c::crc32c(&zeroed)) {
            return Err(TableError::Checksum("header"));
        }
        if u64_at(header, 24) != Some(bytes.len() as u64) {
            return Err(TableError::Length);
        }
        let mut found = Self {
            machine: u16_at(header, 10).unwrap_or(0),
            sources: SourceSet(u32_at(header, 12).unwrap_or(0)),
            base: u64_at(header, 16).unwrap_or(0),
            sections: std::array::from_fn(|_| 0..0),
            checksums: [0; SECTIONS.len()],
        };
        for (number, section) in SECTIONS.into_iter().enumerate() {
            let at = PREFIX_BYTES + number * ENTRY_BYTES;
            let range = section_range(header, at, bytes.len());
            let range = range.filter(|range| range.len() % section.entry_bytes() == 0);
            found.sections[number] = range.ok_or(TableError::Invalid(section.name()))?;
            found.checksums[number] = u32_at(header, at + 16).unwrap_or(0);
        }
        let entries = |section: Section| found.sections[section as usize].len() / 4;
        if entries(Section::Blocks) != entries(Section::Addresses) + 1 {
            return Err(TableError::Invalid(Section::Blocks.name()));
        }
        Ok(found)
    }
}

fn section_range(header: &[u8], at: usize, length: usize) -> Option<Range<usize>> {
    let start = usize::try_from(u64_at(header, at)?).ok()?;
    let end = start.checked_add(usize::try_from(u64_at(header, at + 8)?).ok()?)?;
    (start >= HEADER_BYTES && end <= length).then_some(start..end)
}
