//! gdb as an unwinder of independent origin: on captured threads, given to it as core files.
//!
//! gdb reads `.eh_frame` and `.debug_frame` with a reader of its own, and code without either by
//! looking at what its instructions do.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use fleetprof_abi::Architecture;

use crate::{
    capture::{Capture, TrueFrame, TruePlace},
    core_file,
    elf::first_address,
    objects::{VDSO, read},
};

const FRAMES: &str = include_str!("frames.py");

/// What gdb finds in captures, in their order. All must be of processes that mapped the same files
/// at the same addresses: gdb reads these only once.
///
/// # Errors
/// When gdb is missing, or its output is not as expected.
pub fn frames(captures: &[&Capture]) -> Result<Vec<Vec<TrueFrame>>> {
    let Some(first) = captures.first() else { return Ok(Vec::new()) };
    let dir = tempfile::tempdir()?;
    let mut list = String::new();
    for (number, capture) in captures.iter().enumerate() {
        let path = dir.path().join(format!("{number}.core"));
        std::fs::write(&path, core_file::write(capture))?;
        writeln!(list, "{}", path.display())?;
    }
    let cores = dir.path().join("cores");
    std::fs::write(&cores, list)?;
    let script = dir.path().join("script.gdb");
    let frames = dir.path().join("frames.py");
    std::fs::write(&frames, FRAMES)?;
    std::fs::write(&script, commands(first, dir.path(), &cores, &frames)?)?;
    let (text, complaints) = run(&script)?;
    let found = parse(&text)?;
    ensure!(
        found.len() == captures.len(),
        "gdb stopped after {} of {} stacks: {complaints}",
        found.len(),
        captures.len()
    );
    Ok(found)
}

fn commands(capture: &Capture, dir: &Path, cores: &Path, frames: &Path) -> Result<String> {
    let architecture = match capture.architecture {
        Architecture::X86_64 => "i386:x86-64",
        Architecture::Aarch64 => "aarch64",
    };
    let mut text = format!(
        "set pagination off\nset confirm off\nset debuginfod enabled off\n\
         set architecture {architecture}\nset osabi GNU/Linux\n\
         set backtrace past-main on\nset backtrace past-entry on\nset backtrace limit 2000\n"
    );
    let paths: BTreeSet<&str> = capture.mappings.iter().map(|mapping| &*mapping.path).collect();
    for path in paths {
        let Some(bytes) = read(path) else { continue };
        let Some((mapping, address)) = capture
            .mappings
            .iter()
            .filter(|mapping| *mapping.path == *path)
            .find_map(|mapping| Some((mapping, first_address(&bytes, mapping.position)?)))
        else {
            continue;
        };
        let file = if path == VDSO {
            let copy = dir.join("vdso.so");
            std::fs::write(&copy, &bytes)?;
            copy.display().to_string()
        } else {
            path.to_owned()
        };
        let offset = mapping.start.wrapping_sub(address);
        writeln!(text, "add-symbol-file {file} -o {offset:#x}")?;
    }
    writeln!(text, "python cores_path = {:?}", cores.display().to_string())?;
    writeln!(text, "source {}", frames.display())?;
    Ok(text)
}

/// What gdb writes to its standard output, and to its standard error.
fn run(script: &Path) -> Result<(String, String)> {
    let mut gdb =
        Command::new(if super::build::is_here("gdb-multiarch") { "gdb-multiarch" } else { "gdb" });
    gdb.args(["-nx", "-batch", "-q", "-x"]).arg(script).stdin(Stdio::null());
    let output = gdb.output().context("gdb cannot be run")?;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "gdb failed: {complaints}");
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), complaints))
}

/// `core` before each stack, then `address exact function` in each line. Before the first is what gdb says about the
/// symbol files.
fn parse(text: &str) -> Result<Vec<Vec<TrueFrame>>> {
    let mut stacks: Vec<Vec<TrueFrame>> = Vec::new();
    for line in text.lines().skip_while(|line| *line != "core") {
        if line == "core" {
            stacks.push(Vec::new());
        } else if let Some(stack) = stacks.last_mut().filter(|_| !line.starts_with("error")) {
            stack.push(frame(line)?);
        }
    }
    Ok(stacks)
}

fn frame(line: &str) -> Result<TrueFrame> {
    let mut words = line.splitn(3, ' ');
    let address = words.next().context("no address")?;
    let address = u64::from_str_radix(address, 16).with_context(|| line.to_owned())?;
    let exact = words.next() == Some("1");
    let function = words.next().unwrap_or("?").to_owned();
    Ok(TrueFrame { place: TruePlace::Address(address, exact), function })
}

#[test]
fn a_function_may_be_named_like_the_separator() -> Result<()> {
    let stacks =
        parse("add symbol table\ncore\n405c64 1 printf_core\n401040 0 main\nerror x\ncore\n")?;
    let names: Vec<Vec<&str>> =
        stacks.iter().map(|stack| stack.iter().map(|frame| &*frame.function).collect()).collect();
    assert_eq!(names, [vec!["printf_core", "main"], vec![]]);
    Ok(())
}
