//! Check that conversions in processes of their own make the same tables, and that objects which cost
//! such a process lose their own names only.

use std::{ffi::OsStr, fs, path::PathBuf, time::Duration};

use fleetprof_proto::symbol::Symbol;
use fleetprof_symbolizer::{
    Conversion, ConversionError, Converter, LeftOut, Refusal, SourceSet, TableFile, TableFileError,
    WorkerCommand,
};
use tempfile::TempDir;

use crate::support;

const MEMORY: u64 = 1 << 30;

fn worker() -> WorkerCommand {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fleetprof-symbolize-worker"));
    WorkerCommand { program, args: Vec::new() }
}

fn script(script: &str) -> Converter {
    let args = ["-c", script].map(Into::into).to_vec();
    Converter::isolated(WorkerCommand { program: "/bin/sh".into(), args }, MEMORY)
}

fn program(flags: &[&str]) -> (TempDir, Conversion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("program");
    support::compile("nested.c", &path, flags);
    let conversion = support::conversion(&path);
    (dir, conversion)
}

#[test]
fn a_process_makes_the_same_table() {
    let (_dir, conversion) = program(&["-O2", "-g"]);
    let here = Converter::in_process().convert(&conversion).expect("converted");
    let expected = fs::read(&conversion.table).expect("written");
    fs::remove_file(&conversion.table).expect("removed");
    let there = Converter::isolated(worker(), MEMORY).convert(&conversion).expect("converted");
    assert_eq!(there, here);
    assert_eq!(fs::read(&conversion.table).expect("written"), expected);
    assert!(there.report.sources.has(SourceSet::DWARF), "{there:?}");
    assert_eq!((there.report.table_bytes, there.left_out), (expected.len() as u64, None));
}

/// A library with one function, whose debug information is 256 MiB of zeros.
fn bomb() -> (TempDir, Conversion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, path) = (dir.path().join("bomb.s"), dir.path().join("bomb"));
    let text = ".text\n.globl f\n.type f, @function\nf: nop\nret\n.size f, . - f\n\
                .section .debug_info, \"\", @progbits\n.zero 0x10000000\n";
    fs::write(&source, text).expect("written");
    let flags = ["-shared", "-nostdlib", "-gz=zlib", "-o"].map(OsStr::new);
    support::run("gcc", flags.into_iter().chain([path.as_os_str(), source.as_os_str()]));
    (dir, support::conversion(&path))
}

/// Check with more than may be unpacked, and with more than the process has memory for.
#[test]
fn debug_information_that_is_too_much_leaves_the_symbols() {
    let (_dir, conversion) = bomb();
    assert!(fs::metadata(&conversion.object).expect("there").len() < 1 << 20);
    let few = Conversion { max_unpacked_bytes: 1 << 20, ..conversion.clone() };
    let tight = Converter::isolated(worker(), 128 << 20);
    for (converter, conversion, why) in [
        (Converter::isolated(worker(), MEMORY), few, "more unpacked bytes than the limit"),
        (tight, conversion, "not enough memory to unpack a section"),
    ] {
        let made = converter.convert(&conversion).expect("converted");
        let (what, said) = made.left_out.expect("something is missing");
        assert_eq!(what, LeftOut::DebugInfo);
        assert!(said.contains(why), "{said}");
        let sources = made.report.sources;
        assert!(
            sources.has(SourceSet::SYMTAB) && sources.has(SourceSet::INCOMPLETE),
            "{sources:?}"
        );
        let table = TableFile::open(&conversion.table).expect("a table");
        let (_, offset) = support::code(&conversion.object, 1)[0];
        let symbols = table.symbolize(&[offset]);
        let [Symbol::Named(lines)] = symbols.as_slice() else { panic!("{symbols:?}") };
        assert_eq!((&*lines[0].name, lines[0].line), ("f", 0));
    }
}

/// Check that a package and a shared file reach the process, that their names come back, and that what
/// is no such file costs the object nothing but what it would have said.
#[test]
fn companions_add_names_and_take_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let in_dir = |name: &str| dir.path().join(name);
    let object = in_dir("program");
    support::compile("nested.c", &object, &["-O2", "-g", "-gdwarf-4", "-gsplit-dwarf"]);
    support::run(
        "dwp",
        ["-e".as_ref(), object.as_os_str(), "-o".as_ref(), in_dir("p.dwp").as_os_str()],
    );
    fs::write(in_dir("text"), "no ELF file").expect("written");
    let converter = Converter::isolated(worker(), MEMORY);
    let alone = support::conversion(&object);
    let sources = |conversion: &Conversion| {
        let made = converter.convert(conversion).expect("converted");
        (made.report.sources, made.left_out)
    };
    let (without, left_out) = sources(&alone);
    assert!(without.has(SourceSet::INCOMPLETE) && !without.has(SourceSet::SPLIT_DWARF));
    assert_eq!(left_out, None);
    let (with, left_out) = sources(&Conversion { package: Some(in_dir("p.dwp")), ..alone.clone() });
    assert!(with.has(SourceSet::SPLIT_DWARF) && !with.has(SourceSet::INCOMPLETE), "{with:?}");
    assert_eq!(left_out, None);
    let wrong = Conversion { package: Some(in_dir("text")), ..alone.clone() };
    let (wrong, left_out) = sources(&wrong);
    let Some((LeftOut::Companions, why)) = left_out else { panic!("{left_out:?}") };
    assert!(why.contains("package of split units") && wrong == without, "{why}");
}

#[test]
fn what_is_no_program_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let object = dir.path().join("text");
    fs::write(&object, "not a program at all").expect("written");
    let refused = Converter::isolated(worker(), MEMORY).convert(&support::conversion(&object));
    let Err(ConversionError::Refused(Refusal::BadObject(why))) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("not an ELF file"), "{why}");
    let error = TableFile::open(&object).expect_err("no table");
    assert!(matches!(error, TableFileError::Table(_)), "{error}");
}

/// Check each way in which a process can fail for good.
#[test]
fn processes_that_fail_are_lost() {
    let (_dir, conversion) = program(&["-O2"]);
    for (name, failing) in [
        ("dies", "exit 3"),
        ("is killed", "kill -9 $$"),
        ("talks nonsense", "exec cat /dev/zero"),
        ("says nothing of a table", "printf '\\0\\0\\0\\0'; exec sleep 1000"),
    ] {
        let lost = script(failing).convert(&conversion);
        assert!(matches!(lost, Err(ConversionError::Lost(_))), "{name}: {lost:?}");
    }
}

/// Check that what has nothing to do with the object is not held against it.
#[test]
fn what_the_object_is_not_to_blame_for_is_tried_again() {
    let (dir, conversion) = program(&["-O2"]);
    let nowhere = Conversion { table: dir.path().join("no/table"), ..conversion.clone() };
    let gone = Conversion { object: dir.path().join("gone"), ..conversion.clone() };
    let absent = WorkerCommand { program: "/nonexistent/worker".into(), args: Vec::new() };
    for (converter, conversion) in [
        (Converter::isolated(worker(), MEMORY), nowhere),
        (Converter::isolated(worker(), MEMORY), gone),
        (Converter::isolated(absent, MEMORY), conversion),
    ] {
        let failed = converter.convert(&conversion);
        assert!(matches!(failed, Err(ConversionError::Unavailable(_))), "{failed:?}");
    }
}

/// Check that the clock stops a conversion that would go on.
#[test]
fn time_is_limited() {
    let (_dir, conversion) = program(&["-O2", "-g"]);
    let late = Conversion { time: Duration::ZERO, ..conversion };
    let refused = Converter::in_process().convert(&late);
    let Err(ConversionError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert!(refusal.to_string().contains("took longer than 0"), "{refusal}");
}
