//! `fleetprof-collector` as a child process.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    binaries, http, machine,
    metrics::Metrics,
    process::{self, Running},
    wait,
};

/// How long a start may take: the first one of a build reads a cold binary.
const START: Duration = Duration::from_secs(30);
/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(30);

/// What a collector is started with beyond a port and a folder.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A collector on a port of its own.
#[derive(Debug)]
pub struct Collector {
    running: Running,
    port: u16,
}

/// The command that starts a collector.
pub fn command(port: u16, data_dir: &Path) -> Command {
    let mut command = process::command(binaries::path("fleetprof-collector"));
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).arg("--data-dir").arg(data_dir);
    command
}

// === impl Collector ===

impl Collector {
    /// Starts one that keeps its data in `dir/data` and its log in `dir/collector.log`, and waits until
    /// it is ready.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub fn start(dir: &Path) -> Self {
        Self::start_at(machine::free_port(), dir)
    }

    /// As [`Collector::start`], on a given port.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub fn start_at(port: u16, dir: &Path) -> Self {
        let mut collector = Self::launch(port, dir);
        collector.wait_ready();
        collector
    }

    /// Starts one and does not wait.
    ///
    /// # Panics
    /// When the executable cannot be started.
    pub fn launch(port: u16, dir: &Path) -> Self {
        Self::launch_with(port, dir, &Setup::default())
    }

    /// As [`Collector::launch`], with more.
    ///
    /// # Panics
    /// When the executable cannot be started.
    pub fn launch_with(port: u16, dir: &Path, setup: &Setup) -> Self {
        let mut command = command(port, &dir.join("data"));
        command.args(&setup.arguments).envs(setup.environment.iter().cloned());
        let running = Running::daemon("the collector", &mut command, &dir.join("collector.log"));
        Self { running, port }
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    /// When it does not, or when the process ends.
    pub fn wait_ready(&mut self) {
        wait::until("the collector to be ready", START, || {
            self.running.check_alive();
            (http::status(self.port, "/readyz") == Some(200)).then_some(())
        });
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as an agent or the command line wants it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// One scrape of `/metrics`.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn metrics(&self) -> Metrics {
        let response = http::get(self.port, "/metrics").expect("the collector answers");
        assert_eq!(response.status, 200, "{}", response.text());
        Metrics::parse(&response.text())
    }

    /// Checks that it is alive and ready: whatever was done to it did no harm.
    ///
    /// # Panics
    /// When not.
    pub fn check_unharmed(&mut self) {
        self.running.check_alive();
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(
                http::status(self.port, path),
                Some(200),
                "{path}:\n{}",
                self.running.tail()
            );
        }
        let log = self.running.log();
        assert!(!log.contains("panicked at"), "the collector panicked:\n{}", self.running.tail());
    }

    /// SIGTERM, and checks that it ends well.
    ///
    /// # Panics
    /// When not.
    pub fn stop(mut self) {
        let status = self.running.terminate(STOP);
        assert!(status.success(), "the collector ended with {status}:\n{}", self.running.tail());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.running.kill();
    }
}
