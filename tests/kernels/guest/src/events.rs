//! The sampler alone: programs load, process events, the number of samples, the accounts.
//!
//! One program is started, burns a known CPU time and exits, while every process is sampled at the rate
//! that `run` uses.

use std::{
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use fleetprof_agent::sampler::{Event, MappedFile, Mapping, ProcessEvent, Sampler, SamplerConfig};

use crate::{child::Running, programs, report::Report, symbols::Symbols};

/// CPU time the program burns. At 19 Hz, 50 ms apart, few samples are late even on a busy host.
const BURN_MILLIS: u64 = 3000;

/// What was seen of one process.
#[derive(Debug, Default)]
struct Seen {
    pid: u32,
    events: Vec<ProcessEvent>,
    /// Start times that samples came with.
    starts_ns: Vec<u64>,
    samples: u64,
    /// Samples of all processes.
    received: u64,
    /// Ticks after boot, from `/proc`.
    started_ticks: u64,
}

/// Runs all checks of this module.
pub(crate) fn check(report: &mut Report, program: &Path) {
    let config = SamplerConfig::default();
    let mut sampler = match Sampler::start(&config) {
        Ok(sampler) => sampler,
        Err(error) => return report.check::<&str, _>("programs_load", Err(error)),
    };
    let source = format!("{:?} on {} CPUs", sampler.event_source(), sampler.cpus().count());
    report.check::<_, &str>("programs_load", Ok(source));
    programs::check(report);
    match watch(&mut sampler, program) {
        Ok(seen) => {
            report.check("process_events", seen.lifecycle());
            report.check("mapping", seen.mapping(program, sampler.has_kernel_build_ids()));
            report.check("samples_expected", seen.rate(config.frequency_hz));
            report.check("process_start", seen.start());
            report.check("accounting", balance(&sampler, seen.received));
        }
        Err(error) => report.check::<&str, _>("process_events", Err(error)),
    }
}

/// Runs the program to its end, then hands out all that is left.
fn watch(sampler: &mut Sampler, program: &Path) -> anyhow::Result<Seen> {
    let mut child = Running::start(program, &[&BURN_MILLIS.to_string()])?;
    let mut seen = Seen { pid: child.pid(), ..Seen::default() };
    let stat = procfs::process::Process::new(child.pid().try_into()?)?.stat();
    seen.started_ticks = stat.context("cannot read the program's /proc/PID/stat")?.starttime;
    while !seen.has_exited() {
        child.check_patience("exit event")?;
        child.ended()?;
        sampler.wait(Duration::from_millis(100))?;
        seen.take(sampler)?;
    }
    sampler.stop_sampling();
    seen.take(sampler)?;
    Ok(seen)
}

fn balance(sampler: &Sampler, received: u64) -> anyhow::Result<String> {
    let counters = sampler.counters()?;
    let ended: u64 = counters.results().map(|(_, count)| count).sum();
    let text =
        format!("{} taken, {received} received, {} dropped", counters.taken, counters.dropped());
    ensure!(received > 0, "no sample was received: {text}");
    ensure!(counters.taken == ended, "{ended} samples have a result: {text}");
    ensure!(counters.taken == received + counters.dropped(), "samples are missing: {text}");
    Ok(text)
}

// === impl Seen ===

impl Seen {
    fn take(&mut self, sampler: &mut Sampler) -> anyhow::Result<()> {
        sampler.poll(&mut |event| match event {
            Event::Process(event) if event.pid() == Some(self.pid) => self.events.push(event),
            Event::Process(_) => {}
            Event::Sample(sample) => {
                self.received += 1;
                if sample.pid == self.pid {
                    self.samples += 1;
                    self.starts_ns.push(sample.start_boottime_ns);
                }
            }
        })?;
        Ok(())
    }

    fn has_exited(&self) -> bool {
        self.events.iter().any(|event| matches!(event, ProcessEvent::Exit { .. }))
    }

    /// Fork, exec, mmap and exit, in this order.
    fn lifecycle(&self) -> anyhow::Result<String> {
        let mut kinds: Vec<&str> = self.events.iter().map(kind).collect();
        kinds.dedup();
        let [ProcessEvent::Fork { parent_pid, .. }, ..] = self.events.as_slice() else {
            bail!("the first event is not the fork: {kinds:?}");
        };
        ensure!(*parent_pid == std::process::id(), "forked by {parent_pid}, not by this process");
        ensure!(kinds == ["fork", "exec", "mmap", "exit"], "{kinds:?}");
        ensure!(
            self.events.is_sorted_by_key(ProcessEvent::time_ns),
            "out of order: {:?}",
            self.events
        );
        Ok(kinds.join(" "))
    }

    /// The executable's mapping is reported with the file's identity.
    fn mapping(&self, program: &Path, with_build_ids: bool) -> anyhow::Result<String> {
        let path = program.as_os_str().as_bytes();
        let is_it = |mapping: &&Mapping| mapping.path == path;
        let mapping = self.events.iter().filter_map(as_mapping).find(is_it);
        let mapping = mapping.with_context(|| format!("{} is not mapped", program.display()))?;
        match mapping.file {
            MappedFile::BuildId(id) => {
                ensure!(with_build_ids, "a build ID, though the sampler says that there are none");
                let symbols = Symbols::read(program)?;
                ensure!(symbols.build_id == id.as_bytes(), "build ID {id:?} is another file's");
                Ok(format!("build ID {id:?}"))
            }
            MappedFile::Inode(file) => {
                ensure!(
                    !with_build_ids,
                    "no build ID, though the sampler says that there are some"
                );
                let inode = program.metadata()?.ino();
                ensure!(file.inode == inode, "inode {} instead of {inode}", file.inode);
                Ok(format!("inode {inode}, no build ID"))
            }
        }
    }

    /// One sample per period of CPU time. A period that a busy host takes away is one sample less.
    fn rate(&self, frequency_hz: u32) -> anyhow::Result<String> {
        let expected = BURN_MILLIS * u64::from(frequency_hz) / 1000;
        let text = format!("{} of {expected}", self.samples);
        let range = expected * 3 / 4..=expected * 9 / 8;
        ensure!(range.contains(&self.samples), "{text}, should be in {range:?}");
        Ok(text)
    }

    /// Samples say when their process started, as `/proc` does.
    fn start(&self) -> anyhow::Result<String> {
        let first = *self.starts_ns.first().context("no samples")?;
        ensure!(self.starts_ns.iter().all(|start| *start == first), "{:?}", self.starts_ns);
        // USER_HZ is 100 everywhere.
        let (ticks, expected) = (first / 10_000_000, self.started_ticks);
        ensure!(ticks == expected, "{ticks} ticks after boot, /proc says {expected}");
        Ok(format!("{ticks} ticks after boot"))
    }
}

fn kind(event: &ProcessEvent) -> &'static str {
    match event {
        ProcessEvent::Fork { .. } => "fork",
        ProcessEvent::Exec { .. } => "exec",
        ProcessEvent::Mmap(_) => "mmap",
        ProcessEvent::Exit { .. } => "exit",
        ProcessEvent::Lost { .. } => "lost",
    }
}

fn as_mapping(event: &ProcessEvent) -> Option<&Mapping> {
    match event {
        ProcessEvent::Mmap(mapping) => Some(mapping),
        _ => None,
    }
}
