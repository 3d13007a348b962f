//! What of an ELF file names its code: headers, notes, symbols, debug information; not its code and
//! data, which are most of a binary and may hold secrets.
//!
//! In: an ELF file. Out: the ranges of it that are needed; the rest is read as zeros, so that all
//! offsets stay what they are. Stubs of the dynamic linker are kept, they are named after what they
//! call; of Go binaries also read-only and initialized data, which describe inlined calls.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
};

use object::{
    ReadRef, elf,
    read::{
        ReadCache,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
    },
};

use super::sections::Sections;

/// First and last bytes of a file, which its hash is made of where there is no build ID.
const EDGE_BYTES: u64 = 4096;

/// A file that is read with zeros where nothing is needed.
#[derive(Debug)]
pub(super) struct Outlined {
    file: File,
    size: u64,
    /// Ascending, not overlapping.
    kept: Vec<Range<u64>>,
    position: u64,
}

// === impl Outlined ===

impl Outlined {
    /// Reads the headers of a file of `size` bytes. One that they do not describe is kept whole.
    pub(super) fn new(file: File, size: u64) -> Self {
        let kept = needed(&ReadCache::new(&file), size);
        let kept = kept.unwrap_or_else(|| std::iter::once(0..size).collect());
        Self { file, size, kept, position: 0 }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn go_to(&mut self, position: u64) {
        self.position = position;
    }
}

impl Read for Outlined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let room = left.min(buffer.len() as u64);
        let after = self.kept.partition_point(|range| range.end <= self.position);
        let read = match self.kept.get(after) {
            Some(range) if range.start <= self.position => {
                let part = room.min(range.end - self.position) as usize;
                self.file.read_at(&mut buffer[..part], self.position)?
            }
            next => {
                let gap = next.map_or(left, |range| range.start - self.position);
                let part = room.min(gap) as usize;
                buffer[..part].fill(0);
                part
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// `None` when the headers are not those of a 64-bit program or library, or are damaged.
pub(super) fn needed<'data>(data: impl ReadRef<'data>, size: u64) -> Option<Vec<Range<u64>>> {
    let sections = Sections::read(data)?;
    let (header, endian, table) = (sections.header, sections.endian, sections.table);
    let is_go = table.iter().any(|section| sections.name(section).ends_with(b".gopclntab"));

    let span = |start: u64, length: u64| start.min(size)..start.saturating_add(length).min(size);
    let mut kept = vec![span(0, EDGE_BYTES), size.saturating_sub(EDGE_BYTES)..size];
    let entries = |count: usize, bytes: usize| (count as u64).saturating_mul(bytes as u64);
    let headers = header.program_headers(endian, data).ok()?;
    kept.push(span(header.e_phoff(endian), entries(headers.len(), size_of_val(headers.first()?))));
    kept.push(span(header.e_shoff(endian), entries(table.len(), size_of_val(table.first()?))));
    for segment in headers {
        if segment.p_type(endian) == elf::PT_NOTE {
            kept.push(span(segment.p_offset(endian), segment.p_filesz(endian)));
        }
    }
    for section in table {
        let flags = section.sh_flags(endian);
        let is_loaded = flags.contains(elf::SHF_ALLOC);
        let is_code = flags.contains(elf::SHF_EXECINSTR);
        let is_contents = section.sh_type(endian) == elf::SHT_PROGBITS && is_loaded;
        let name = sections.name(section);
        let is_stub = name.starts_with(b".plt") || name == b".iplt";
        if section.sh_type(endian) != elf::SHT_NOBITS
            && (!is_contents || is_stub || (is_go && !is_code))
        {
            kept.push(span(section.sh_offset(endian), section.sh_size(endian)));
        }
    }
    Some(merge(kept))
}

/// Ascending, without overlaps.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
