//! `make run` as a newcomer has it: the script with the real binaries.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use fleetprof_tests::{
    binaries, http,
    machine::{free_port, machine},
    metrics::Metrics,
    process::{self, Running},
    programs::{Burning, Program},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};

/// Processes that work in a folder, by their command lines; killed when a test leaves some behind.
struct WorkingIn(PathBuf);

impl WorkingIn {
    fn pids(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir("/proc").expect("the processes of this machine").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let here = self.0.to_str().expect("a name in UTF-8");
        pids.filter_map(|pid: i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(here).then_some((pid, line))
        })
        .collect()
    }
}

impl Drop for WorkingIn {
    fn drop(&mut self) {
        for (pid, line) in self.pids() {
            eprintln!("ending {pid}: {line}");
            if let Some(pid) = Pid::from_raw(pid) {
                // It may be gone by now.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Starts `make run` without its build, for 20 seconds.
fn start(data: &Path, log: &Path, port: u16, metrics_port: u16) -> Running {
    let binaries = binaries::path("fleetprof");
    let mut command =
        process::command(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/run.sh"));
    command.env("FLEETPROF_BIN_DIR", binaries.parent().expect("a folder"));
    command.env("RUN_DATA", data).env("RUN_FOR", "20s");
    command.env("PORT", port.to_string()).env("METRICS_PORT", metrics_port.to_string());
    Running::daemon("make run", &mut command, log)
}

// Check what a newcomer sees first: the busiest service and its functions by name, at the rate that nobody
// asked to change; and that the machine is afterwards as it was.
#[test]
fn make_run_names_services_and_functions_and_leaves_nothing_behind() {
    let _machine = machine();
    let _load = Burning::start(Program::C, 2);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let (port, metrics_port) = (free_port(), free_port());
    let working = WorkingIn(data.clone());
    let mut script = start(&data, &dir.path().join("log"), port, metrics_port);
    let frequency = wait::until("the agent's metrics", Duration::from_secs(60), || {
        script.check_alive();
        let answer = http::get(metrics_port, "/metrics").ok().filter(|it| it.status == 200)?;
        Metrics::parse(&answer.text()).sum("fleetprof_agent_frequency_hertz")
    });
    assert_eq!(frequency, 19.0);
    let status = script.wait(Duration::from_secs(120));
    let said = script.log();
    assert!(status.success(), "{status}:\n{said}");
    let (_, last) = said.rsplit_once("[final, after").expect("a final table");
    // Those that the CPU is spent in: their callers have no time of their own, and may be below the fold.
    for name in ["split-c", "burn_hash", "burn_walk"] {
        assert!(last.contains(name), "{name} is not in the final table:\n{said}");
    }
    assert_eq!(working.pids(), [], "left running");
    assert_eq!(http::status(port, "/healthz"), None, "somebody still listens");
    // What the agent keeps is where the data is.
    for folder in ["spool", "unwind"] {
        assert!(data.join(folder).is_dir(), "no {folder} in {}", data.display());
    }
}
