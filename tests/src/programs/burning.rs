//! A test program under way: started, watched, stopped, and asked what it measured.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde::Deserialize;

use super::Program;
use crate::{
    cpu,
    process::{self, Running},
};

const SERVICE: &str = "OTEL_SERVICE_NAME";

/// A program that burns until it is stopped.
#[derive(Debug)]
pub struct Burning {
    name: String,
    running: Running,
    stdin: ChildStdin,
    lines: Receiver<String>,
    _log: tempfile::TempDir,
}

/// What a program says about itself at its end.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Process id.
    pub pid: u32,
    /// Its threads that burned.
    pub threads: Vec<Thread>,
    /// CPU time of these threads as the kernel's scheduler counts it, nanoseconds; none where the
    /// threads are gone. Filled by the harness.
    #[serde(skip)]
    pub schedstat_ns: Option<u64>,
    /// The same of all threads that the process has at its end, also those of a language's runtime.
    #[serde(skip)]
    pub process_ns: Option<u64>,
}

/// One thread's measurement.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// CPU time of the thread, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time by function, nanoseconds.
    pub parts: BTreeMap<String, u64>,
}

// === impl Burning ===

impl Burning {
    /// Starts a program with so many burning threads.
    ///
    /// # Panics
    /// When it does not say that it is ready.
    pub fn start(program: Program, threads: u32) -> Self {
        Self::start_file(&program.path(), threads, &[])
    }

    /// Starts an executable that follows the programs' protocol, with more environment variables.
    ///
    /// # Panics
    /// When it does not say that it is ready.
    pub fn start_file(path: &Path, threads: u32, env: &[(&str, &str)]) -> Self {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let mut command = process::command(path);
        command.envs(env.iter().copied()).args(["--threads", &threads.to_string()]);
        Self::start_command(name, command)
    }

    /// Starts a command, made by [`process::command`], that follows the programs' protocol.
    ///
    /// # Panics
    /// When it does not say that it is ready.
    pub fn start_command(name: String, mut command: Command) -> Self {
        let log = tempfile::tempdir().expect("a temporary folder");
        // The service is named by a rule under test: the caller's own environment must not decide.
        if !command.get_envs().any(|(name, _)| name == SERVICE) {
            command.env_remove(SERVICE);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&name, &mut command, &log.path().join("stderr"));
        let stdin = running.child().stdin.take().expect("it was asked for");
        let stdout = running.child().stdout.take().expect("it was asked for");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut burning = Self { name, running, stdin, lines, _log: log };
        let ready = burning.line(Duration::from_secs(30));
        assert!(ready.contains("\"ready\":true"), "{} said {ready:?}", burning.name);
        burning
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// File name, also the `comm` of its threads.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets it burn no more for now.
    pub fn pause(&mut self) {
        self.running.signal(Signal::STOP);
    }

    /// Lets it burn on.
    pub fn resume(&mut self) {
        self.running.signal(Signal::CONT);
    }

    /// Ends the burning; the threads stay, asleep, until this is dropped.
    ///
    /// # Panics
    /// When there is no report, or the program's clock disagrees with the kernel's scheduler.
    pub fn stop(&mut self) -> Report {
        self.stdin.write_all(b"\n").expect("the program reads its stdin");
        let line = self.line(Duration::from_secs(60));
        let mut report: Report = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name));
        let counted: Option<Vec<u64>> =
            report.threads.iter().map(|thread| cpu::thread_ns(report.pid, thread.tid)).collect();
        // The storm's "thread" is its children, which are gone: its main thread hardly ran.
        report.schedstat_ns =
            counted.filter(|_| self.name != Program::Storm.name()).map(|all| all.iter().sum());
        report.process_ns = cpu::process_ns(report.pid);
        if let Some(counted) = report.schedstat_ns {
            let (own, counted) = (report.cpu_ns() as f64, counted as f64);
            assert!(
                (own / counted - 1.0).abs() < 0.01,
                "{}: own clock {own}, schedstat {counted}",
                self.name
            );
        }
        report
    }

    fn line(&mut self, bound: Duration) -> String {
        self.lines.recv_timeout(bound).unwrap_or_else(|error| {
            panic!(
                "{} said nothing within {bound:?} ({error}):\n{}",
                self.name,
                self.running.tail()
            )
        })
    }
}

// === impl Report ===

impl Report {
    /// CPU time of all its threads, as measured by itself, nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.threads.iter().map(|thread| thread.cpu_ns).sum()
    }

    /// Share of each function in this CPU time.
    pub fn shares(&self) -> BTreeMap<&str, f64> {
        let mut shares = BTreeMap::new();
        let total = self.cpu_ns() as f64;
        for (name, ns) in self.threads.iter().flat_map(|thread| &thread.parts) {
            *shares.entry(name.as_str()).or_default() += *ns as f64 / total;
        }
        shares
    }
}

/// Copies an executable, starts the copy and deletes its file.
///
/// # Panics
/// When that fails.
pub fn start_deleted(program: Program, name: &str) -> Burning {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    fs::copy(program.path(), &path).expect("a copy of the program");
    let burning = Burning::start_file(&path, 1, &[]);
    fs::remove_file(&path).expect("the copy is ours to delete");
    burning
}
