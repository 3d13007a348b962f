use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use fleetprof_proto::ids::{BuildId, BuildIdKind};
use proptest::prelude::*;

use super::{FileType, IdentityError, ObjectIdentity, identify, identify_bytes, identify_path};

/// A linked ELF64 file of a header, one segment of notes and the notes.
fn with_notes(notes: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend_from_slice(&[3, 0, 62, 0, 1, 0, 0, 0]); // ET_DYN, x86-64, version 1
    file.extend_from_slice(&0u64.to_le_bytes()); // entry
    file.extend_from_slice(&64u64.to_le_bytes()); // program headers
    file.extend_from_slice(&0u64.to_le_bytes()); // no sections
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&[64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&[4, 0, 0, 0, 4, 0, 0, 0]); // PT_NOTE, readable
    let size = notes.len() as u64;
    for word in [120, 0, 0, size, size, 4] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(notes);
    file
}

fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for size in [owner.len() + 1, desc.len()] {
        note.extend_from_slice(&u32::try_from(size).expect("small").to_le_bytes());
    }
    note.extend_from_slice(&kind.to_le_bytes());
    for bytes in [[owner, &[0]].concat(), desc.to_vec()] {
        note.extend_from_slice(&bytes);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

fn id(kind: BuildIdKind, value: &[u8]) -> BuildId {
    BuildId::new(kind, value).expect("a build ID")
}

fn identity(bytes: &[u8]) -> ObjectIdentity {
    identify_bytes(bytes).expect("an ELF file")
}

#[test]
fn build_ids_come_from_the_notes() {
    let gnu = note(b"GNU", 3, &[7; 20]);
    let go = note(b"Go", 4, b"abc/def/ghi");
    let both = identity(&with_notes(&[note(b"GNU", 1, b"abi tag."), go.clone(), gnu].concat()));
    assert_eq!(both.gnu_build_id, Some(id(BuildIdKind::Gnu, &[7; 20])));
    assert_eq!(both.go_build_id, Some(id(BuildIdKind::Go, b"abc/def/ghi")));
    assert_eq!(both.build_id(), &id(BuildIdKind::Gnu, &[7; 20]));
    assert_eq!((both.file_type, both.machine, both.little_endian), (FileType::Shared, 62, true));
    assert_eq!(identity(&with_notes(&go)).build_id().kind(), BuildIdKind::Go);
    assert_eq!(identity(&with_notes(&[])).build_id().kind(), BuildIdKind::Htl);
}

#[test]
fn a_claimed_build_id_must_be_the_files_own() {
    let file = identity(&with_notes(&note(b"GNU", 3, &[7; 20])));
    assert!(file.is(&id(BuildIdKind::Gnu, &[7; 20])));
    assert!(file.is(&file.htlhash.clone()));
    assert!(!file.is(&id(BuildIdKind::Gnu, &[8; 20])));
    assert!(!file.is(&id(BuildIdKind::Htl, &[7; 20])));
    assert!(!file.is(&id(BuildIdKind::Go, &[7; 20])));
}

/// Check with this test program and `readelf`.
#[test]
fn a_real_program_is_identified() {
    let path = std::env::current_exe().expect("known");
    let file = identify_path(&path).expect("an ELF file");
    let notes = Command::new("readelf").arg("-n").arg(&path).output().expect("readelf runs").stdout;
    let notes = String::from_utf8_lossy(&notes).into_owned();
    let listed = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    assert_eq!(file.gnu_build_id.as_ref().map(ToString::to_string).as_deref(), listed);
    assert!(file.contents.symtab && file.contents.dynsym && file.contents.debug_info);
    assert!(!file.contents.debug_link && !file.contents.mini_debug_info);
    let bytes = fs::read(&path).expect("readable");
    assert_eq!(identity(&bytes), file);
    assert_eq!(identify(&File::open(&path).expect("readable")).expect("an ELF file"), file);
}

#[test]
fn a_debug_file_has_the_build_id_of_its_program() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (whole, debug, stripped) =
        (std::env::current_exe().expect("known"), dir.path().join("d"), dir.path().join("s"));
    for (flag, target) in [("--only-keep-debug", &debug), ("--strip-all", &stripped)] {
        let args = [Path::new(flag), &whole, target];
        assert!(Command::new("objcopy").args(args).status().expect("objcopy runs").success());
    }
    let [whole, debug, stripped] =
        [whole, debug, stripped].map(|path: PathBuf| identify_path(&path).expect("an ELF file"));
    assert!(whole.gnu_build_id.is_some());
    assert_eq!(debug.gnu_build_id, whole.gnu_build_id);
    assert_eq!(stripped.gnu_build_id, whole.gnu_build_id);
    assert!(debug.contents.debug_info && !debug.contents.dynsym);
    assert!(stripped.contents.dynsym && !stripped.contents.debug_info && !stripped.contents.symtab);
}

/// Check with a file that dwz gave a companion, and that a link which is cut short or too long to be one
/// names nothing.
#[test]
fn the_file_that_debug_information_is_shared_with_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = |tool: &str, args: &[&str]| {
        let status = Command::new(tool).args(args).current_dir(dir.path()).status();
        assert!(status.expect("installed").success(), "{tool} {args:?}");
    };
    let source = "struct s { int a, b, c; }; int f(struct s *s) { return s->a + s->b; }\n\
                  int main(void) { struct s s = {1, 2, 3}; return f(&s); }\n";
    fs::write(dir.path().join("a.c"), source).expect("written");
    for name in ["a", "b"] {
        run("gcc", &["-g", "-O1", "-Wl,--build-id", "a.c", "-o", name]);
    }
    run("dwz", &["-m", "shared", "a", "b"]);
    let of = |name: &str| identify_path(&dir.path().join(name)).expect("an ELF file");
    let shared = of("shared");
    assert!(shared.gnu_build_id.is_some() && !shared.contents.code);
    assert!(shared.contents.debug_info && shared.contents.debug_strings);
    assert_eq!(shared.shared_debug, None);
    assert_eq!(of("a").shared_debug, shared.gnu_build_id);
    for (link, named) in [
        (b"name\0id".to_vec(), Some(id(BuildIdKind::Gnu, b"id"))),
        (b"name\0".to_vec(), None),
        (b"name".to_vec(), None),
        ([b"name\0".to_vec(), vec![1; 9000]].concat(), None),
    ] {
        fs::write(dir.path().join("link"), link).expect("written");
        run("objcopy", &["--update-section", ".gnu_debugaltlink=link", "a", "c"]);
        assert_eq!(of("c").shared_debug, named);
    }
}

#[test]
fn split_units_are_seen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = |tool: &str, args: &[&str]| {
        let status = Command::new(tool).args(args).current_dir(dir.path()).status();
        assert!(status.expect("installed").success(), "{tool} {args:?}");
    };
    fs::write(dir.path().join("a.c"), "int main(void) { return 0; }\n").expect("written");
    run("gcc", &["-g", "-gdwarf-4", "-gsplit-dwarf", "a.c", "-o", "a"]);
    run("dwp", &["-e", "a"]);
    let of = |name: &str| identify_path(&dir.path().join(name)).expect("an ELF file").contents;
    let (package, program) = (of("a.dwp"), of("a"));
    assert!(package.split_units && !package.code && !package.debug_info);
    assert!(!program.split_units && program.code && program.debug_info);
}

#[test]
fn what_is_no_elf_file_is_said_so() {
    assert!(matches!(identify_bytes(b""), Err(IdentityError::NotElf)));
    assert!(matches!(identify_bytes(b"#!/bin/sh"), Err(IdentityError::NotElf)));
    assert!(matches!(identify_bytes(b"\x7fELF\x02\x01"), Err(IdentityError::Damaged(_))));
    assert!(matches!(identify_bytes(b"\x7fELF\x09\x01\x01"), Err(IdentityError::Damaged(_))));
    assert!(matches!(identify_path(Path::new("/")), Err(IdentityError::NotAFile)));
    assert!(matches!(identify_path(Path::new("/dev/null")), Err(IdentityError::NotAFile)));
    assert!(matches!(identify_path(Path::new("/nonexistent")), Err(IdentityError::Io(_))));
}

#[test]
fn tables_larger_than_any_real_files_are_refused() {
    let mut file = with_notes(&[]);
    file[40..48].copy_from_slice(&64u64.to_le_bytes());
    file[60..62].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(matches!(identify_bytes(&file), Err(IdentityError::Limit("too many sections"))));
    let mut file = with_notes(&[]);
    file[56..58].copy_from_slice(&0xfffeu16.to_le_bytes());
    assert!(matches!(identify_bytes(&file), Err(IdentityError::Limit("too many program headers"))));
}

proptest! {
    #[test]
    fn damage_is_survived(damage in prop::collection::vec((0usize..200, any::<u8>()), 0..20)) {
        let mut file = with_notes(&note(b"GNU", 3, &[7; 20]));
        for (place, value) in damage {
            let place = place % file.len();
            file[place] = value;
        }
        let _ = identify_bytes(&file);
    }

    #[test]
    fn any_notes_are_survived(notes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(identify_bytes(&with_notes(&notes)).is_ok());
    }
}
