//! Check each kind of source by itself.

use std::{fs, io::Write};

use fleetprof_symtab::{
    Builder, ConvertError, Inputs, Limits, Line, Miss, Source, SourceSet, Table, convert,
};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

use crate::support::{self, address_of, at, converted, directory, names, open, program, run};

/// Check that file offsets lead where program headers say.
#[test]
fn file_offsets_are_addresses_by_segment() {
    let directory = directory();
    for options in [&["-O1", "-g"][..], &["-O1", "-g", "-no-pie", "-Wl,-Ttext-segment=0x7000000"]] {
        let bytes = fs::read(program(directory.path(), "offsets", options)).expect("readable");
        let made = converted(&bytes);
        let table = open(&made);
        let file = object::File::parse(&*bytes).expect("an object file");
        let text = file.section_by_name(".text").expect(".text");
        let (mut by_offset, mut by_address) = (Vec::new(), Vec::new());
        let mut found = 0;
        for address in (text.address()..text.address() + text.size()).step_by(3) {
            let inside = |s: &object::Segment<'_, '_>| address.wrapping_sub(s.address()) < s.size();
            let segment = file.segments().find(inside).expect("mapped");
            let offset = address - segment.address() + segment.file_range().0;
            let a = table.frames_at_offset(offset, &mut by_offset);
            let b = table.frames_at_address(address, &mut by_address);
            assert_eq!((a, &by_offset), (b, &by_address), "{address:#x}");
            found += usize::from(a.is_ok());
        }
        assert!(found > 1000, "{found}");
        assert_eq!(table.frames_at_offset(1 << 40, &mut by_offset), Err(Miss::NotMapped));
        assert_eq!(table.frames_at_address(1 << 60, &mut by_address), Err(Miss::NotCovered));
        assert_eq!(table.frames_at_address(0, &mut by_address), Err(Miss::NotCovered));
    }
}

/// Check linkage stubs beside objdump's names for them.
#[test]
fn linkage_stubs_have_the_names_that_objdump_gives_them() {
    let directory = directory();
    for (name, options) in [
        ("lazy", &["-O1", "-Wl,-z,lazy"][..]),
        ("now", &["-O1", "-Wl,-z,now"]),
        ("cet", &["-O1", "-Wl,-z,lazy", "-fcf-protection=full", "-Wl,-z,ibtplt"]),
        ("fixed", &["-O1", "-no-pie", "-Wl,-z,lazy"]),
    ] {
        let path = program(directory.path(), name, options);
        run("strip", [&path]);
        let made = converted(&fs::read(&path).expect("readable"));
        let table = open(&made);
        assert!(table.sources().has(SourceSet::PLT));
        let listing = run("objdump", ["-d".as_ref(), path.as_os_str()]);
        let mut stubs = 0;
        for line in listing.lines() {
            let Some((address, label)) = line.split_once(" <") else { continue };
            let Some(stub) = label.strip_suffix(">:").filter(|label| label.ends_with("@plt"))
            else {
                continue;
            };
            let address = u64::from_str_radix(address, 16).expect("an address");
            for inside in [0, 1, 5] {
                // The symbol of `__cxa_finalize@plt` has no version here.
                assert_eq!(names(&table, address + inside), [stub], "{name} {address:#x}");
            }
            stubs += 1;
        }
        assert!(stubs >= 5, "{name}: {stubs} stubs\n{listing}");
    }
}

/// Check a stripped binary with symbols packed into it, as Fedora ships them.
#[test]
fn packed_symbols_name_a_stripped_binary() {
    let directory = directory();
    let path = program(directory.path(), "packed", &["-O1"]);
    let whole = fs::read(&path).expect("readable");
    let symbols = directory.path().join("symbols");
    let (keep, from, to) = ("--only-keep-debug", path.as_os_str(), symbols.as_os_str());
    run("objcopy", [keep.as_ref(), from, to]);
    let mut packer = xz2::write::XzEncoder::new(Vec::new(), 6);
    packer.write_all(&fs::read(&symbols).expect("readable")).expect("packed");
    let packed = directory.path().join("symbols.xz");
    fs::write(&packed, packer.finish().expect("packed")).expect("written");
    let section = format!("--add-section=.gnu_debugdata={}", packed.display());
    run("objcopy", ["--strip-all".as_ref(), section.as_ref(), path.as_os_str()]);
    let made = converted(&fs::read(&path).expect("readable"));
    let table = open(&made);
    assert!(table.sources().has(SourceSet::MINI_DEBUG_INFO));
    assert!(!table.sources().has(SourceSet::SYMTAB));
    for name in ["main", "table_add", "walk_7"] {
        assert_eq!(names(&table, address_of(&whole, name) + 3), [name]);
    }
}

/// Check that a file that was stripped of everything says so, and is no error.
#[test]
fn nothing_is_known_of_a_file_without_symbols() {
    let directory = directory();
    let text = ".text\n.globl f\nf: nop\n ret\n";
    let bytes = support::assembled(directory.path(), text);
    let address = address_of(&bytes, "f");
    let path = directory.path().join("made");
    run("strip", [&path]);
    let made = converted(&fs::read(path).expect("readable"));
    let table = open(&made);
    assert_eq!(at(&table, address), Err(Miss::NoSymbols));
    assert_eq!(table.sources(), SourceSet::default());
}

#[test]
fn the_build_id_and_the_processor_are_kept() {
    let directory = directory();
    let options = ["-O1", "-g", "-Wl,--build-id=0x0123456789abcdef"];
    let bytes = fs::read(program(directory.path(), "named", &options)).expect("readable");
    let made = converted(&bytes);
    let table = open(&made);
    assert_eq!(table.build_id(), [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert_eq!(table.machine(), 62);
    assert!(table.sources().has(SourceSet::DWARF) && table.sources().has(SourceSet::SYMTAB));
    assert!(!table.sources().has(SourceSet::INCOMPLETE));
}

#[test]
fn files_of_different_builds_are_refused() {
    let directory = directory();
    let build = |name, id| {
        let option = format!("-Wl,--build-id={id}");
        fs::read(program(directory.path(), name, &["-O1", "-g", &option])).expect("readable")
    };
    let (one, other) = (build("one", "0x01"), build("other", "0x02"));
    let inputs = Inputs { binary: Some(&one), debug: Some(&other), ..Inputs::default() };
    let refused = convert(inputs, Limits::default()).map(|_| ());
    assert!(matches!(refused, Err(ConvertError::Mismatch { .. })), "{refused:?}");
}

#[test]
fn missing_split_units_are_counted_and_leave_lines() {
    let directory = directory();
    let path = program(directory.path(), "split", &["-O1", "-g", "-gsplit-dwarf"]);
    let bytes = fs::read(path).expect("readable");
    let made = converted(&bytes);
    assert_eq!(made.report.missing_units, 2);
    let table = open(&made);
    assert!(table.sources().has(SourceSet::INCOMPLETE));
    let words = at(&table, address_of(&bytes, "table_drop")).expect("known");
    assert_eq!(words[0].function, "table_drop");
    assert!(words[0].file.ends_with("table.c") && (50..60).contains(&words[0].line), "{words:?}");
}

/// Check that the same files make the same bytes, so that a table can be named by its contents.
#[test]
fn a_conversion_can_be_repeated() {
    let directory = directory();
    let bytes = fs::read(program(directory.path(), "twice", &["-O2", "-g"])).expect("readable");
    assert!(converted(&bytes).table == converted(&bytes).table);
}

/// A source as a language's own tables would be.
struct Language {
    start: u64,
}

impl Source for Language {
    fn add(&mut self, builder: &mut Builder) -> Result<(), ConvertError> {
        let file = Some(builder.file(b"/src/lib.go")?);
        let outer = builder.function(b"main.main")?;
        let outer = builder.outermost(Some(outer))?;
        let inner = builder.function(b"main.helper")?;
        let inner = builder.inlined(outer, Some(inner), Line { file, line: 7 })?;
        builder.row(self.start, self.start + 2, Some(outer), Line { file, line: 6 })?;
        builder.row(self.start + 2, self.start + 3, Some(inner), Line { file, line: 20 })?;
        builder.end_run();
        Ok(())
    }
}

#[test]
fn other_sources_can_be_added() {
    let directory = directory();
    let text = ".text\n.globl f\n.type f, @function\nf: nop\n nop\n nop\n ret\n.size f, .-f\n";
    let bytes = support::assembled(directory.path(), text);
    let start = address_of(&bytes, "f");
    let mut language = Language { start };
    let inputs = Inputs { binary: Some(&bytes), others: vec![&mut language], ..Inputs::default() };
    let made = convert(inputs, Limits::default()).expect("converted");
    let table: Table<&[u8]> = open(&made);
    assert!(table.sources().has(SourceSet::OTHER));
    assert_eq!(names(&table, start + 1), ["main.main"]);
    let words = at(&table, start + 2).expect("known");
    let lines: Vec<_> =
        words.iter().map(|w| (w.function.as_str(), w.file.as_str(), w.line)).collect();
    assert_eq!(lines, [("main.helper", "/src/lib.go", 20), ("main.main", "/src/lib.go", 7)]);
    // The rest is the symbol's.
    assert_eq!(names(&table, start + 3), ["f"]);
}

/// Check that every function of a symbol table is found by its first and by its last byte.
#[test]
fn symbols_are_found_to_the_byte() {
    let directory = directory();
    let bytes = fs::read(program(directory.path(), "symbols", &["-O2"])).expect("readable");
    let made = converted(&bytes);
    let table = open(&made);
    let file = object::File::parse(&*bytes).expect("an object file");
    let mut functions = 0;
    for symbol in file.symbols().filter(|s| s.kind() == object::SymbolKind::Text && s.size() > 0) {
        let name = symbol.name().expect("text");
        for address in [symbol.address(), symbol.address() + symbol.size() - 1] {
            assert_eq!(names(&table, address), [name], "{address:#x}");
        }
        functions += 1;
    }
    assert!(functions > 20, "{functions}");
}
