//! What symbolization costs: `cargo bench -p fleetprof-symbolizer [-- OBJECT…]`.
//!
//! For every object (this program itself when none is named): time to the first answer, addresses
//! per second when each is new and when all were seen before, without and with a worker process
//! between, and memory held. For the running
//! kernel's symbols: time to parse them and lookups per second.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use fleetprof_proto::symbol::Symbol;
use fleetprof_symbolizer::{
    ObjectSource, Options, Symbolizer, SymbolizerPool, WorkerCommand, WorkerLimits,
    kallsyms::Kallsyms,
};
use object::{Object, ObjectSection};

/// Addresses asked for per object.
const ADDRESSES: usize = 20_000;

/// Marks the process that measures one object, so that the memory of one is not that of another.
const ONE: &str = "--one";

fn main() {
    let args: Vec<PathBuf> =
        std::env::args_os().skip(1).filter(|arg| arg != "--bench").map(PathBuf::from).collect();
    if let [flag, object] = args.as_slice()
        && flag.as_os_str() == ONE
    {
        if let Err(error) = measure(object) {
            eprintln!("{}: {error}", object.display());
        }
        return;
    }
    println!(
        "{:<36} {:>7} {:>9} {:>11} {:>11} {:>11} {:>8} {:>8} {:>7}",
        "object",
        "MB",
        "first ms",
        "new addr/s",
        "seen addr/s",
        "pool addr/s",
        "heap MB",
        "est. MB",
        "named"
    );
    let Ok(own) = std::env::current_exe() else { return eprintln!("cannot find this program") };
    for object in if args.is_empty() { vec![own.clone()] } else { args } {
        if let Err(error) = Command::new(&own).arg(ONE).arg(&object).status() {
            eprintln!("cannot start {}: {error}", own.display());
        }
    }
    kernel();
}

fn measure(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let offsets = offsets(path)?;
    let source = ObjectSource::Elf { path: path.to_owned() };
    let before = heap_bytes();
    let mut symbolizer = Symbolizer::new(Options::default());
    let (_, first) = timed(|| symbolizer.symbolize(&source, &offsets[..1]));
    let (symbols, new) = timed(|| symbolizer.symbolize(&source, &offsets));
    let (_, seen) = timed(|| symbolizer.symbolize(&source, &offsets));
    let heap = heap_bytes().saturating_sub(before);
    let named = symbols.iter().filter(|symbol| matches!(symbol, Symbol::Named(_))).count();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    println!(
        "{:<36} {:>7.1} {:>9.1} {:>11.0} {:>11.0} {:>11.0} {:>8.1} {:>8.1} {:>6.1}%",
        name.chars().take(36).collect::<String>(),
        mega(fs::metadata(path)?.len()),
        first.as_secs_f64() * 1e3,
        per_second(offsets.len(), new),
        per_second(offsets.len(), seen),
        pooled(&source, &offsets)?,
        mega(heap),
        mega(symbolizer.cached_bytes()),
        named as f64 / symbols.len() as f64 * 100.0,
    );
    Ok(())
}

/// Addresses per second, all seen before, through a worker process.
fn pooled(source: &ObjectSource, offsets: &[u64]) -> Result<f64, Box<dyn std::error::Error>> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fleetprof-symbolize-worker"));
    let command = WorkerCommand { program, args: Vec::new() };
    let limits = WorkerLimits::default();
    let pool = SymbolizerPool::isolated(command, 1, &Options::default(), limits);
    pool.symbolize(source, offsets)?;
    let (answer, took) = timed(|| pool.symbolize(source, offsets));
    Ok(per_second(answer?.len(), took))
}

fn kernel() {
    let Ok(listing) = fs::read("/proc/kallsyms") else {
        return eprintln!("/proc/kallsyms: cannot be read");
    };
    let (table, parse) = timed(|| Kallsyms::parse(&listing));
    let Ok(table) = table else { return eprintln!("/proc/kallsyms: no symbols") };
    let base = 0xffff_ffff_8100_0000u64;
    let lookups = 1_000_000u64;
    let (hits, took) = timed(|| {
        let address = |i: u64| base + i.wrapping_mul(0x9e37_79b9) % (16 << 20);
        (0..lookups).filter(|i| table.lookup(address(*i)).is_some()).count()
    });
    println!(
        "kallsyms: {} lines, parsed in {:.1} ms, {:.1} MB, {:.0} ns per lookup ({hits} hits)",
        listing.iter().filter(|b| **b == b'\n').count(),
        parse.as_secs_f64() * 1e3,
        mega(table.heap_bytes()),
        took.as_nanos() as f64 / lookups as f64,
    );
}

/// Offsets spread evenly over the code of an object, in no order.
fn offsets(path: &Path) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let bytes = fs::read(path)?;
    let elf = object::File::parse(&*bytes)?;
    let text = elf.section_by_name(".text").ok_or("no .text")?;
    let (start, size) = text.file_range().ok_or("no code in the file")?;
    let step = (size / ADDRESSES as u64).max(1);
    let count = ADDRESSES.min(size as usize) as u64;
    // A prime stride visits every place once.
    Ok((0..count).map(|i| start + i * 7919 % count * step).collect())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Anonymous memory of this process, bytes.
fn heap_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
