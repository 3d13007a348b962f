//! Objects built on the spot, and tables of them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use fleetprof_symtab::{Converted, Inputs, Limits, Miss, Table, convert};
use tempfile::TempDir;

/// A frame in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) function: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Runs a command that must succeed; returns what it printed.
pub(crate) fn run<S: AsRef<OsStr>>(tool: &str, args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(tool);
    command.args(args);
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run {tool}: {error}\ninstall it: apt-get install gcc binutils")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// The C program of `tests/programs`, compiled with these options.
pub(crate) fn program(directory: &Path, name: &str, options: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let target = directory.join(name);
    let sources = ["table.c", "steps.c"].map(|source| sources.join(source));
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.extend(sources.iter().map(|source| source.as_os_str()));
    args.extend([OsStr::new("-o"), target.as_ref()]);
    run("gcc", args);
    target
}

/// A program made from assembly.
pub(crate) fn assembled(directory: &Path, text: &str) -> Vec<u8> {
    let (source, target) = (directory.join("made.s"), directory.join("made"));
    fs::write(&source, text).expect("written");
    let options = ["-nostdlib", "-static", "-Wl,--entry=f", "-Wl,--build-id=none", "-o"];
    let args = options.iter().map(OsStr::new).chain([target.as_ref(), source.as_ref()]);
    run("gcc", args);
    fs::read(target).expect("readable")
}

/// The table of one file.
pub(crate) fn converted(binary: &[u8]) -> Converted {
    let inputs = Inputs { binary: Some(binary), ..Inputs::default() };
    convert(inputs, Limits::default()).expect("converted")
}

pub(crate) fn open(converted: &Converted) -> Table<&[u8]> {
    let table = Table::open(converted.table.as_slice()).expect("a table");
    table.verify().expect("in order");
    table
}

/// What is at an address, innermost first.
pub(crate) fn at(table: &Table<&[u8]>, address: u64) -> Result<Vec<Words>, Miss> {
    let mut frames = Vec::new();
    table.frames_at_address(address, &mut frames)?;
    let words = frames.iter().map(|frame| {
        let (mut function, mut file) = (Vec::new(), Vec::new());
        frame.function.map_or(Ok(()), |name| table.text(name, &mut function)).expect("a name");
        frame.file.map_or(Ok(()), |path| table.path(path, &mut file)).expect("a path");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Words { function: text(function), file: text(file), line: frame.line }
    });
    Ok(words.collect())
}

/// The names of what is at an address, innermost first.
pub(crate) fn names(table: &Table<&[u8]>, address: u64) -> Vec<String> {
    let words = at(table, address).unwrap_or_default();
    words.into_iter().map(|words| words.function).collect()
}

/// The address of a symbol.
pub(crate) fn address_of(bytes: &[u8], name: &str) -> u64 {
    use object::{Object, ObjectSymbol};
    let file = object::File::parse(bytes).expect("an object file");
    let symbol = file.symbol_by_name(name).unwrap_or_else(|| panic!("no symbol {name}"));
    symbol.address()
}
