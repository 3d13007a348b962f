//! What tables cost, beside llvm-symbolizer and blazesym on the same object and addresses:
//! `cargo bench -p fleetprof-symtab [-- OBJECT…]`.
//!
//! For every object (this program itself when none is named), each tool in a process of its own:
//! time until the first answer, time and memory until addresses all over the object are answered, and
//! answers per second when all were seen before. For tables also how long it takes to make one, its
//! size as a share of the debug information, and the first answer from a file that is not in memory.

#![expect(unsafe_code, reason = "files are mapped")]

#[path = "table/tools.rs"]
mod tools;

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fleetprof_symtab::{Frame, Inputs, Limits, Table, convert};
use memmap2::Mmap;
use object::{Object, ObjectSection};

/// Addresses asked for per object.
const ADDRESSES: u64 = 20_000;

/// Shortest time that lookups are repeated for.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--convert", object, table] => make(Path::new(object), Path::new(table)),
        ["--cold", table, address] => cold(Path::new(table), address.parse()?),
        ["--hot", object, table] => hot(Path::new(object), Path::new(table)),
        ["--blazesym", object] => {
            tools::blazesym(&addresses(Path::new(object))?, Path::new(object))
        }
        [] => measure(&std::env::current_exe()?),
        objects => objects.iter().try_for_each(|object| measure(Path::new(object))),
    }
}

fn measure(object: &Path) -> Result<()> {
    let debug_bytes = debug_bytes(object)?;
    println!("{}: {:.1} MB of debug information and symbols", object.display(), mega(debug_bytes));
    let own = std::env::current_exe()?;
    let directory = tempfile::tempdir()?;
    let table = directory.path().join("table");
    let run = |args: &[&str], paths: &[&Path]| -> Result<()> {
        let status = Command::new(&own).arg(args[0]).args(paths).args(&args[1..]).status()?;
        if status.success() { Ok(()) } else { bail!("{args:?} failed: {status}") }
    };
    run(&["--convert"], &[object, &table])?;
    let share = fs::metadata(&table)?.len() as f64 / debug_bytes as f64;
    println!("  table: {:.1} MB, {:.1} %", mega(fs::metadata(&table)?.len()), share * 100.0);
    let addresses = addresses(object)?;
    for address in [&addresses[0], &addresses[addresses.len() / 2]] {
        run(&["--cold", &address.to_string()], &[&table])?;
    }
    run(&["--hot"], &[object, &table])?;
    tools::llvm(&addresses, object)?;
    run(&["--blazesym"], &[object])
}

fn make(object: &Path, table: &Path) -> Result<()> {
    let started = Instant::now();
    let binary = map(object)?;
    let inputs = Inputs { binary: Some(&binary), ..Inputs::default() };
    let converted = convert(inputs, Limits::default())?;
    let took = started.elapsed();
    fs::write(table, &converted.table)?;
    File::open(table)?.sync_all()?;
    println!(
        "  conversion: {:.0} ms, {:.0} ms of CPU, peak memory {:.0} MB (the mapped object included)",
        milliseconds(took),
        milliseconds(tools::cpu_time("self")),
        mega(tools::peak_memory("self")),
    );
    Ok(())
}

fn cold(table: &Path, address: u64) -> Result<()> {
    rustix::fs::fadvise(File::open(table)?, 0, None, rustix::fs::Advice::DontNeed)?;
    let started = Instant::now();
    let table = Table::open(map(table)?)?;
    let mut frames = Vec::new();
    let found = table.frames_at_address(address, &mut frames);
    let texts = texts(&table, &frames);
    let took = milliseconds(started.elapsed());
    let innermost = found.map_or_else(|miss| miss.to_string(), |()| texts[0].0.clone());
    println!("  first answer, not in memory: {took:.2} ms ({} frames, {innermost})", frames.len());
    Ok(())
}

fn hot(object: &Path, table: &Path) -> Result<()> {
    let addresses = addresses(object)?;
    let table = Table::open(map(table)?)?;
    let mut frames = Vec::new();
    let (mut named, mut inlined) = (0_u64, 0_u64);
    for address in &addresses {
        named += u64::from(table.frames_at_address(*address, &mut frames).is_ok());
        inlined += frames.iter().filter(|frame| frame.is_inlined).count() as u64;
    }
    let count = addresses.len() as f64;
    let rate = per_second(addresses.len(), || {
        for address in &addresses {
            let _ = table.frames_at_address(*address, &mut frames);
        }
    });
    println!(
        "  answers: {:.2} M/s of CPU time ({:.1} % named, {:.1} frames each)",
        rate / 1e6,
        named as f64 / count * 100.0,
        (named + inlined) as f64 / count,
    );
    let rate = per_second(addresses.len(), || {
        for address in &addresses {
            let _ = table.frames_at_address(*address, &mut frames);
            std::hint::black_box(texts(&table, &frames));
        }
    });
    println!("  answers with all names and paths unpacked anew: {:.2} M/s", rate / 1e6);
    Ok(())
}

fn texts<B: AsRef<[u8]>>(table: &Table<B>, frames: &[Frame]) -> Vec<(String, String)> {
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap_or_default()
    };
    let frame = |frame: &Frame| {
        let function = text(&|out| {
            let _ = frame.function.map(|name| table.text(name, out));
        });
        let path = text(&|out| {
            let _ = frame.file.map(|file| table.path(file, out));
        });
        (function, path)
    };
    frames.iter().map(frame).collect()
}

/// Repeats work on `count` addresses long enough: how many there are in a second of CPU time, so that
/// other work of the machine does not count.
fn per_second(count: usize, mut work: impl FnMut()) -> f64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let started = now();
    let mut rounds = 0;
    while now() - started < LONG_ENOUGH {
        work();
        rounds += 1;
    }
    (count * rounds) as f64 / (now() - started).as_secs_f64()
}

/// Addresses all over an object's code, in no order.
fn addresses(path: &Path) -> Result<Vec<u64>> {
    let bytes = map(path)?;
    let file = object::File::parse(&*bytes)?;
    let text = file.section_by_name(".text").context("no .text")?;
    let step = (text.size() / ADDRESSES).max(1);
    // A prime stride visits every place once.
    Ok((0..ADDRESSES).map(|i| text.address() + i * 7919 % ADDRESSES * step).collect())
}

/// Unpacked size of what tables are made from.
fn debug_bytes(path: &Path) -> Result<u64> {
    let bytes = map(path)?;
    let file = object::File::parse(&*bytes)?;
    let is_debug =
        |name: &str| name.starts_with(".debug_") || [".symtab", ".strtab"].contains(&name);
    let sections = file.sections().filter(|section| section.name().is_ok_and(is_debug));
    Ok(sections.map(|section| section.size()).sum())
}

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: the file is not changed while this program runs.
    Ok(unsafe { Mmap::map(&file) }?)
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
