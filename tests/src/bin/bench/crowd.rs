//! What the agent costs among 1,000 processes of several programs, most of them asleep and all of them
//! sampled now and then: after its start, in the steady state, and in a storm of short-lived ones.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use fleetprof_tests::{
    agent::{Agent, Options},
    collector::Collector,
    cpu::{self, Meter},
    machine,
    process::{self, Running},
    programs::{self, Burning, Program},
};

use crate::{
    Effort,
    agent::{WINDOW, cpu_share, pass, steady},
    load, memory, perf,
    report::Report,
};

/// Processes in all.
const PROCESSES: usize = 1000;
/// Of these, with large runtimes.
const PYTHON: usize = 50;
const NODE: usize = 5;
/// Mean sleep of a process, milliseconds.
const SLEEP_MS: usize = 2000;
/// Of the machine's CPU: the processes keep it busy, but nearly never wait for it.
const BUSY: f64 = 0.9;
/// What counts as the start.
const START: Duration = Duration::from_secs(10);
/// After so many samples most processes had one.
const MOST_SAMPLED: u64 = 2 * PROCESSES as u64;

/// A script for Node that burns and sleeps as the others do.
const NODE_SCRIPT: &str = "const [burn, mean] = process.argv.slice(1).map(Number);
const work = (depth, end) => {
  if (depth > 0) return work(depth - 1, end) + depth;
  let sum = 0;
  while (process.cpuUsage().user < end) for (let i = 0; i < 1000; i++) sum += JSON.stringify({ i }).length;
  return sum;
};
const next = () => setTimeout(() => { work(8, process.cpuUsage().user + burn); next(); }, Math.random() * 2 * mean);
next();";

/// The processes; they end with it.
struct Crowd {
    _processes: Vec<Running>,
    _dir: tempfile::TempDir,
}

/// Measures every rate on one crowd, then perf.
pub(crate) fn measure(report: &mut Report, rates: &[u32], effort: Effort) {
    let started = Instant::now();
    let _crowd = Crowd::start(report);
    pass(Duration::from_secs(3), &mut |_| {});
    eprintln!("  {PROCESSES} processes run after {:.0} s", started.elapsed().as_secs_f64());
    for (index, rate) in rates.iter().enumerate() {
        watch(report, *rate, effort, index == 0);
    }
    let Some(rate) = rates.first() else { return };
    let label = format!("perf record, {PROCESSES} processes, {rate} Hz");
    perf::beside(report, &label, *rate, Effort { rounds: 1, ..effort });
}

/// One agent from its start on.
fn watch(report: &mut Report, rate: u32, effort: Effort, with_storm: bool) {
    let label = format!("agent, {PROCESSES} processes, {rate} Hz");
    eprintln!("{label}");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(dir.path());
    let mut options = Options::new(&collector.url(), dir.path()).at(rate).without_uploads();
    options.window = WINDOW;
    let started = Instant::now();
    let mut agent = Agent::start(&options);
    let first = started.elapsed().as_secs_f64();
    report.add(format!("{label}: first sample after"), "s", vec![first]);
    pass(START.saturating_sub(started.elapsed()), &mut |_| {});
    let pid = agent.process().pid();
    let seconds = cpu::process_seconds(pid).unwrap_or(f64::NAN);
    report.add(format!("{label}: CPU of the first 10 s"), "s", vec![seconds]);
    report.add(format!("{label}: memory (RSS) after 10 s"), "MB", vec![memory::rss(pid)]);
    wait_until_most_are_known(&mut agent, rate);
    steady(report, &label, pid, effort);
    memory::report(report, &label, &mut agent);
    if with_storm {
        storm(report, &label, pid, effort.span);
    }
    tell(report, &label, &mut agent);
    agent.stop();
    collector.stop();
}

/// The steady state is there when the processes are known.
fn wait_until_most_are_known(agent: &mut Agent, rate: u32) {
    let per_second = u64::from(rate) * machine::cpus() as u64;
    let bound = Duration::from_secs(2 * MOST_SAMPLED / per_second.max(1));
    agent.wait_ledger("most processes to be sampled", bound, |ledger| ledger.taken >= MOST_SAMPLED);
}

/// The agent's CPU while a program forks and executes another one all the time.
fn storm(report: &mut Report, label: &str, pid: u32, span: Duration) {
    let _storm = Burning::start(Program::Storm, 1);
    let before = forks();
    let busy = cpu_share(&mut Meter::new(pid), span);
    let rate = (forks() - before) / span.as_secs_f64();
    report.add(format!("{label}, and a storm: CPU"), "% of a core", vec![busy]);
    report.add(format!("{label}, and a storm: processes started"), "1/s", vec![rate]);
}

/// Whether the load was what it should be.
fn tell(report: &mut Report, label: &str, agent: &mut Agent) {
    let ledger = agent.ledger();
    let metrics = agent.try_metrics().expect("the agent answers");
    let gauge = |name: &str| metrics.sum(name).unwrap_or(f64::NAN);
    let results = "fleetprof_agent_samples_results_total";
    let complete = metrics.with_label(results, "result", "complete").unwrap_or(f64::NAN);
    report.note(format!(
        "{label}: knows {} processes, {} of them in the kernel, {} unwind tables; {} samples taken, \
         {:.1} % of them complete, {} dropped",
        gauge("fleetprof_agent_processes"),
        gauge("fleetprof_agent_unwind_processes"),
        gauge("fleetprof_agent_unwind_tables"),
        ledger.taken,
        100.0 * complete / ledger.taken as f64,
        ledger.dropped_total()
    ));
}

/// Processes and threads started since the machine was.
fn forks() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("processes "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(f64::NAN)
}

// === impl Crowd ===

impl Crowd {
    fn start(report: &mut Report) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut programs = Vec::new();
        match load::python() {
            Some(python) => {
                let script = programs::busy_script();
                programs.extend((0..PYTHON).map(|_| command(&python, &[script.as_os_str()])));
            }
            None => report.note("no python3 here: the crowd is of C++ programs instead"),
        }
        match machine::find("node") {
            Some(node) => {
                let arguments = ["-e".as_ref(), NODE_SCRIPT.as_ref()];
                programs.extend((0..NODE).map(|_| command(&node, &arguments)));
            }
            None => report.note("no node here: the crowd is of C++ programs instead"),
        }
        let crowd = programs::crowd();
        let others = crowd.iter().cycle().take(PROCESSES - programs.len());
        programs.extend(others.map(|path| command(path, &[])));
        let log = dir.path().join("log");
        let start = |mut command: Command| Running::daemon("one of the crowd", &mut command, &log);
        Self { _processes: programs.into_iter().map(start).collect(), _dir: dir }
    }
}

/// A program that burns its share and sleeps.
fn command(program: &Path, arguments: &[&std::ffi::OsStr]) -> Command {
    let burn_us = BUSY * machine::cpus() as f64 * SLEEP_MS as f64 * 1000.0 / PROCESSES as f64;
    let mut command = process::command(program);
    command.args(arguments).arg(format!("{burn_us:.0}")).arg(SLEEP_MS.to_string());
    command
}
