//! Unwind tables of large and common binaries: their size, beside that of the unwind information they
//! are made from, and the CPU time to build them. `--table FILE` adds a binary.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use fleetprof_tests::{binaries, machine};
use fleetprof_unwind::{Limits, Unsupported, UnwindTable, build};
use rustix::time::{ClockId, clock_gettime};

use crate::{load, report::Report};

/// Shared libraries that are asked of the dynamic linker, by the beginning of their name.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libstdc++.so.6", "libcrypto.so", "libLLVM"];

/// Builds every table some times.
pub(crate) fn measure(report: &mut Report, rounds: u32, more: &[PathBuf]) {
    for path in known(report).iter().chain(more) {
        if let Err(problem) = one(report, path, rounds) {
            report.note(format!("unwind table of {}: {problem}", path.display()));
        }
    }
}

fn one(report: &mut Report, path: &Path, rounds: u32) -> Result<(), String> {
    let (mut build_ms, mut read_ms) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..rounds {
        let started = thread_cpu_ms();
        let file = File::open(path).map_err(|error| error.to_string())?;
        let table = build(&file, None, &Limits::default()).map_err(|error| error.to_string())?;
        build_ms.push(thread_cpu_ms() - started);
        let bytes = table.encode();
        let started = thread_cpu_ms();
        UnwindTable::decode(&bytes).map_err(|error| error.to_string())?;
        read_ms.push(thread_cpu_ms() - started);
        last = Some(table);
    }
    let Some(table) = last else { return Ok(()) };
    let stats = table.stats();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Two versions of a library have one name.
    let name = match path.parent().and_then(Path::file_name) {
        Some(folder) if name == "libjvm.so" => {
            format!("{name} ({})", jvm(path).unwrap_or_else(|| folder.to_string_lossy().into()))
        }
        _ => name.into_owned(),
    };
    let (bytes, changes) = (stats.table_bytes as f64, stats.changes.max(1) as f64);
    let frame_bytes = stats.frame_bytes.max(1) as f64;
    report.add(format!("unwind table of {name}: size"), "kB", vec![bytes / 1024.0]);
    report.add(format!("unwind table of {name}: per row"), "B", vec![bytes / changes]);
    let ratio = bytes / frame_bytes;
    report.add(format!("unwind table of {name}: of .eh_frame"), "times", vec![ratio]);
    report.add(format!("unwind table of {name}: build"), "ms of CPU", build_ms);
    report.add(format!("unwind table of {name}: read back"), "ms of CPU", read_ms);
    let refused = Unsupported::ALL.into_iter().filter_map(|reason| {
        let count = stats.unsupported[reason as usize];
        (count > 0).then(|| format!("{count} {}", reason.name()))
    });
    let refused: Vec<_> = refused.collect();
    if !refused.is_empty() {
        let (states, refused) = (stats.states, refused.join(", "));
        report.note(format!("unwind table of {name}: of {states} states not kept: {refused}"));
    }
    Ok(())
}

/// CPU time of this thread: what else runs on the machine does not count.
fn thread_cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

/// The binaries that are looked for; says which are not here.
fn known(report: &mut Report) -> Vec<PathBuf> {
    let mut found = vec![binaries::path("fleetprof-agent")];
    let mut missing = Vec::new();
    let mut add = |what: &str, paths: Vec<PathBuf>| {
        if paths.is_empty() {
            missing.push(what.to_owned());
        }
        found.extend(paths);
    };
    for name in LIBRARIES {
        add(name, library(name));
    }
    add("libjvm.so", jvms());
    add("node", machine::find("node").into_iter().collect());
    add("python3", python());
    if !missing.is_empty() {
        report.note(format!("unwind tables: not on this machine: {}", missing.join(", ")));
    }
    // Links lead to one file; the order stays.
    let mut seen = BTreeSet::new();
    found.retain_mut(|path| {
        *path = path.canonicalize().unwrap_or_else(|_| path.clone());
        seen.insert(path.clone())
    });
    found
}

/// What the dynamic linker knows under names that begin like this.
fn library(name: &str) -> Vec<PathBuf> {
    let Some(ldconfig) = machine::find("ldconfig") else { return Vec::new() };
    let output = Command::new(ldconfig).arg("-p").output().map(|output| output.stdout);
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    let paths = text.lines().filter_map(|line| {
        let (known, path) = line.trim().split_once(" => ")?;
        (known.starts_with(name) && known.contains("x86-64") == cfg!(target_arch = "x86_64"))
            .then(|| PathBuf::from(path))
    });
    paths.collect()
}

fn jvms() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/jvm").into_iter().flatten().filter_map(Result::ok);
    let files = entries.map(|entry| entry.path().join("lib/server/libjvm.so"));
    files.filter(|path| path.is_file()).collect()
}

/// Folder of a JVM's installation.
fn jvm(path: &Path) -> Option<String> {
    Some(path.ancestors().nth(3)?.file_name()?.to_string_lossy().into_owned())
}

/// The interpreter: its executable, or the library that has all of it.
fn python() -> Vec<PathBuf> {
    const MAPPED: &str =
        "print(''.join(line for line in open('/proc/self/maps') if ' r-xp ' in line))";
    let Some(python) = load::python() else { return Vec::new() };
    let output = Command::new(&python).args(["-c", MAPPED]).output();
    let text = String::from_utf8_lossy(&output.map(|output| output.stdout).unwrap_or_default())
        .into_owned();
    let files = text.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
    let is_python = |path: &PathBuf| {
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        name.starts_with("python") || name.starts_with("libpython")
    };
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
    files.filter(is_python).max_by_key(size).into_iter().collect()
}
