//! How the files of an object are named.
//!
//! ```text
//! ID.elf, ID.kallsyms   the object as it was uploaded
//! ID.debug              a separate file with its symbols and debug information, or what dwz moved there
//!                       from several objects: that one has an id of its own
//! ID.dwp                a package with the units that were split off its debug information
//! ID.shares             id of the file that dwz made, of which its debug information needs parts
//! ID.path               where it was on a host, for people
//! ID.symtab             its symbol table
//! ID.failed             why it has none: version of the converter, then the reason
//! ```

use std::{fs::Metadata, os::unix::fs::MetadataExt, path::Path};

use fleetprof_proto::{ids::ObjectId, v1::ObjectFormat};

/// Longest file name made from an id, bytes; file systems allow 255.
pub(super) const MAX_NAME_BYTES: usize = 240;

/// What sort of file an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::objects) enum Format {
    Elf,
    /// Goes with an ELF file, which may come later, or with several.
    Debug,
    /// Goes with an ELF file, and is believed only unit by unit: it has no build ID.
    Split,
    Kallsyms,
}

/// What a file in the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Object(Format),
    Shares,
    Path,
    Table,
    Failure,
}

// === impl Format ===

impl Format {
    pub(in crate::objects) fn of_wire(format: ObjectFormat) -> Option<Self> {
        match format {
            ObjectFormat::Elf => Some(Self::Elf),
            ObjectFormat::ElfDebug => Some(Self::Debug),
            ObjectFormat::ElfSplit => Some(Self::Split),
            ObjectFormat::Kallsyms => Some(Self::Kallsyms),
            // Not kept yet.
            ObjectFormat::Unspecified => None,
        }
    }

    pub(in crate::objects) fn to_wire(self) -> ObjectFormat {
        match self {
            Self::Elf => ObjectFormat::Elf,
            Self::Debug => ObjectFormat::ElfDebug,
            Self::Split => ObjectFormat::ElfSplit,
            Self::Kallsyms => ObjectFormat::Kallsyms,
        }
    }
}

pub(super) fn file_name(id: &ObjectId, kept: Kept) -> String {
    let extension = match kept {
        Kept::Object(Format::Elf) => "elf",
        Kept::Object(Format::Debug) => "debug",
        Kept::Object(Format::Split) => "dwp",
        Kept::Shares => "shares",
        Kept::Object(Format::Kallsyms) => "kallsyms",
        Kept::Path => "path",
        Kept::Table => "symtab",
        Kept::Failure => "failed",
    };
    format!("{id}.{extension}")
}

/// What a file takes of the disk, bytes: objects have holes where code and data were left out.
pub(in crate::objects) fn space_of(meta: &Metadata) -> u64 {
    meta.len().min(meta.blocks().saturating_mul(512))
}

pub(super) fn parse_name(path: &Path) -> Option<(ObjectId, Kept)> {
    let kept = match path.extension()?.to_str()? {
        "elf" => Kept::Object(Format::Elf),
        "debug" => Kept::Object(Format::Debug),
        "dwp" => Kept::Object(Format::Split),
        "shares" => Kept::Shares,
        "kallsyms" => Kept::Object(Format::Kallsyms),
        "path" => Kept::Path,
        "symtab" => Kept::Table,
        "failed" => Kept::Failure,
        _ => return None,
    };
    Some((path.file_stem()?.to_str()?.parse().ok()?, kept))
}
