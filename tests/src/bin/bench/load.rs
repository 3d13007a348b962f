//! The loads that the agent is measured on.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use fleetprof_tests::{
    machine, process,
    programs::{self, Burning},
};

use crate::report::Report;

/// Frames of the C++ program of [`busy_host`].
pub(crate) const FRAMES: u32 = 45;

/// The load on which lightswitch was measured: every core is busy, one with Python, the others with a
/// C++ program without frame pointers, [`FRAMES`] deep.
pub(crate) fn busy_host(report: &mut Report) -> Vec<Burning> {
    let cores = u32::try_from(machine::cpus()).expect("few cores");
    let Some(python) = python() else {
        report.note("no python3 here: its core ran the C++ program as well");
        return vec![frames(FRAMES, cores)];
    };
    let mut script = process::command(&python);
    script.arg(programs::busy_script());
    let name = "python3".to_owned();
    vec![frames(FRAMES, (cores - 1).max(1)), Burning::start_command(name, script)]
}

/// Threads in stacks of so many frames.
pub(crate) fn frames(count: u32, threads: u32) -> Burning {
    Burning::start_file(&programs::frames(count), threads, &[])
}

/// The interpreter itself: what is on `PATH` may be a script that looks for it.
pub(crate) fn python() -> Option<PathBuf> {
    let found = machine::find("python3")?;
    let output = Command::new(found).args(["-c", "import sys; print(sys.executable)"]).output();
    let path = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(Path::new(path.trim()).to_owned()).filter(|path| path.is_file())
}
