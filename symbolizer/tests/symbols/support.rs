//! Programs built on the spot, and what LLVM says about them.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fleetprof_symbolizer::{Conversion, Converter, TableFile};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use serde_json::Value;

/// One source-level frame as `llvm-symbolizer` sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) function: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// A source file of `tests/programs`.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// Runs a command that must succeed.
pub(crate) fn run<S: AsRef<OsStr>>(tool: &str, args: impl IntoIterator<Item = S>) {
    let mut command = Command::new(tool);
    command.args(args);
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run {tool}: {error}\ninstall it: apt-get install gcc g++ binutils llvm")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{stderr}");
}

/// Compiles `source` to `target` with the compiler that its name asks for.
pub(crate) fn compile(source: &str, target: &Path, flags: &[&str]) {
    let compiler = match Path::new(source).extension().and_then(OsStr::to_str) {
        Some("c") => "gcc",
        Some("cc") => "g++",
        _ => "rustc",
    };
    let mut args: Vec<&OsStr> = flags.iter().map(OsStr::new).collect();
    let source = program(source);
    args.extend([source.as_os_str(), OsStr::new("-o"), target.as_os_str()]);
    run(compiler, args);
}

/// The newest `llvm-symbolizer` of this machine.
fn llvm_symbolizer() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib")
        .expect("/usr/lib is there")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse().ok()?;
            Some((version, path.join("bin/llvm-symbolizer")))
        })
        .filter(|(_, tool)| tool.exists())
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, tool)| tool);
    newest
        .unwrap_or_else(|| panic!("no llvm-symbolizer below /usr/lib/llvm-*: apt-get install llvm"))
}

/// What makes the table of an object, beside it.
pub(crate) fn conversion(object: &Path) -> Conversion {
    Conversion {
        object: object.to_owned(),
        debug: None,
        shared: None,
        package: None,
        table: object.with_extension("symtab"),
        max_unpacked_bytes: 1 << 30,
        time: Duration::from_secs(60),
        symbols_only: false,
    }
}

/// The table of an object.
pub(crate) fn convert(object: &Path) -> TableFile {
    let conversion = conversion(object);
    Converter::in_process().convert(&conversion).expect("converted");
    TableFile::open(&conversion.table).expect("a table")
}

/// What LLVM says about virtual addresses of `object`: innermost first, empty where it knows nothing.
pub(crate) fn llvm(object: &Path, addresses: &[u64]) -> Vec<Vec<Frame>> {
    let tool = llvm_symbolizer();
    let mut child = Command::new(&tool)
        .args(["--inlines", "--no-demangle", "--output-style=JSON", "--no-debuginfod", "-e"])
        .arg(object)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", tool.display()));
    let mut stdin = child.stdin.take().expect("piped");
    let input: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("llvm-symbolizer ends");
    feeder.join().expect("no panic").expect("llvm-symbolizer reads its input");
    assert!(output.status.success());
    let answers: Vec<_> =
        output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(frames).collect();
    assert_eq!(answers.len(), addresses.len());
    answers
}

fn frames(json: &[u8]) -> Vec<Frame> {
    let answer: Value = serde_json::from_slice(json).expect("llvm-symbolizer prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let symbols = answer["Symbol"].as_array().cloned().unwrap_or_default();
    let frames = symbols.iter().map(|symbol| Frame {
        function: text(&symbol["FunctionName"]),
        file: text(&symbol["FileName"]),
        line: symbol["Line"].as_u64().and_then(|line| line.try_into().ok()).unwrap_or(0),
    });
    frames.filter(|frame| !frame.function.is_empty() || !frame.file.is_empty()).collect()
}

/// Names that stand for the same code: the symbol table's, by address.
pub(crate) fn aliases(object: &Path) -> HashMap<String, HashSet<u64>> {
    let bytes = fs::read(object).expect("readable");
    let elf = object::File::parse(&*bytes).expect("an object file");
    let mut places: HashMap<String, HashSet<u64>> = HashMap::new();
    for symbol in elf.symbols() {
        places
            .entry(symbol.name().unwrap_or_default().to_owned())
            .or_default()
            .insert(symbol.address());
    }
    places
}

/// The code of an object: (virtual address, file offset) pairs, `step` bytes apart.
pub(crate) fn code(object: &Path, step: u64) -> Vec<(u64, u64)> {
    let bytes = fs::read(object).expect("readable");
    let elf = object::File::parse(&*bytes).expect("an object file");
    let text = elf.section_by_name(".text").expect(".text");
    let (start, end) = (text.address(), text.address() + text.size());
    let segments: Vec<_> = elf
        .segments()
        .map(|segment| (segment.address(), segment.size(), segment.file_range().0))
        .collect();
    let offset = |address: u64| {
        let segment = segments.iter().find(|(at, size, _)| (*at..at + size).contains(&address));
        let (at, _, offset) = segment.expect("code is mapped");
        address - at + offset
    };
    (start..end).step_by(step.try_into().expect("small")).map(|a| (a, offset(a))).collect()
}

/// Changes what a compressed section says about its size before compression.
pub(crate) fn claim_decompressed_size(object: &Path, section: &str, size: u64) {
    let bytes = fs::read(object).expect("readable");
    let elf = object::File::parse(&*bytes).expect("an object file");
    let (start, _) = elf.section_by_name(section).and_then(|s| s.file_range()).expect("there");
    let file = fs::File::options().write(true).open(object).expect("writable");
    // Elf64_Chdr: type, reserved, size.
    file.write_all_at(&size.to_le_bytes(), start + 8).expect("written");
}
