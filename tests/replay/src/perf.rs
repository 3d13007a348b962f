//! Records programs with `perf`, and has it unwind what it recorded.
//!
//! perf of Debian unwinds with libunwind, which shares nothing with our tables and our walk.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    build::Program,
    capture::{Capture, TrueFrame, TruePlace},
    perf_data::{self, Sample},
};

/// Bytes of stack: the most that perf can record.
const STACK: &str = "dwarf,65528";

/// Runs a program below perf: every sample with perf's frames.
///
/// # Errors
/// When perf is missing, may not sample, or its output is not as expected.
pub fn record(program: &Program) -> Result<Vec<Capture>> {
    let Program { command, environment, hertz } = program;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("perf.data");
    let mut perf = perf(dir.path());
    perf.args(["record", "-q", "-m", "16M", "-e", "cpu-clock:u", "-F", hertz]);
    perf.args(["--call-graph", STACK, "-o"]).arg(&data).arg("--").args(command);
    perf.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
    let output = perf.stderr(Stdio::piped()).output().context("perf cannot be run")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf record of {command:?} failed: {text}");
    let samples = perf_data::read(&std::fs::read(&data)?)?;
    let mut truth = unwound(dir.path(), &data)?;
    let captures = samples.into_iter().filter_map(|sample| {
        let frames = truth.remove(&(sample.tid, sample.time))?;
        Some(capture(sample, frames))
    });
    Ok(captures.collect())
}

/// perf with a cache of objects of its own: it is where it finds the code of the vDSO again, and what
/// the user's has must not matter.
fn perf(dir: &Path) -> Command {
    let mut perf = Command::new("perf");
    perf.arg("--buildid-dir").arg(dir.join("objects"));
    perf
}

fn capture(sample: Sample, truth: Vec<TrueFrame>) -> Capture {
    Capture {
        architecture: fleetprof_abi::Architecture::X86_64,
        registers: sample.registers,
        ip: sample.ip,
        stack: vec![sample.stack],
        mappings: sample.mappings,
        truth,
    }
}

type Key = (u32, u64);

/// Frames of each sample, by thread and time.
fn unwound(dir: &Path, data: &Path) -> Result<HashMap<Key, Vec<TrueFrame>>> {
    let mut perf = perf(dir);
    perf.args(["script", "--ns", "--no-inline", "--no-demangle", "--max-stack", "2048"]);
    perf.args(["-F", "tid,time,ip,sym,dso", "-i"]).arg(data);
    let output = perf.stdin(Stdio::null()).output().context("perf cannot be run")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf script failed: {text}");
    let text = String::from_utf8(output.stdout).context("perf script")?;
    // One paragraph per sample: thread and time, then a line for each frame, innermost first.
    let samples = text.split("\n\n").filter(|sample| !sample.trim().is_empty());
    samples.map(|sample| parse(sample).with_context(|| format!("perf script: {sample}"))).collect()
}

fn parse(sample: &str) -> Result<(Key, Vec<TrueFrame>)> {
    let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
    let head = lines.next().context("no head")?;
    let mut words = head.split_whitespace();
    let tid = words.next().context("no thread")?.parse()?;
    let time = words.next().context("no time")?.trim_end_matches(':');
    let (seconds, nanoseconds) = time.split_once('.').context("no time")?;
    let time = seconds.parse::<u64>()? * 1_000_000_000 + nanoseconds.parse::<u64>()?;
    Ok(((tid, time), lines.map(frame).collect::<Result<_>>()?))
}

/// `position function (path)`.
fn frame(line: &str) -> Result<TrueFrame> {
    let (position, rest) = line.trim().split_once(' ').context("no position")?;
    let (function, path) = rest.rsplit_once(" (").context("no path")?;
    let path = path.strip_suffix(')').context("no path")?.to_owned();
    let position = u64::from_str_radix(position, 16).context("no position")?;
    Ok(TrueFrame { place: TruePlace::Position(position, path), function: function.to_owned() })
}
