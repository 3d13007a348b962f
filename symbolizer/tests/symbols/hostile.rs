//! Check that no file, however broken, takes the process down, and that it gets a reason.

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use fleetprof_proto::symbol::{Reason, Symbol};
use fleetprof_symbolizer::{DebugLinks, ObjectSource, Options, Symbolizer, identity};
use object::{Object, ObjectSection};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn symbolize(path: &Path, offsets: &[u64]) -> Vec<Symbol> {
    let source = ObjectSource::Elf { path: path.to_owned() };
    Symbolizer::new(Options::default()).symbolize(&source, offsets)
}

fn reason(path: &Path) -> Reason {
    match symbolize(path, &[0x1000]).pop() {
        Some(Symbol::Unknown(reason)) => reason,
        other => panic!("expected a reason, not {other:?}"),
    }
}

/// A small program with debug information, and offsets in its code.
fn small() -> &'static (Vec<u8>, Vec<u64>) {
    static SMALL: OnceLock<(Vec<u8>, Vec<u64>)> = OnceLock::new();
    SMALL.get_or_init(|| {
        let dir = dir();
        let object = dir.path().join("small");
        support::compile("nested.c", &object, &["-O2", "-g"]);
        let offsets = support::code(&object, 16).into_iter().map(|(_, offset)| offset).collect();
        (fs::read(&object).expect("readable"), offsets)
    })
}

#[test]
fn what_is_no_object_gets_a_reason() {
    let dir = dir();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("empty"), b"").expect("written");
    fs::write(path("text"), b"#!/bin/sh\n").expect("written");
    fs::write(path("magic"), b"\x7fELF").expect("written");
    fs::write(path("header"), [b"\x7fELF\x02\x01\x01".as_slice(), &[0xff; 57]].concat())
        .expect("written");
    symlink("loop", path("loop")).expect("linked");
    for name in ["empty", "text", "magic", "header", "loop"] {
        assert_eq!(reason(&path(name)), Reason::BadObject, "{name}");
    }
    assert_eq!(reason(dir.path()), Reason::BadObject);
    assert_eq!(reason(&path("missing")), Reason::NoObject);
    assert_eq!(reason(Path::new("/dev/zero")), Reason::BadObject);
    let kallsyms = ObjectSource::Kallsyms { path: path("text") };
    let symbols = Symbolizer::new(Options::default()).symbolize(&kallsyms, &[1]);
    assert_eq!(symbols, [Symbol::Unknown(Reason::NoSymbols)]);
}

/// Check that nobody waits for a writer that never comes.
#[test]
fn a_pipe_is_refused_at_once() {
    let dir = dir();
    let pipe = dir.path().join("pipe");
    support::run("mkfifo", [&pipe]);
    assert_eq!(reason(&pipe), Reason::BadObject);
    assert!(identity::identify_path(&pipe).is_err());
    let source = ObjectSource::Kallsyms { path: pipe };
    let symbols = Symbolizer::new(Options::default()).symbolize(&source, &[1]);
    assert_eq!(symbols, [Symbol::Unknown(Reason::BadObject)]);
}

/// Check with a file cut down to its code: no section, no symbol.
#[test]
fn a_file_without_sections_has_no_symbols() {
    let dir = dir();
    let object = dir.path().join("object");
    let mut bytes = small().0.clone();
    bytes[40..48].fill(0); // e_shoff
    bytes[60..64].fill(0); // e_shnum, e_shstrndx
    fs::write(&object, bytes).expect("written");
    assert_eq!(reason(&object), Reason::NoSymbols);
}

#[test]
fn offsets_outside_the_code_are_not_covered() {
    let dir = dir();
    let object = dir.path().join("object");
    fs::write(&object, &small().0).expect("written");
    for symbol in symbolize(&object, &[u64::MAX, u64::MAX - 1, 1 << 40, 0]) {
        assert_eq!(symbol, Symbol::Unknown(Reason::NotCovered));
    }
    assert!(symbolize(&object, &[]).is_empty());
}

#[test]
fn any_truncation_is_survived() {
    let dir = dir();
    let (bytes, offsets) = small();
    let object = dir.path().join("object");
    for part in 0..64 {
        fs::write(&object, &bytes[..bytes.len() * part / 64]).expect("written");
        assert_eq!(symbolize(&object, offsets).len(), offsets.len());
    }
}

#[test]
fn section_headers_may_lie() {
    let dir = dir();
    let (bytes, offsets) = small();
    let at =
        |range: std::ops::Range<usize>| u64::from_le_bytes(bytes[range].try_into().expect("8"));
    let headers = usize::try_from(at(40..48)).expect("small");
    let count = usize::from(u16::from_le_bytes([bytes[60], bytes[61]]));
    let lies = [u64::MAX, u64::MAX / 2, 1 << 40, bytes.len() as u64 + 1, 7];
    for section in 0..count {
        for field in [8, 16, 24, 32, 40, 56] {
            let lie = lies[(section + field) % lies.len()];
            let mut lying = bytes.clone();
            let at = headers + section * 64 + field;
            lying[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            let object = dir.path().join("object");
            fs::write(&object, &lying).expect("written");
            assert_eq!(symbolize(&object, &offsets[..4]).len(), 4);
        }
    }
}

#[test]
fn a_name_of_a_megabyte_is_cut() {
    let dir = dir();
    let (source, object) = (dir.path().join("huge.s"), dir.path().join("huge.so"));
    let name = "a".repeat(1 << 20);
    let code = format!(
        ".globl {name}\n.type {name}, @function\n{name}: nop\nret\n.size {name}, .-{name}\n"
    );
    fs::write(&source, code).expect("written");
    support::run(
        "gcc",
        [
            source.as_os_str(),
            "-shared".as_ref(),
            "-nostdlib".as_ref(),
            "-o".as_ref(),
            object.as_os_str(),
        ],
    );
    let (_, offset) = support::code(&object, 1)[0];
    let symbols = symbolize(&object, &[offset]);
    let Some(Symbol::Named(lines)) = symbols.first() else { panic!("{symbols:?}") };
    assert_eq!(lines[0].name.len(), 16 * 1024);
}

/// Check that an object cannot make the symbolizer open a file that it names.
#[test]
fn links_of_untrusted_objects_are_not_followed() {
    let dir = dir();
    let (object, elsewhere) = (dir.path().join("object"), dir.path().join("elsewhere.debug"));
    fs::write(&object, &small().0).expect("written");
    support::run("objcopy", [Path::new("--only-keep-debug"), &object, &elsewhere]);
    let stripped = dir.path().join("stripped");
    support::run("objcopy", [Path::new("--strip-all"), &object, &stripped]);
    let link = format!("--add-gnu-debuglink={}", elsewhere.display());
    support::run("objcopy", [Path::new(&link), &stripped]);
    let offsets = &small().1[4..5];
    let follow = |debug_links| {
        let options = Options { debug_links, ..Options::default() };
        let source = ObjectSource::Elf { path: stripped.clone() };
        Symbolizer::new(options).symbolize(&source, offsets).remove(0)
    };
    assert!(matches!(follow(DebugLinks::Follow(Vec::new())), Symbol::Named(_)));
    assert_eq!(follow(DebugLinks::Ignore), Symbol::Unknown(Reason::NotCovered));
    // With debug information of its own, which is used although its link leads to a pipe.
    let both = dir.path().join("both");
    support::run("objcopy", [Path::new(&link), &object, &both]);
    fs::remove_file(&elsewhere).expect("removed");
    support::run("mkfifo", [&elsewhere]);
    let expected = symbolize(&object, offsets);
    assert!(matches!(&expected[0], Symbol::Named(lines) if lines[0].line > 0));
    assert_eq!(symbolize(&both, offsets), expected);
}

/// Check that symbol tables still answer where the debug information is broken.
#[test]
fn broken_debug_information_costs_lines_only() {
    let dir = dir();
    let object = dir.path().join("object");
    let (bytes, offsets) = small();
    fs::write(&object, bytes).expect("written");
    let whole = symbolize(&object, offsets);
    let elf = object::File::parse(bytes.as_slice()).expect("an object");
    let file = fs::File::options().write(true).open(&object).expect("writable");
    for name in [".debug_info", ".debug_abbrev", ".debug_line"] {
        let (start, size) = elf.section_by_name(name).and_then(|s| s.file_range()).expect("there");
        file.write_all_at(&vec![0xa5; usize::try_from(size).expect("small")], start)
            .expect("written");
    }
    let outer = |symbol: &Symbol| match symbol {
        Symbol::Named(lines) => lines.last().map(|line| line.system_name.clone()),
        Symbol::Unknown(_) => None,
    };
    let broken = symbolize(&object, offsets);
    assert_eq!(
        broken.iter().map(outer).collect::<Vec<_>>(),
        whole.iter().map(outer).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_damage_is_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        region in 0usize..4,
    ) {
        let (bytes, offsets) = small();
        let mut bytes = bytes.clone();
        // Everywhere, the headers, the section headers, the debug information.
        let range = match region {
            0 => 0..bytes.len(),
            1 => 0..1024,
            2 => bytes.len() - 4096..bytes.len(),
            _ => bytes.len() / 2..bytes.len(),
        };
        for (place, value) in damage {
            let place = range.start + place.index(range.len());
            bytes[place] = value;
        }
        let _ = identity::identify_bytes(&bytes);
        let dir = dir();
        let object: PathBuf = dir.path().join("object");
        fs::write(&object, &bytes).expect("written");
        prop_assert_eq!(symbolize(&object, offsets).len(), offsets.len());
    }
}
