//! The debug sections that functions and lines need.

use std::borrow::Cow;

use gimli::{DwarfPackageSections, DwarfSections, EndianSlice, LittleEndian, SectionId};

use super::{Slice, UnitError};
use crate::{budget::Budget, elf::Elf, error::ConvertError};

/// The debug sections of a file; of a `.dwo` file, those with that suffix.
pub(super) fn sections<'a>(
    elf: &Elf<'a>,
    split: bool,
    budget: &mut Budget,
) -> Result<DwarfSections<Cow<'a, [u8]>>, ConvertError> {
    DwarfSections::load(|id| {
        if !is_needed(id) {
            return Ok(Cow::Borrowed(&[][..]));
        }
        match (split, id.dwo_name()) {
            (false, _) => elf.section(id.name(), budget),
            (true, Some(name)) => elf.section(name, budget),
            (true, None) => Ok(Cow::Borrowed(&[][..])),
        }
    })
}

/// The debug sections of a package of split units: all of them, as its index speaks about all.
pub(super) fn package<'a>(
    elf: &Elf<'a>,
    budget: &mut Budget,
) -> Result<DwarfPackageSections<Cow<'a, [u8]>>, ConvertError> {
    let loaded = DwarfPackageSections::load(|id| match id.dwo_name() {
        Some(name) => Ok(elf.section(name, budget)?),
        None => Ok(Cow::Borrowed(&[][..])),
    });
    loaded.map_err(|error| match error {
        UnitError::Damaged(_) | UnitError::Refused(_) => {
            ConvertError::Damaged("a package of split units")
        }
        UnitError::Stop(error) => error,
    })
}

/// A loaded section, for the parser.
#[expect(clippy::ptr_arg, reason = "sections are held so")]
pub(super) fn slice<'s>(section: &'s Cow<'_, [u8]>) -> Slice<'s> {
    EndianSlice::new(section, LittleEndian)
}

fn is_needed(id: SectionId) -> bool {
    matches!(
        id,
        SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugInfo
            | SectionId::DebugLine
            | SectionId::DebugLineStr
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
            | SectionId::DebugStr
            | SectionId::DebugStrOffsets
    )
}
