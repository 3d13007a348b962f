//! What an ELF file says of further files with its debug information: the one that holds what it shares
//! with others (`.gnu_debugaltlink`, made by dwz), and that a file is a package of split units (`.dwp`).
//!
//! Reads headers, section names and the link; whatever they claim, never more.

use std::{fs::File, os::unix::fs::MetadataExt as _};

use fleetprof_proto::ids::{BuildId, BuildIdKind};
use object::{
    ReadRef, elf,
    read::{ReadCache, elf::SectionHeader as _},
};

use super::sections::Sections;

/// Longest link read, bytes: a path and a build ID.
const MAX_LINK_BYTES: u64 = 4096 + 256;

/// The file that a debug file shares debug information with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AltLink {
    /// Its path: absolute, or from the folder of the file with the link.
    pub(super) path: Vec<u8>,
    pub(super) build_id: BuildId,
}

// === impl AltLink ===

impl AltLink {
    /// The link of an ELF file. `None` where there is none, or none that leads anywhere.
    pub(super) fn of(file: &File) -> Option<Self> {
        Self::read(&ReadCache::new(file))
    }

    pub(super) fn read<'data>(data: impl ReadRef<'data>) -> Option<Self> {
        let (offset, size) = section(data, b".gnu_debugaltlink")?;
        let bytes = data.read_bytes_at(offset, size.min(MAX_LINK_BYTES)).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0).filter(|end| *end > 0)?;
        let build_id = BuildId::new(BuildIdKind::Gnu, &bytes[end + 1..]).ok()?;
        Some(Self { path: bytes[..end].to_vec(), build_id })
    }
}

/// Whether a file is a package of split units.
pub(super) fn is_package<'data>(data: impl ReadRef<'data>) -> bool {
    section(data, b".debug_cu_index").is_some()
}

/// Whether `file` is a package of split units that may go with `owner`. Nothing in it says whose it is, so
/// at least nobody else may have put it there.
pub(super) fn is_package_of(file: &File, owner: &File) -> bool {
    let uid = |file: &File| file.metadata().ok().map(|meta| meta.uid());
    let is_trusted = uid(file).is_some_and(|user| user == 0 || Some(user) == uid(owner));
    is_trusted && is_package(&ReadCache::new(file))
}

/// Where a section is, and its size.
fn section<'data>(data: impl ReadRef<'data>, wanted: &[u8]) -> Option<(u64, u64)> {
    let sections = Sections::read(data)?;
    let endian = sections.endian;
    let found = sections.table.iter().find(|section| {
        section.sh_type(endian) != elf::SHT_NOBITS && sections.name(section) == wanted
    })?;
    Some((found.sh_offset(endian), found.sh_size(endian)))
}

#[cfg(test)]
mod tests;
