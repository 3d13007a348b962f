//! How the files of an object are named.
//!
//! ```text
//! ID.elf, ID.kallsyms   the object as it was uploaded
//! ID.symtab             its symbol table
//! ID.failed             why it has none: version of the converter, then the reason
//! ```

use std::path::Path;

use fleetprof_proto::{ids::ObjectId, v1::ObjectFormat};

/// Longest file name made from an id, bytes; file systems allow 255.
pub(super) const MAX_NAME_BYTES: usize = 240;

/// What sort of file an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::objects) enum Format {
    Elf,
    Kallsyms,
}

/// What a file in the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Object(Format),
    Table,
    Failure,
}

// === impl Format ===

impl Format {
    pub(in crate::objects) fn of_wire(format: ObjectFormat) -> Option<Self> {
        match format {
            ObjectFormat::Elf => Some(Self::Elf),
            ObjectFormat::Kallsyms => Some(Self::Kallsyms),
            ObjectFormat::Unspecified => None,
        }
    }
}

pub(super) fn file_name(id: &ObjectId, kept: Kept) -> String {
    let extension = match kept {
        Kept::Object(Format::Elf) => "elf",
        Kept::Object(Format::Kallsyms) => "kallsyms",
        Kept::Table => "symtab",
        Kept::Failure => "failed",
    };
    format!("{id}.{extension}")
}

pub(super) fn parse_name(path: &Path) -> Option<(ObjectId, Kept)> {
    let kept = match path.extension()?.to_str()? {
        "elf" => Kept::Object(Format::Elf),
        "kallsyms" => Kept::Object(Format::Kallsyms),
        "symtab" => Kept::Table,
        "failed" => Kept::Failure,
        _ => return None,
    };
    Some((path.file_stem()?.to_str()?.parse().ok()?, kept))
}
