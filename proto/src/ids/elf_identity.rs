//! Which binary an ELF file is, by the build IDs in its notes or by a hash.
//!
//! In: a file, as anything that reads and seeks, or its already parsed header. Out: its [`BuildId`]:
//! GNU's, else Go's, else OpenTelemetry's `htlhash`. The agent and the symbolizer both ask here, so
//! that what one names the other finds. The input is untrusted: only headers, notes and 8 KiB for the
//! hash are read whatever the file claims, and nothing panics. Not done here: opening files.

use std::io::{self, Read, Seek, SeekFrom};

use object::{
    Endianness, ReadRef,
    elf::{self, FileHeader32, FileHeader64},
    read::{
        self, ReadCache,
        elf::{FileHeader, NoteIterator, ProgramHeader as _, SectionHeader as _},
    },
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{BuildId, BuildIdKind};

/// Most sections looked at; linked binaries have tens, kernel modules at most thousands.
pub const MAX_SECTIONS: usize = 16 * 1024;

/// Most program headers looked at.
const MAX_SEGMENTS: usize = 4 * 1024;

/// Largest area of notes read, bytes, and the most of them in each table.
const MAX_NOTE_BYTES: u64 = 64 << 10;
const MAX_NOTE_AREAS: usize = 64;

/// Bytes at either end of a file that make its `htlhash`.
const HTL_BYTES: u64 = 4096;

/// Note type of Go's linker, with the owner "Go".
const NT_GO_BUILD_ID: elf::NoteType = elf::NoteType(4);

/// The build IDs in the notes of a file: the first of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoteIds {
    /// The descriptor of its `NT_GNU_BUILD_ID` note.
    pub gnu: Option<BuildId>,
    /// The Go linker's build ID.
    pub go: Option<BuildId>,
}

/// A file that has no build ID.
#[derive(Debug, Error)]
pub enum BuildIdError {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not an ELF file, so nothing could symbolize it.
    #[error("it is not an ELF file")]
    NotElf,
}

/// An ELF file that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TableError {
    /// A table is not where the header says.
    #[error("{0}")]
    Damaged(&'static str),
    /// A table is larger than any real file's.
    #[error("{0}")]
    Limit(&'static str),
}

/// Identifies a file that a process maps. A damaged one still gets its hash, which tells it from
/// others.
///
/// # Errors
/// When it cannot be read or is not ELF.
pub fn build_id(mut file: impl Read + Seek) -> Result<BuildId, BuildIdError> {
    let notes = match class(&mut file)? {
        elf::ELFCLASS64 => NoteIds::of_mapped::<FileHeader64<_>, _>(&ReadCache::new(&mut file)),
        elf::ELFCLASS32 => NoteIds::of_mapped::<FileHeader32<_>, _>(&ReadCache::new(&mut file)),
        _ => None,
    };
    notes.and_then(NoteIds::strongest).map_or_else(|| Ok(htlhash(file)?), Ok)
}

/// OpenTelemetry's `process.executable.build_id.htlhash`: the first 16 bytes of the SHA-256 over the
/// first 4 KiB, the last 4 KiB and the length (8 bytes, big-endian) of a file. The two parts overlap
/// in a short file.
///
/// # Errors
/// When the file cannot be read, or shrinks while it is read.
pub fn htlhash(mut file: impl Read + Seek) -> io::Result<BuildId> {
    let length = file.seek(SeekFrom::End(0))?;
    let part = length.min(HTL_BYTES);
    let mut hash = Sha256::new();
    for start in [0, length - part] {
        file.seek(SeekFrom::Start(start))?;
        let copied = io::copy(&mut file.by_ref().take(part), &mut hash)?;
        if copied != part {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while read"));
        }
    }
    hash.update(length.to_be_bytes());
    BuildId::new(BuildIdKind::Htl, &hash.finalize()[..16]).map_err(io::Error::other)
}

/// The section headers, read only when there are not too many.
///
/// # Errors
/// When the header is wrong about them.
pub fn sections<'data, Elf, R>(
    header: &Elf,
    endian: Endianness,
    data: R,
) -> Result<&'data [Elf::SectionHeader], TableError>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let count = header.shnum(endian, data);
    if count.map_err(|_| TableError::Damaged("its section count is wrong"))? as usize > MAX_SECTIONS
    {
        return Err(TableError::Limit("too many sections"));
    }
    let sections = header.section_headers(endian, data);
    sections.map_err(|_| TableError::Damaged("its section headers are outside the file"))
}

/// The program headers, read only when there are not too many.
fn segments<'data, Elf, R>(
    header: &Elf,
    endian: Endianness,
    data: R,
) -> Result<&'data [Elf::ProgramHeader], TableError>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let count = header.phnum(endian, data);
    if count.map_err(|_| TableError::Damaged("its segment count is wrong"))? as usize > MAX_SEGMENTS
    {
        return Err(TableError::Limit("too many program headers"));
    }
    let segments = header.program_headers(endian, data);
    segments.map_err(|_| TableError::Damaged("its program headers are outside the file"))
}

/// Whether a file starts like ELF, and of which class it says it is.
fn class(file: &mut (impl Read + Seek)) -> Result<elf::FileClass, BuildIdError> {
    let mut ident = [0; 6];
    file.seek(SeekFrom::Start(0))?;
    match file.read_exact(&mut ident) {
        Ok(()) if ident[..4] == elf::ELFMAG => Ok(elf::FileClass(ident[4])),
        Ok(()) => Err(BuildIdError::NotElf),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BuildIdError::NotElf),
        Err(error) => Err(error.into()),
    }
}

// === impl NoteIds ===

impl NoteIds {
    /// The build ID this product uses when there is one: GNU's, else Go's.
    pub fn strongest(self) -> Option<BuildId> {
        self.gnu.or(self.go)
    }

    /// Those in bare notes of this machine's byte order, as in `/sys/kernel/notes`.
    pub fn of_notes(notes: &[u8]) -> Self {
        let mut found = Self::default();
        let endian = Endianness::default();
        // The alignment of 4 holds for all notes the kernel shows.
        let area = NoteIterator::<FileHeader64<Endianness>>::new(endian, 4, notes);
        found.take_areas([area.map(Some)], endian);
        found
    }

    /// Those of a file in order, whichever table has them.
    ///
    /// # Errors
    /// When one of the tables contradicts the file.
    pub fn of_all_tables<'data, Elf, R>(
        header: &Elf,
        endian: Endianness,
        data: R,
    ) -> Result<Self, TableError>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let mut found = Self::default();
        // Sections first: in a file that holds only debug information the segments' offsets are
        // stale.
        found.take_sections(header, endian, data)?;
        found.take_segments(header, endian, data)?;
        Ok(found)
    }

    /// Those of a file as the kernel maps it: its segments', and its sections' only when it has none
    /// (relocatable files). A table that contradicts the file counts as empty. `None` when the header
    /// makes no sense.
    fn of_mapped<'data, Elf, R>(data: R) -> Option<Self>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let header = Elf::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let mut found = Self::default();
        // Damage leaves what was found before it.
        let _damage = found.take_segments(header, endian, data);
        if found.gnu.is_none() {
            let _damage = found.take_sections(header, endian, data);
        }
        Some(found)
    }

    fn take_segments<'data, Elf, R>(
        &mut self,
        header: &Elf,
        endian: Endianness,
        data: R,
    ) -> Result<(), TableError>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let areas = segments(header, endian, data)?.iter().filter(|segment| {
            let is_note = segment.p_type(endian) == elf::PT_NOTE;
            is_note && segment.p_filesz(endian).into() <= MAX_NOTE_BYTES
        });
        self.take_areas(areas.map(|area| area.notes(endian, data)), endian);
        Ok(())
    }

    fn take_sections<'data, Elf, R>(
        &mut self,
        header: &Elf,
        endian: Endianness,
        data: R,
    ) -> Result<(), TableError>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let areas = sections(header, endian, data)?.iter().filter(|section| {
            let is_note = section.sh_type(endian) == elf::SHT_NOTE;
            is_note && section.sh_size(endian).into() <= MAX_NOTE_BYTES
        });
        self.take_areas(areas.map(|area| area.notes(endian, data)), endian);
        Ok(())
    }

    /// Takes the first build ID of each kind. A damaged note ends its area; the others still count.
    fn take_areas<'data, Elf>(
        &mut self,
        areas: impl IntoIterator<Item = read::Result<Option<NoteIterator<'data, Elf>>>>,
        endian: Endianness,
    ) where
        Elf: FileHeader<Endian = Endianness> + 'data,
    {
        for mut notes in areas.into_iter().take(MAX_NOTE_AREAS).flatten().flatten() {
            while let Ok(Some(note)) = notes.next() {
                let (slot, kind) = match (note.name(), note.n_type(endian)) {
                    (b"GNU", elf::NT_GNU_BUILD_ID) => (&mut self.gnu, BuildIdKind::Gnu),
                    (b"Go", NT_GO_BUILD_ID) => (&mut self.go, BuildIdKind::Go),
                    _ => continue,
                };
                if slot.is_none() {
                    // One that is empty or oversized cannot travel, so the file counts as having none.
                    *slot = BuildId::new(kind, note.desc()).ok();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
