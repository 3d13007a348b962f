//! Makes and reads symbol tables.
//!
//! ```text
//! cargo run --release -p fleetprof-symtab --example symtab -- convert BINARY TABLE
//!     [--debug FILE] [--shared FILE] [--package FILE] [--split DIR]
//! cargo run --release -p fleetprof-symtab --example symtab -- lookup TABLE ADDRESS…
//! ```

#![expect(unsafe_code, reason = "files are mapped")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use fleetprof_symtab::{Inputs, Limits, SplitUnit, Table, convert};
use memmap2::Mmap;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["convert", binary, table, options @ ..] => make(binary, table, options),
        ["lookup", table, addresses @ ..] => look_up(table, addresses),
        _ => bail!("give `convert BINARY TABLE [OPTION…]` or `lookup TABLE ADDRESS…`"),
    }
}

fn make(binary: &str, table: &str, options: &[&str]) -> Result<()> {
    let option = |name: &str| {
        let at = options.iter().position(|option| *option == name)?;
        options.get(at + 1).map(Path::new)
    };
    let started = Instant::now();
    let [binary, debug, shared, package] =
        [Some(Path::new(binary)), option("--debug"), option("--shared"), option("--package")]
            .map(|path| path.map(map).transpose());
    let (binary, debug, shared, package) = (binary?, debug?, shared?, package?);
    let directory = option("--split").map(Path::to_owned);
    let mut split = |unit: &SplitUnit<'_>| fs::read(split_path(directory.as_deref(), unit)).ok();
    let inputs = Inputs {
        binary: binary.as_deref(),
        debug: debug.as_deref(),
        shared: shared.as_deref(),
        package: package.as_deref(),
        split: Some(&mut split),
        others: Vec::new(),
        without_debug_info: false,
    };
    let converted = convert(inputs, Limits::default())?;
    let took = started.elapsed();
    fs::write(table, &converted.table).with_context(|| format!("cannot write {table}"))?;
    println!("{:#?}", converted.report);
    println!("{:.0} ms, peak memory {} MB", took.as_secs_f64() * 1e3, peak_memory() >> 20);
    let table = Table::open(&converted.table)?;
    for (name, bytes) in table.section_sizes() {
        println!("{bytes:>10} {name}");
    }
    println!("{:>10} in all", converted.table.len());
    Ok(())
}

/// Where the compiler put the file, or that name in another directory.
fn split_path(directory: Option<&Path>, unit: &SplitUnit<'_>) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(unit.path));
    match directory {
        Some(directory) => directory.join(path.file_name().unwrap_or_default()),
        None => Path::new(OsStr::from_bytes(unit.directory)).join(path),
    }
}

fn look_up(table: &str, addresses: &[&str]) -> Result<()> {
    let table = Table::open(map(Path::new(table))?)?;
    let mut out = io::stdout().lock();
    let mut frames = Vec::new();
    for text in addresses {
        let digits = text.trim_start_matches("0x");
        let address = u64::from_str_radix(digits, 16).with_context(|| format!("address {text}"))?;
        if let Err(miss) = table.frames_at_address(address, &mut frames) {
            writeln!(out, "{text}: {miss}")?;
        }
        for frame in &frames {
            let (mut function, mut path) = (Vec::new(), Vec::new());
            frame.function.map_or(Ok(()), |name| table.text(name, &mut function))?;
            frame.file.map_or(Ok(()), |file| table.path(file, &mut path))?;
            let (function, path) =
                (String::from_utf8_lossy(&function), String::from_utf8_lossy(&path));
            let inlined = if frame.is_inlined { " (inlined)" } else { "" };
            writeln!(out, "{text} {function} {path}:{}{inlined}", frame.line)?;
        }
    }
    Ok(())
}

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: the file is not changed while this short-lived program runs.
    Ok(unsafe { Mmap::map(&file) }?)
}

fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}
