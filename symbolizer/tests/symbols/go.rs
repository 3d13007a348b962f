//! Check that stripped Go binaries are named as Go's own tools name their twins with symbols, and that
//! their inlined calls are those of the twins' debug information.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use fleetprof_proto::symbol::{Line, Symbol};
use object::{Object, ObjectSection};
use tempfile::TempDir;

use crate::support::{self, Frame};

/// Two files with the same code, one of them without symbols and debug information.
fn twins(dir: &TempDir, flags: &[&str], linker: &str) -> (PathBuf, PathBuf) {
    let build = |name: &str, linker: &str| {
        let path = dir.path().join(name);
        let mut command = Command::new("go");
        command.env("GOTOOLCHAIN", "local").env("GO111MODULE", "off").arg("build");
        command
            .args(flags)
            .arg(format!("-ldflags={linker}"))
            .arg("-o")
            .arg(&path)
            .arg(support::program("inlines.go"));
        let output = command.output().expect("go; install it: apt-get install golang-go");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} failed:\n{stderr}");
        path
    };
    (build("whole", linker), build("stripped", &format!("{linker} -s -w")))
}

/// What `go tool addr2line` says: the function, and file and line.
fn addr2line(object: &Path, addresses: &[u64]) -> Vec<(String, String)> {
    let mut command = Command::new("go");
    command.args(["tool", "addr2line"]).arg(object).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("go");
    let mut stdin = child.stdin.take().expect("piped");
    let input: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("addr2line ends");
    feeder.join().expect("no panic").expect("addr2line reads its input");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 * addresses.len());
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn lines(symbol: &Symbol) -> &[Line] {
    match symbol {
        Symbol::Named(lines) => lines,
        Symbol::Unknown(_) => &[],
    }
}

fn frames(symbol: &Symbol) -> Vec<Frame> {
    let frame = |line: &Line| Frame {
        function: line.system_name.to_string(),
        file: line.file.as_deref().unwrap_or_default().to_owned(),
        line: line.line,
    };
    lines(symbol).iter().map(frame).collect()
}

fn compare(flags: &[&str], linker: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (whole, stripped) = twins(&dir, flags, linker);
    let (addresses, offsets): (Vec<u64>, Vec<u64>) = support::code(&whole, 23).into_iter().unzip();
    let found = support::convert(&stripped).symbolize(&offsets);
    let mut differences = Vec::new();
    for ((address, found), (function, place)) in
        addresses.iter().zip(&found).zip(addr2line(&whole, &addresses))
    {
        let ours = match lines(found) {
            [inner @ .., outer] => {
                let inner = inner.first().unwrap_or(outer);
                let place = match &inner.file {
                    Some(file) => format!("{file}:{}", inner.line),
                    // Behind the code of a function.
                    None => ":-1".to_owned(),
                };
                (outer.system_name.to_string(), place)
            }
            [] => ("?".to_owned(), "?:0".to_owned()),
        };
        // Behind code there is no line, in more ways than one.
        let place = if place.starts_with(":-") { ":-1".to_owned() } else { place };
        if ours != (function.clone(), place.clone()) {
            differences.push(format!("{address:#x}: ours {ours:?}, Go's {function} {place}"));
        }
    }
    println!("{flags:?}: {} of {} differ from Go's", differences.len(), addresses.len());
    println!("{}", differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n"));
    let chains = support::llvm(&whole, &addresses);
    let inlined = found.iter().filter(|symbol| lines(symbol).len() > 1).count();
    let mut other = Vec::new();
    for ((address, found), llvm) in addresses.iter().zip(&found).zip(&chains) {
        let found = frames(found);
        // Debug information says nothing of what is behind the code of a function, and puts the name
        // of no file into a directory. The linker marks assembly in the symbol table.
        let is_padding = llvm.is_empty() && found.first().is_none_or(|frame| frame.line == 0);
        let of_file = |frame: &Frame| frame.file.trim_start_matches("./").to_owned();
        let of_function = |frame: &Frame| frame.function.trim_end_matches(".abi0").to_owned();
        let llvm = llvm.iter().map(|frame| Frame {
            function: of_function(frame),
            file: of_file(frame),
            line: frame.line,
        });
        let llvm: Vec<Frame> = llvm.collect();
        if found != llvm && !is_padding {
            other.push(format!("{address:#x}:\n  ours {found:?}\n  llvm {llvm:?}"));
        }
    }
    println!("{inlined} are inlined; {} chains differ from LLVM's", other.len());
    println!("{}", other.iter().take(20).cloned().collect::<Vec<_>>().join("\n"));
    assert!(differences.is_empty(), "Go names them in another way");
    assert!(inlined * 10 > addresses.len(), "few inlined calls");
    assert!(other.len() * 100 <= addresses.len(), "LLVM has other chains");
}

#[test]
fn a_program_at_fixed_addresses() {
    compare(&[], "");
}

#[test]
fn a_position_independent_program() {
    compare(&["-buildmode=pie"], "");
}

/// Check a program that the C compiler linked, with its own code before Go's.
#[test]
fn a_program_that_is_linked_with_c() {
    compare(&[], "-linkmode=external");
}

/// Check with bytes changed all over the function table that a damaged one ends in fewer names.
#[test]
fn damaged_tables_are_survived() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, stripped) = twins(&dir, &[], "");
    let bytes = fs::read(&stripped).expect("readable");
    let elf = object::File::parse(bytes.as_slice()).expect("an object file");
    let section = elf.section_by_name(".gopclntab").expect("a function table");
    let (start, size) = section.file_range().expect("in the file");
    let mut random = 42_u64;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % limit
    };
    for round in 0..40 {
        let mut damaged = bytes.clone();
        // The header is what everything hangs on.
        let reach = if round % 4 == 0 { 80 } else { size };
        for _ in 0..=below(2000) {
            damaged[(start + below(reach)) as usize] = below(256) as u8;
        }
        let path = dir.path().join(format!("damaged-{round}"));
        fs::write(&path, damaged).expect("written");
        support::convert(&path);
    }
}
