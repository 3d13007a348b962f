//! `perf`, the profiler of independent origin that stands beside ours.

use std::{
    collections::HashMap, os::unix::process::ExitStatusExt as _, path::Path, process::Stdio,
    time::Duration,
};

use crate::{
    machine,
    process::{self, Running},
};

/// A `perf record` under way.
#[derive(Debug)]
pub struct Recording {
    running: Running,
    dir: tempfile::TempDir,
}

/// Innermost function of every sample of one command: share of its samples by name.
pub type Shares = HashMap<String, f64>;

/// What an interrupted perf dies of, once its file is written.
const SIGINT: i32 = 2;

const REMEDY: &str = "apt-get install linux-perf (Debian), which `make setup` does";

// === impl Recording ===

impl Recording {
    /// Starts recording the whole machine with frame pointers, until [`Recording::finish`].
    ///
    /// # Panics
    /// When perf is missing or cannot be started.
    pub fn start(frequency: u32) -> Self {
        Self::start_of(&["-a"], frequency)
    }

    /// The same of some processes. What others map, perf's `script` does not have to read: it dies of
    /// some build IDs.
    ///
    /// # Panics
    /// As [`Recording::start`].
    pub fn of_processes(pids: &[u32], frequency: u32) -> Self {
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        Self::start_of(&["-p", &pids.join(",")], frequency)
    }

    fn start_of(what: &[&str], frequency: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = process::command(machine::tool("perf", REMEDY));
        command.args(["record", "-q", "-e", "cpu-clock", "-F", &frequency.to_string()]).args(what);
        // At its end perf reads the build IDs of all files that were mapped, and dies of one that a
        // compiler has just removed.
        command
            .args(["--call-graph", "fp", "--no-buildid", "-o"])
            .arg(dir.path().join("perf.data"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let running = Running::start("perf", &mut command, &dir.path().join("perf.log"));
        Self { running, dir }
    }

    /// The process that records.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Ends it and gives the shares of each command's innermost functions, inlined calls not told apart.
    ///
    /// # Panics
    /// When perf fails, or saw nothing of a command.
    pub fn finish<const N: usize>(mut self, comms: &[&str; N]) -> [Shares; N] {
        self.running.check_alive();
        // perf treats an interrupt as the ordinary end.
        self.running.signal(rustix::process::Signal::INT);
        let status = self.running.wait(Duration::from_secs(60));
        let is_ordinary = status.success() || status.signal() == Some(SIGINT);
        assert!(is_ordinary, "perf record ended with {status}:\n{}", self.running.log());
        comms.map(|comm| leaves(&self.dir.path().join("perf.data"), comm))
    }
}

fn leaves(data: &Path, comm: &str) -> Shares {
    let mut command = process::command(machine::tool("perf", REMEDY));
    command.args(["script", "--no-inline", "-F", "comm,ip,sym", "--comms", comm, "-i"]).arg(data);
    let text = process::run(&mut command, Duration::from_secs(120)).success("perf script");
    let mut counts: HashMap<String, f64> = HashMap::new();
    // One paragraph per sample: the command, then `  address function` per frame, innermost first.
    for sample in text.split("\n\n").filter(|sample| !sample.trim().is_empty()) {
        let frame = sample.lines().map(str::trim).filter(|line| !line.is_empty()).nth(1);
        let function =
            frame.and_then(|frame| frame.split_once(' ')).map_or("[unknown]", |(_, name)| name);
        *counts.entry(function.to_owned()).or_default() += 1.0;
    }
    let total: f64 = counts.values().sum();
    assert!(total > 0.0, "perf saw no sample of {comm}");
    counts.values_mut().for_each(|count| *count /= total);
    counts
}
