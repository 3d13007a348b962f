//! What one sample costs when it is written to a ring, and when it is counted in the kernel.
//!
//! ```text
//! cargo run --release -p fleetprof-agent --features counting --example output_cost -- [SECONDS]
//! ```
//!
//! Needs root and a C compiler. Runs two busy processes, samples only those with cpu-clock, and
//! prints for each way, load and rate: nanoseconds a sample takes in the kernel (from the kernel's
//! own BPF statistics), and in this process until the stacks stand counted in a hash table. The
//! figures in docs/adr/002 come from here.
#![expect(unsafe_code, reason = "the batch calls that counting needs are not in aya")]

mod counted;
mod load;
mod ring;

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    programs::{
        PerfEvent,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
    sys::{Stats, enable_stats},
};
use rustix::time::{ClockId, clock_gettime};

/// Stacks of a process (addresses, innermost first, after the process and thread id), counted.
type Counts = HashMap<Box<[u64]>, u64>;

/// A way to bring samples to user space.
trait Output {
    fn name(&self) -> &'static str;
    /// How often [`Output::drain`] is called.
    fn interval(&self) -> Duration;
    /// The program to attach.
    fn program(&mut self) -> anyhow::Result<&mut PerfEvent>;
    /// Adds what there is to `counts`.
    fn drain(&mut self, counts: &mut Counts) -> anyhow::Result<()>;
    /// Samples lost or merged with others.
    fn lost(&self) -> anyhow::Result<u64>;
}

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let _stats = enable_stats(Stats::RunTime).context("BPF statistics; root is needed")?;
    let program = load::build()?;
    println!(
        "{:>9} {:>5} {:>6}  {:>8} {:>9} {:>9}  {:>10} {:>10} {:>9}",
        "output", "load", "Hz", "samples", "lost", "stacks", "kernel ns", "agent ns", "agent CPU"
    );
    for load in ["few", "many"] {
        for frequency in [19, 99, 997] {
            let ways: [Box<dyn Output>; 3] = [
                Box::new(ring::Ring::new()?),
                Box::new(counted::Counted::new("by_stack")?),
                Box::new(counted::Counted::new("by_id")?),
            ];
            for output in ways {
                measure(output, &program, load, frequency, Duration::from_secs(seconds))?;
            }
        }
    }
    Ok(())
}

fn measure(
    mut output: Box<dyn Output>,
    program: &load::Program,
    load: &'static str,
    frequency: u64,
    duration: Duration,
) -> anyhow::Result<()> {
    let processes = program.start(load, 2)?;
    let entry = output.program()?;
    for process in &processes {
        entry.attach(
            PerfEventConfig::Software(SoftwareEvent::CpuClock),
            PerfEventScope::OneProcess { pid: process.id(), cpu: None },
            SamplePolicy::Period(1_000_000_000 / frequency),
            false,
        )?;
    }
    let mut counts = Counts::new();
    let mut cpu = Duration::ZERO;
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let interval = output.interval().min(end.saturating_duration_since(Instant::now()));
        std::thread::sleep(interval);
        let before = thread_cpu();
        output.drain(&mut counts)?;
        cpu += thread_cpu() - before;
    }
    drop(processes);
    let before = thread_cpu();
    output.drain(&mut counts)?;
    cpu += thread_cpu() - before;

    let lost = output.lost()?;
    let (runs, nanos) = run_time(output.program()?)?;
    let samples: u64 = counts.values().sum();
    println!(
        "{:>9} {load:>5} {frequency:>6}  {samples:>8} {lost:>9} {:>9}  {:>10} {:>10} {:>8.4}%",
        output.name(),
        counts.len(),
        nanos / runs.max(1),
        cpu.as_nanos() / u128::from(samples.max(1)),
        100.0 * cpu.as_secs_f64() / duration.as_secs_f64(),
    );
    Ok(())
}

/// Runs of a program and nanoseconds they took, tail calls included.
fn run_time(program: &PerfEvent) -> anyhow::Result<(u64, u64)> {
    let fd = program.fd()?.as_fd().as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let field = |name| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
            .with_context(|| format!("no {name} in fdinfo"))
    };
    Ok((field("run_cnt:")?, field("run_time_ns:")?))
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Loads a program of an object.
fn load_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut PerfEvent> {
    let program: &mut PerfEvent = ebpf.program_mut(name).context("no such program")?.try_into()?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}
