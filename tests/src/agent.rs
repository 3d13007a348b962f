//! `fleetprof-agent run` as a child process.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    binaries, http, machine,
    metrics::{Ledger, Metrics},
    process::{self, Running},
    wait,
};

/// How long a start may take: it loads eBPF programs and reads all of /proc.
const START: Duration = Duration::from_secs(60);
/// How long a clean stop may take: it delivers what it still holds.
const STOP: Duration = Duration::from_secs(60);

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it delivers.
    pub collector: String,
    /// Samples per second and CPU.
    pub frequency: u32,
    /// Span of one batch.
    pub window: Duration,
    /// Folder of its spool.
    pub spool: PathBuf,
    /// Folder of its unwind tables.
    pub unwind_cache: PathBuf,
    /// File of its log.
    pub log: PathBuf,
    /// Further arguments.
    pub more: Vec<String>,
}

/// An agent that samples this machine.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    metrics_port: u16,
}

// === impl Options ===

impl Options {
    /// 199 Hz and windows of a second, so that a test of seconds sees many batches; everything it writes
    /// is in `dir`.
    pub fn new(collector: &str, dir: &Path) -> Self {
        Self {
            collector: collector.to_owned(),
            frequency: 199,
            window: Duration::from_secs(1),
            spool: dir.join("spool"),
            unwind_cache: dir.join("unwind"),
            log: dir.join("agent.log"),
            more: Vec::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.more.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Uploads nothing: for tests of a small disk.
    #[must_use]
    pub fn without_uploads(self) -> Self {
        self.with(&["--upload-rate", "0"])
    }

    /// Sets the rate.
    #[must_use]
    pub fn at(mut self, frequency: u32) -> Self {
        self.frequency = frequency;
        self
    }

    /// The command line, with `/metrics` on a port.
    pub fn command(&self, metrics_port: u16) -> Command {
        let mut command = process::command(binaries::path("fleetprof-agent"));
        command.args(["run", "--collector", &self.collector]);
        command.args(["--frequency", &self.frequency.to_string()]);
        command.arg("--window").arg(format!("{}ms", self.window.as_millis()));
        command.arg("--spool-dir").arg(&self.spool);
        command.arg("--unwind-cache-dir").arg(&self.unwind_cache);
        command.arg("--metrics-listen").arg(format!("127.0.0.1:{metrics_port}"));
        command.args(&self.more);
        command
    }
}

// === impl Agent ===

impl Agent {
    /// Starts one and waits until it has taken samples.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn start(options: &Options) -> Self {
        let mut agent = Self::launch(options);
        wait::until("the agent to take samples", START, || {
            agent.running.check_alive();
            agent.try_metrics().filter(|metrics| metrics.ledger().taken > 0)
        });
        agent
    }

    /// Starts one and does not wait.
    ///
    /// # Panics
    /// When the executable cannot be started.
    pub fn launch(options: &Options) -> Self {
        let metrics_port = machine::free_port();
        let mut command = options.command(metrics_port);
        Self { running: Running::daemon("the agent", &mut command, &options.log), metrics_port }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Port of `/metrics`.
    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// One scrape of `/metrics`; none when there is no answer.
    ///
    /// # Panics
    /// When the answer is an error.
    pub fn try_metrics(&self) -> Option<Metrics> {
        let response = http::get(self.metrics_port, "/metrics").ok()?;
        assert_eq!(response.status, 200, "{}", response.text());
        Some(Metrics::parse(&response.text()))
    }

    /// The ledger of one scrape, checked.
    ///
    /// # Panics
    /// When there is no answer or the books do not balance.
    pub fn ledger(&mut self) -> Ledger {
        self.running.check_alive();
        let ledger = self.try_metrics().expect("the agent answers").ledger();
        ledger.check();
        ledger
    }

    /// Waits until a condition on the ledger holds; every scrape is checked.
    ///
    /// # Panics
    /// When it does not hold in time, or the books do not balance.
    pub fn wait_ledger(
        &mut self,
        what: &str,
        bound: Duration,
        holds: impl Fn(&Ledger) -> bool,
    ) -> Ledger {
        let mut last = None;
        wait::within(bound, || {
            let ledger = self.ledger();
            let done = holds(&ledger).then(|| ledger.clone());
            last = Some(ledger);
            done
        })
        .unwrap_or_else(|| panic!("waited {bound:?} for {what}: {last:?}\n{}", self.running.tail()))
    }

    /// SIGTERM, and checks that it ends well.
    ///
    /// # Panics
    /// When not.
    pub fn stop(mut self) {
        let status = self.running.terminate(STOP);
        assert!(status.success(), "the agent ended with {status}:\n{}", self.running.tail());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.running.kill();
    }
}
