//! The tools that tables are compared with.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use blazesym::symbolize::{Input, Symbolizer, source};

use crate::{mega, milliseconds, per_second};

/// The newest `llvm-symbolizer` of this machine.
fn newest_llvm() -> Result<PathBuf> {
    let version = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_prefix("llvm-")?.parse::<u32>().ok())
    };
    let folders = fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let with_tool = folders.filter(|path| path.join("bin/llvm-symbolizer").exists());
    let newest =
        with_tool.max_by_key(version).context("no llvm-symbolizer: apt-get install llvm")?;
    Ok(newest.join("bin/llvm-symbolizer"))
}

/// llvm-symbolizer, asked through a pipe.
pub(crate) fn llvm(addresses: &[u64], object: &Path) -> Result<()> {
    let started = Instant::now();
    let mut child = Command::new(newest_llvm()?)
        .args(["--inlines", "--no-demangle", "--output-style=JSON", "--no-debuginfod", "-e"])
        .arg(object)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start llvm-symbolizer")?;
    let process = child.id().to_string();
    let mut input = child.stdin.take().context("no pipe")?;
    let mut output = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    writeln!(input, "{:#x}", addresses[0])?;
    output.next().context("no answer")??;
    let first = (started.elapsed(), cpu_time(&process));
    let ask = |input: &mut std::process::ChildStdin| -> Result<()> {
        for address in addresses {
            writeln!(input, "{address:#x}")?;
        }
        Ok(())
    };
    let mut input = {
        let feeder = thread::scope(|scope| {
            let asked = scope.spawn(move || ask(&mut input).map(|()| input));
            output.by_ref().take(addresses.len()).for_each(drop);
            asked.join()
        });
        feeder.map_err(|_| anyhow::anyhow!("the feeder panicked"))??
    };
    let all = (started.elapsed(), cpu_time(&process));
    let memory = peak_memory(&process);
    thread::scope(|scope| -> Result<()> {
        let asked = scope.spawn(|| ask(&mut input));
        output.by_ref().take(addresses.len()).for_each(drop);
        asked.join().map_err(|_| anyhow::anyhow!("the feeder panicked"))?
    })?;
    let again = cpu_time(&process) - all.1;
    let rate = addresses.len() as f64 / again.as_secs_f64();
    drop(input);
    child.wait()?;
    print("llvm-symbolizer", first, all, memory, rate, addresses.len());
    Ok(())
}

/// blazesym in this process.
pub(crate) fn blazesym(addresses: &[u64], object: &Path) -> Result<()> {
    let started = Instant::now();
    let symbolizer = Symbolizer::builder().enable_demangling(false).build();
    let source = source::Source::Elf(source::Elf::new(object));
    let ask = |addresses: &[u64]| symbolizer.symbolize(&source, Input::VirtOffset(addresses));
    ask(&addresses[..1])?;
    let first = (started.elapsed(), cpu_time("self"));
    ask(addresses)?;
    let all = (started.elapsed(), cpu_time("self"));
    let memory = peak_memory("self");
    let rate = per_second(addresses.len(), || {
        let _ = ask(addresses);
    });
    print("blazesym", first, all, memory, rate, addresses.len());
    Ok(())
}

/// Each time is that on the clock and that of the CPU.
fn print(
    tool: &str,
    first: (Duration, Duration),
    all: (Duration, Duration),
    memory: u64,
    rate: f64,
    count: usize,
) {
    println!(
        "  {tool}: first answer {:.0} ms (CPU {:.0}), {count} answers {:.0} ms (CPU {:.0}), \
         peak memory {:.0} MB, then {:.3} M/s of CPU time",
        milliseconds(first.0),
        milliseconds(first.1),
        milliseconds(all.0),
        milliseconds(all.1),
        mega(memory),
        rate / 1e6,
    );
}

/// Most memory that a process ever had, mapped files included, bytes.
pub(crate) fn peak_memory(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// CPU time of a process, in hundredths of a second.
pub(crate) fn cpu_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may have spaces; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
