//! What a file is.
//!
//! In: an open file or its bytes, from an untrusted source. Out: which binary it is (build IDs) and
//! what can be learned from it (symbols, debug information). Reads only headers, notes, section
//! names and 8 KiB for the hash, whatever the file claims; never panics. Not done here: symbols, and
//! the choice of files.

use std::{fs::File, io, path::Path};

use fleetprof_proto::ids::{
    BuildId, BuildIdKind,
    elf_identity::{NoteIds, TableError, htlhash, sections},
};
use object::{
    Endian, Endianness, ReadRef,
    elf::{self, FileHeader32, FileHeader64},
    read::{
        ReadCache, StringTable,
        elf::{FileHeader, SectionHeader},
    },
};
use thiserror::Error;

mod wire;

/// Largest table of section names read, bytes.
const MAX_SECTION_NAMES_BYTES: u64 = 1 << 20;

/// Longest name of a section, bytes. Parsers search the names once for every section.
const MAX_SECTION_NAME_BYTES: usize = 4096;

/// Longest `.gnu_debugaltlink` read, bytes: a path, and a build ID.
const MAX_LINK_BYTES: u64 = 8192;

/// What an ELF file is and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectIdentity {
    /// The descriptor of its `NT_GNU_BUILD_ID` note.
    pub gnu_build_id: Option<BuildId>,
    /// The Go linker's build ID.
    pub go_build_id: Option<BuildId>,
    /// The hash that identifies any file; see [`htlhash`].
    pub htlhash: BuildId,
    /// What sort of ELF file it is.
    pub file_type: FileType,
    /// `e_machine`: 62 is x86-64, 183 is aarch64.
    pub machine: u16,
    /// Little-endian, as every machine this product runs on.
    pub little_endian: bool,
    /// What it holds.
    pub contents: Contents,
    /// Build ID of the file with debug information that this one has in common with others
    /// (`.gnu_debugaltlink`, as dwz makes).
    pub shared_debug: Option<BuildId>,
}

/// What sort of ELF file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// Relocatable: an object file or a kernel module.
    Relocatable,
    /// Linked to a fixed address.
    Executable,
    /// A shared library or a position-independent executable.
    Shared,
    /// A memory dump.
    Core,
    /// Something else.
    Other(u16),
}

/// What an ELF file holds, by its section headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The full symbol table, `.symtab`.
    pub symtab: bool,
    /// The dynamic linker's symbols, `.dynsym`.
    pub dynsym: bool,
    /// DWARF, `.debug_info`.
    pub debug_info: bool,
    /// Strings of debug information, `.debug_str`: sometimes all that files have in common.
    pub debug_strings: bool,
    /// Compressed symbols ("MiniDebugInfo"), `.gnu_debugdata`.
    pub mini_debug_info: bool,
    /// A pointer to another file with the debug information (`.gnu_debuglink`), or with parts of it
    /// (`.gnu_debugaltlink`, `.debug_sup`).
    pub debug_link: bool,
    /// Code: a file without it goes with another one.
    pub code: bool,
    /// Debug information that was split off at compile time (`.dwo` and `.dwp` files).
    pub split_units: bool,
}

/// How much an ELF file says of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SymbolLevel {
    /// The dynamic linker's symbols at most.
    Dynamic,
    /// All functions.
    Functions,
    /// Also lines and inlined calls.
    DebugInfo,
}

/// A file that is not an ELF file that can be identified.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// It could not be read.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// It is a directory, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It does not start like an ELF file.
    #[error("it is not an ELF file")]
    NotElf,
    /// It starts like one and then contradicts itself.
    #[error("the ELF file is damaged: {0}")]
    Damaged(&'static str),
    /// A table is larger than any real file's.
    #[error("the ELF file is refused: {0}")]
    Limit(&'static str),
}

/// Identifies the file at `path`. Never waits: a pipe or a device is refused.
///
/// # Errors
/// When the file cannot be opened or read, or is not an ELF file in order.
pub fn identify_path(path: &Path) -> Result<ObjectIdentity, IdentityError> {
    identify(&open_regular(path)?)
}

/// Identifies an open file. Moves the file's position.
///
/// # Errors
/// When the file cannot be read or is not an ELF file in order.
pub fn identify(file: &File) -> Result<ObjectIdentity, IdentityError> {
    let htlhash = htlhash(file)?;
    from_elf(&ReadCache::new(file), htlhash)
}

/// Identifies a file by its bytes.
///
/// # Errors
/// When it is not an ELF file in order.
pub fn identify_bytes(bytes: &[u8]) -> Result<ObjectIdentity, IdentityError> {
    let htlhash = htlhash(io::Cursor::new(bytes))?;
    from_elf(bytes, htlhash)
}

/// Opens a file without waiting for a pipe's writer, and refuses what is not a regular file.
pub(crate) fn open_regular(path: &Path) -> Result<File, IdentityError> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(IdentityError::NotAFile) }
}

/// Whether a section with this name points at another file.
pub(crate) fn is_debug_link(name: &[u8]) -> bool {
    matches!(name, b".gnu_debuglink" | b".gnu_debugaltlink" | b".debug_sup")
}

fn from_elf<'data, R: ReadRef<'data>>(
    data: R,
    htlhash: BuildId,
) -> Result<ObjectIdentity, IdentityError> {
    let ident = data.read_bytes_at(0, 6).map_err(|()| IdentityError::NotElf)?;
    if ident[..4] != elf::ELFMAG {
        return Err(IdentityError::NotElf);
    }
    match elf::FileClass(ident[4]) {
        elf::ELFCLASS64 => read::<FileHeader64<Endianness>, R>(data, htlhash),
        elf::ELFCLASS32 => read::<FileHeader32<Endianness>, R>(data, htlhash),
        _ => Err(IdentityError::Damaged("unknown class")),
    }
}

fn read<'data, Elf, R>(data: R, htlhash: BuildId) -> Result<ObjectIdentity, IdentityError>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let damaged = |what| move |_| IdentityError::Damaged(what);
    let header = Elf::parse(data).map_err(damaged("its header is cut off or unknown"))?;
    let endian = header.endian().map_err(damaged("unknown byte order"))?;
    let file_type = match header.e_type(endian) {
        elf::ET_REL => FileType::Relocatable,
        elf::ET_EXEC => FileType::Executable,
        elf::ET_DYN => FileType::Shared,
        elf::ET_CORE => FileType::Core,
        other => FileType::Other(other.0),
    };
    let notes = NoteIds::of_all_tables(header, endian, data)?;
    let (contents, shared_debug) = Contents::read(header, endian, data)?;
    Ok(ObjectIdentity {
        gnu_build_id: notes.gnu,
        go_build_id: notes.go,
        htlhash,
        file_type,
        machine: header.e_machine(endian).0,
        little_endian: endian.is_little_endian(),
        contents,
        shared_debug,
    })
}

// === impl ObjectIdentity ===

impl ObjectIdentity {
    /// The build ID this product uses for the file: GNU's, else Go's, else the hash.
    pub fn build_id(&self) -> &BuildId {
        self.gnu_build_id.as_ref().or(self.go_build_id.as_ref()).unwrap_or(&self.htlhash)
    }

    /// Whether the file is the one that `claimed` names.
    pub fn is(&self, claimed: &BuildId) -> bool {
        let own = match claimed.kind() {
            BuildIdKind::Gnu => self.gnu_build_id.as_ref(),
            BuildIdKind::Go => self.go_build_id.as_ref(),
            BuildIdKind::Htl => Some(&self.htlhash),
        };
        own == Some(claimed)
    }
}

/// The build ID in a `.gnu_debugaltlink`: it follows the file's name and a zero. One that is damaged
/// names nothing, and neither does one that could be no build ID.
fn link_target(link: &[u8]) -> Option<BuildId> {
    let name = link.iter().position(|byte| *byte == 0)?;
    BuildId::new(BuildIdKind::Gnu, &link[name + 1..]).ok()
}

/// The table of section names, read only when its size is sane; empty when the file has none.
fn section_names<'data, Elf, R>(
    header: &Elf,
    endian: Endianness,
    data: R,
    sections: &[Elf::SectionHeader],
) -> Result<StringTable<'data, R>, IdentityError>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let index = header
        .shstrndx(endian, data)
        .map_err(|_| IdentityError::Damaged("its section names are missing"))?;
    let Some(section) = sections.get(index as usize).filter(|_| index != 0) else {
        return Ok(StringTable::default());
    };
    if section.sh_size(endian).into() > MAX_SECTION_NAMES_BYTES {
        return Err(IdentityError::Limit("its section names are too large"));
    }
    let names = header.section_strings(endian, data, sections);
    names.map_err(|_| IdentityError::Damaged("its section names are outside the file"))
}

// === impl IdentityError ===

impl From<TableError> for IdentityError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Damaged(what) => Self::Damaged(what),
            TableError::Limit(what) => Self::Limit(what),
        }
    }
}

// === impl Contents ===

impl Contents {
    /// How much they say of the code.
    pub fn level(&self) -> SymbolLevel {
        match self {
            Self { debug_info: true, .. } => SymbolLevel::DebugInfo,
            Self { symtab: true, .. } | Self { mini_debug_info: true, .. } => {
                SymbolLevel::Functions
            }
            _ => SymbolLevel::Dynamic,
        }
    }

    /// Also what `.gnu_debugaltlink` names.
    fn read<'data, Elf, R>(
        header: &Elf,
        endian: Endianness,
        data: R,
    ) -> Result<(Self, Option<BuildId>), IdentityError>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let (mut contents, mut shared) = (Self::default(), None);
        let sections = sections(header, endian, data)?;
        if sections.is_empty() {
            // Sections are not needed to run.
            contents.code = true;
            return Ok((contents, None));
        }
        let names = section_names(header, endian, data, sections)?;
        for section in sections {
            let name = section.name(endian, names).unwrap_or_default();
            if name.len() > MAX_SECTION_NAME_BYTES {
                return Err(IdentityError::Limit("a section's name is too long"));
            }
            // `SHT_NOBITS`: a file that was stripped to its debug information, or from it.
            if section.sh_type(endian) != elf::SHT_NOBITS {
                contents.add(name);
                contents.code |= section.sh_flags(endian).contains(elf::SHF_EXECINSTR);
                if name == b".gnu_debugaltlink" && section.sh_size(endian).into() <= MAX_LINK_BYTES
                {
                    shared = section.data(endian, data).ok().and_then(link_target);
                }
            }
        }
        Ok((contents, shared))
    }

    fn add(&mut self, section: &[u8]) {
        let found = match section {
            b".symtab" => &mut self.symtab,
            b".dynsym" => &mut self.dynsym,
            b".debug_info" => &mut self.debug_info,
            b".debug_str" => &mut self.debug_strings,
            b".gnu_debugdata" => &mut self.mini_debug_info,
            b".debug_cu_index" | b".debug_tu_index" | b".debug_info.dwo" => &mut self.split_units,
            name if is_debug_link(name) => &mut self.debug_link,
            _ => return,
        };
        *found = true;
    }
}

#[cfg(test)]
mod tests;
