use std::{
    io::{Cursor, Write as _},
    process::Command,
};

use proptest::prelude::*;

use super::*;

const GNU: (&[u8], u32, &[u8]) = (b"GNU", 3, &[7; 20]);
const GO: (&[u8], u32, &[u8]) = (b"Go", 4, b"action/content");
const ABI: (&[u8], u32, &[u8]) = (b"GNU", 1, b"abi tag.");

/// Where a file of [`elf`] has its only program header.
const SEGMENT_AT: usize = 64;

fn notes(list: &[(&[u8], u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (owner, kind, descriptor) in list {
        let sizes = [owner.len() + 1, descriptor.len()].map(|n| u32::try_from(n).expect("small"));
        for number in [sizes[0], sizes[1], *kind] {
            bytes.extend(number.to_le_bytes());
        }
        for part in [&[owner, &[0][..]].concat(), *descriptor] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// A little-endian ELF64 file: header, one note segment, the notes of that segment, other notes, and
/// for those two section headers, the null one and theirs.
fn elf(in_segment: &[u8], in_section: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let words = |file: &mut Vec<u8>, words: &[u64]| {
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    };
    let (segment_at, section_at) = (120, 120 + in_segment.len() as u64);
    let headers_at = section_at + in_section.len() as u64;
    file.extend([3, 0, 62, 0, 1, 0, 0, 0]); // ET_DYN, x86-64, version 1
    words(&mut file, &[0, SEGMENT_AT as u64, headers_at]);
    file.extend([0; 4]);
    file.extend([64, 0, 56, 0, 1, 0, 64, 0, 2, 0, 0, 0]);
    file.extend([4, 0, 0, 0, 4, 0, 0, 0]); // PT_NOTE, readable
    let size = in_segment.len() as u64;
    words(&mut file, &[segment_at, 0, 0, size, size, 4]);
    file.extend_from_slice(in_segment);
    file.extend_from_slice(in_section);
    file.extend([0; 64]);
    file.extend([0, 0, 0, 0, 7, 0, 0, 0]); // no name, SHT_NOTE
    words(&mut file, &[0, 0, section_at, in_section.len() as u64, 0, 4, 0]);
    file
}

fn mapped(bytes: &[u8]) -> BuildId {
    build_id(Cursor::new(bytes)).expect("an ELF file")
}

fn all_tables(bytes: &[u8]) -> Result<NoteIds, TableError> {
    let header = FileHeader64::<Endianness>::parse(bytes).expect("a header");
    NoteIds::of_all_tables(header, Endianness::Little, bytes)
}

fn id(note: (&[u8], u32, &[u8])) -> BuildId {
    let kind = if note.0 == b"Go" { BuildIdKind::Go } else { BuildIdKind::Gnu };
    BuildId::new(kind, note.2).expect("a build ID")
}

/// Check the order: GNU's, then Go's, then the hash; one that cannot travel does not count.
#[test]
fn the_strongest_build_id_wins() {
    assert_eq!(mapped(&elf(&notes(&[ABI, GO, GNU]), b"")), id(GNU));
    assert_eq!(mapped(&elf(&notes(&[ABI, GO]), b"")), id(GO));
    let too_long = [7; super::super::MAX_BUILD_ID_BYTES + 1];
    for unusable in [&too_long[..], &[]] {
        assert_eq!(mapped(&elf(&notes(&[(b"GNU", 3, unusable), GO]), b"")), id(GO));
    }
    let neither = elf(&notes(&[ABI]), b"");
    assert_eq!(mapped(&neither), htlhash(Cursor::new(&neither)).expect("readable"));
}

/// Check that a mapped file is known by its segments, and any other by its sections: they are what
/// is in order in each.
#[test]
fn tables_that_disagree_are_asked_in_their_order() {
    let other = (&b"GNU"[..], 3, &[8; 20][..]);
    let file = elf(&notes(&[GNU]), &notes(&[other, GO]));
    assert_eq!(mapped(&file), id(GNU));
    let ids = all_tables(&file).expect("in order");
    assert_eq!((ids.gnu, ids.go), (Some(id(other)), Some(id(GO))));
    assert_eq!(mapped(&elf(&notes(&[GO]), &notes(&[other]))), id(other));
}

/// Check that a damaged table hides nothing of the other from a mapped file, and is reported for one
/// that should be in order.
#[test]
fn a_damaged_table_counts_as_empty_or_is_reported() {
    let mut file = elf(&notes(&[GNU]), &notes(&[GO]));
    file[40..48].fill(0xff); // e_shoff
    assert_eq!(mapped(&file), id(GNU));
    assert!(matches!(all_tables(&file), Err(TableError::Damaged(_))));
    let mut file = elf(&notes(&[GO]), &notes(&[GNU]));
    file[56..58].copy_from_slice(&0xfffe_u16.to_le_bytes()); // e_phnum
    assert_eq!(mapped(&file), id(GNU));
    assert_eq!(all_tables(&file), Err(TableError::Limit("too many program headers")));
    let mut file = elf(&notes(&[GO]), &notes(&[GNU]));
    file[60..62].copy_from_slice(&0xfeff_u16.to_le_bytes()); // e_shnum
    assert_eq!(mapped(&file), id(GO));
    assert_eq!(all_tables(&file), Err(TableError::Limit("too many sections")));
}

/// Check that a broken note ends its area only.
#[test]
fn a_damaged_note_hides_only_what_follows_it() {
    let mut bad = notes(&[ABI, GNU]);
    bad[20 + 4..20 + 8].fill(0xff); // size of the second note's owner or descriptor
    let file = elf(&bad, &notes(&[GNU]));
    assert_eq!(mapped(&file), id(GNU));
    assert_eq!(NoteIds::of_notes(&bad), NoteIds::default());
    assert_eq!(NoteIds::of_notes(&notes(&[GO, GNU])).strongest(), Some(id(GNU)));
    assert_eq!(NoteIds::of_notes(b""), NoteIds::default());
}

#[test]
fn what_is_not_elf_is_told_from_damaged_elf_and_from_what_cannot_be_read() {
    for bytes in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF"] {
        assert!(matches!(build_id(Cursor::new(bytes)), Err(BuildIdError::NotElf)), "{bytes:?}");
    }
    let damaged = b"\x7fELF\x02\x01\x01 nothing of this makes sense, but it is still a file";
    assert_eq!(mapped(damaged).kind(), BuildIdKind::Htl);
    assert_eq!(mapped(b"\x7fELF\x09\x01").kind(), BuildIdKind::Htl);
    let directory = std::fs::File::open("/").expect("there");
    assert!(matches!(build_id(directory), Err(BuildIdError::Io(_))));
}

/// Check the definition with `sha256sum`, on both sides of the sizes where the parts overlap.
#[test]
fn the_hash_is_opentelemetrys() {
    for size in [0_usize, 1, 4095, 4096, 4097, 8191, 8192, 8193, 100_000] {
        let file: Vec<u8> = (0..=250).cycle().take(size).collect();
        let part = size.min(4096);
        let hashed = [&file[..part], &file[size - part..], &(size as u64).to_be_bytes()].concat();
        let mut input = tempfile::NamedTempFile::new().expect("a temporary file");
        input.write_all(&hashed).expect("written");
        let sum = Command::new("sha256sum").arg(input.path()).output().expect("sha256sum").stdout;
        let hash = htlhash(Cursor::new(&file)).expect("readable");
        assert_eq!(hash.kind(), BuildIdKind::Htl);
        assert_eq!(hash.to_string().as_bytes(), &sum[..32], "{size}");
    }
}

/// Compiles an empty C program or object and returns it with the build ID that binutils finds.
fn compiled(flags: &[&str]) -> (Vec<u8>, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [source, output] = ["source.c", "output"].map(|name| directory.path().join(name));
    std::fs::write(&source, "int main(void) { return 0; }").expect("written");
    let mut gcc = Command::new("gcc");
    assert!(gcc.arg(&source).arg("-o").arg(&output).args(flags).status().expect("gcc").success());
    let readelf = Command::new("readelf").arg("-nW").arg(&output).output().expect("readelf").stdout;
    let text = String::from_utf8_lossy(&readelf).into_owned();
    let hex = text.split("Build ID: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    (std::fs::read(&output).expect("readable"), hex.expect("it has one").to_owned())
}

/// Check against binutils: a program, the same without its section headers, and a relocatable file,
/// which has no segments.
#[test]
fn gnu_build_ids_are_those_of_readelf() {
    let (mut program, expected) = compiled(&["-Wl,--build-id=sha1"]);
    assert_eq!(
        (mapped(&program).kind(), mapped(&program).to_string()),
        (BuildIdKind::Gnu, expected)
    );
    let ids = all_tables(&program).expect("in order");
    assert_eq!(ids.strongest(), Some(mapped(&program)));
    program[40..48].fill(0); // e_shoff
    program[60..64].fill(0); // e_shnum, e_shstrndx
    assert_eq!(all_tables(&program).expect("in order").gnu, Some(mapped(&program)));

    let (object, expected) = compiled(&["-r", "-nostdlib", "-Wl,--build-id=0x0123456789abcdef"]);
    assert_eq!(expected, "0123456789abcdef");
    assert_eq!(mapped(&object).to_string(), expected);
}

/// Check the notes that the kernel shows of itself.
#[test]
fn the_running_kernel_is_identified() {
    let notes = std::fs::read("/sys/kernel/notes").expect("readable");
    let ids = NoteIds::of_notes(&notes);
    assert_eq!(ids.gnu.map(|id| id.value().len()), Some(20));
    assert_eq!(NoteIds::of_notes(&notes[..8]), NoteIds::default());
}

/// A file that is zero beyond its first bytes, and counts what is read of it.
struct Sparse {
    head: Vec<u8>,
    length: u64,
    at: u64,
    read: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.length.saturating_sub(self.at)).unwrap());
        for byte in &mut buffer[..count] {
            let head = usize::try_from(self.at).ok().and_then(|at| self.head.get(at));
            *byte = head.copied().unwrap_or(0);
            self.at += 1;
        }
        self.read += count as u64;
        Ok(count)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.length.checked_add_signed(by).expect("in the file"),
            SeekFrom::Current(by) => self.at.checked_add_signed(by).expect("in the file"),
        };
        Ok(self.at)
    }
}

fn bytes_read(head: Vec<u8>) -> u64 {
    let mut file = Sparse { head, length: 1 << 40, at: 0, read: 0 };
    build_id(&mut file).expect("ELF");
    file.read
}

/// Check that a file of 1 TiB costs its headers, its notes and its ends, and no more than the limits
/// when its header claims all it can.
#[test]
fn a_huge_file_is_not_read() {
    assert!(bytes_read(elf(&notes(&[ABI]), b"")) < 16 << 10);
    let mut greedy = elf(&notes(&[ABI]), b"");
    for (field, claim) in [(56, MAX_SEGMENTS), (60, MAX_SECTIONS)] {
        greedy[field..field + 2].copy_from_slice(&u16::try_from(claim).unwrap().to_le_bytes());
    }
    greedy[SEGMENT_AT + 32..SEGMENT_AT + 40].copy_from_slice(&(1_u64 << 24).to_le_bytes());
    let tables = (MAX_SEGMENTS * 56 + MAX_SECTIONS * 64) as u64;
    assert!((tables..tables + (16 << 10)).contains(&bytes_read(greedy)));
}

proptest! {
    /// Check that no bytes make the parser panic.
    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..600), magic: bool) {
        if magic && bytes.len() > 7 {
            bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        }
        let _identified = build_id(Cursor::new(&bytes));
        let _notes = NoteIds::of_notes(&bytes);
    }

    /// Check that a file with some bytes changed is survived, and that it always gets an id while its
    /// magic stands.
    #[test]
    fn damaged_files_are_survived(
        changes in prop::collection::vec((4_usize..400, any::<u8>()), 0..6),
        class in 0_u8..4,
    ) {
        let mut bytes = elf(&notes(&[GNU, GO]), &notes(&[GNU, GO]));
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at.max(4)] = value;
        }
        if class != 0 {
            bytes[4] = class;
        }
        let own = build_id(Cursor::new(&bytes));
        prop_assert!(own.is_ok(), "{own:?}");
    }

    /// Check that what the agent calls a file is one of the names that the collector accepts for it.
    #[test]
    fn a_file_without_sections_is_the_same_to_both(
        changes in prop::collection::vec((SEGMENT_AT..200, any::<u8>()), 0..6),
    ) {
        let mut bytes = elf(&notes(&[GNU, GO]), b"");
        bytes[40..48].fill(0); // e_shoff
        bytes[60..64].fill(0); // e_shnum, e_shstrndx
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(ids) = all_tables(&bytes) {
            let strongest = ids.strongest();
            let expected = strongest.map_or_else(|| htlhash(Cursor::new(&bytes)), Ok);
            prop_assert_eq!(mapped(&bytes), expected.expect("readable"));
        }
    }

    /// Check that notes are found wherever they stand among others.
    #[test]
    fn build_ids_are_found_among_other_notes(
        before in prop::collection::vec((1_u32..50, prop::collection::vec(any::<u8>(), 0..40)), 0..10),
        value in prop::collection::vec(any::<u8>(), 1..=super::super::MAX_BUILD_ID_BYTES),
    ) {
        let mut list: Vec<(&[u8], u32, &[u8])> =
            before.iter().map(|(kind, bytes)| (&b"Other"[..], *kind, &bytes[..])).collect();
        list.push((b"GNU", 3, &value));
        list.push(GNU);
        let expected = BuildId::new(BuildIdKind::Gnu, &value).expect("of a good size");
        prop_assert_eq!(mapped(&elf(&notes(&list), b"")), expected.clone());
        prop_assert_eq!(mapped(&elf(b"", &notes(&list))), expected);
    }
}
