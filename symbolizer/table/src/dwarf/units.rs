//! The units of a `.debug_info` section, parsed when they are needed.
//!
//! What the parser keeps of a unit's abbreviations and of its lists of files is much larger than the
//! bytes of both, which may be any in a hostile file: neither is given to it beyond a limit.

use std::sync::Arc;

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfoOffset, Dwarf,
    EndianSlice, LittleEndian, Section as _, Unit, UnitHeader, UnitOffset, constants as dw,
};
use rustc_hash::FxHashMap;

use super::{Slice, UnitError};
use crate::{
    bytes::{u16_at, u32_at, u64_at},
    error::{ConvertError, Limits},
};

/// Longest table of abbreviations of one unit, bytes: compilers write some kilobytes.
const MAX_ABBREVIATION_BYTES: usize = 256 << 10;

/// Longest list of directories and files of one unit, bytes.
const MAX_FILE_LIST_BYTES: u64 = 4 << 20;

/// Tables of abbreviations that are kept: units that share theirs mostly follow one another.
const MAX_KEPT: usize = 8;

/// The units of one file.
pub(super) struct Units<'d, 'a> {
    dwarf: &'d Dwarf<Slice<'a>>,
    headers: Vec<UnitHeader<Slice<'a>>>,
    ends_early: bool,
    abbreviations: FxHashMap<usize, Arc<Abbreviations>>,
}

// === impl Units ===

impl<'d, 'a> Units<'d, 'a> {
    /// Reads the headers of all units; of a damaged section, those before the damage.
    pub(super) fn read(dwarf: &'d Dwarf<Slice<'a>>, limits: &Limits) -> Result<Self, ConvertError> {
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        let ends_early = loop {
            match units.next() {
                Ok(Some(header)) => headers.push(header),
                Ok(None) => break false,
                Err(_) => break true,
            }
            if headers.len() > limits.units as usize {
                let limit = limits.units.into();
                return Err(ConvertError::TooLarge { what: "units of debug information", limit });
            }
        };
        Ok(Self { dwarf, headers, ends_early, abbreviations: FxHashMap::default() })
    }

    pub(super) fn dwarf(&self) -> &'d Dwarf<Slice<'a>> {
        self.dwarf
    }

    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn header(&self, number: usize) -> &UnitHeader<Slice<'a>> {
        &self.headers[number]
    }

    /// Whether the list of units breaks off.
    pub(super) fn ends_early(&self) -> bool {
        self.ends_early
    }

    /// Parses unit `number`: its abbreviations, its root, and its lists of files.
    pub(super) fn open(&mut self, number: usize) -> Result<Unit<Slice<'a>>, UnitError> {
        let header = self.headers[number];
        let abbreviations = self.abbreviations(header.debug_abbrev_offset())?;
        let mut entries = header.entries_raw(&abbreviations, None)?;
        let root = entries.read_abbreviation()?.ok_or(gimli::Error::MissingUnitDie)?;
        for specification in root.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            if attribute.name() == dw::DW_AT_stmt_list
                && let AttributeValue::DebugLineRef(offset) = attribute.value()
                && file_list_bytes(&self.dwarf.debug_line, offset.0) > Some(MAX_FILE_LIST_BYTES)
            {
                return Err(UnitError::Refused("its list of files is too long"));
            }
        }
        Ok(Unit::new_with_abbreviations(self.dwarf, header, abbreviations)?)
    }

    /// The unit that holds a position, and the position in it.
    pub(super) fn find(&self, offset: DebugInfoOffset) -> Option<(usize, UnitOffset)> {
        let start = |header: &UnitHeader<Slice<'a>>| header.debug_info_offset().map(|at| at.0);
        let after = self.headers.partition_point(|header| start(header) <= Some(offset.0));
        let number = after.checked_sub(1)?;
        Some((number, offset.to_unit_offset(&self.headers[number])?))
    }

    fn abbreviations(&mut self, offset: DebugAbbrevOffset) -> gimli::Result<Arc<Abbreviations>> {
        if let Some(known) = self.abbreviations.get(&offset.0) {
            return Ok(Arc::clone(known));
        }
        let section = self.dwarf.debug_abbrev.reader().slice();
        let rest = section.get(offset.0..).unwrap_or_default();
        let table = &rest[..rest.len().min(MAX_ABBREVIATION_BYTES)];
        let table = DebugAbbrev::from(EndianSlice::new(table, LittleEndian));
        let read = Arc::new(table.abbreviations(DebugAbbrevOffset(0))?);
        if self.abbreviations.len() >= MAX_KEPT {
            self.abbreviations.clear();
        }
        self.abbreviations.insert(offset.0, Arc::clone(&read));
        Ok(read)
    }
}

/// What the header of a line program says about its length.
fn file_list_bytes(section: &gimli::DebugLine<Slice<'_>>, offset: usize) -> Option<u64> {
    let bytes = section.reader().slice().get(offset..)?;
    let is_wide = u32_at(bytes, 0)? == u32::MAX;
    let version_at = if is_wide { 12 } else { 4 };
    // Since version 5, the sizes of addresses and of segments follow.
    let sizes = if u16_at(bytes, version_at)? >= 5 { 2 } else { 0 };
    let length_at = version_at + 2 + sizes;
    if is_wide { u64_at(bytes, length_at) } else { u32_at(bytes, length_at).map(u64::from) }
}
