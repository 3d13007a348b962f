//! `fleetprof-agent record`.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    binaries,
    pprof::Profile,
    process::{self, Finished},
};

/// A recording that succeeded.
#[derive(Debug)]
pub struct Recorded {
    /// What it holds.
    pub profile: Profile,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What the command said.
    pub output: Finished,
}

/// The command line of a recording.
pub fn command(duration: Duration, output: &Path, more: &[&str]) -> Command {
    let mut command = process::command(binaries::path("fleetprof-agent"));
    command.args(["record", "--duration", &format!("{}ms", duration.as_millis()), "--output"]);
    command.arg(output).args(more);
    command
}

/// Records this machine.
///
/// # Panics
/// When it fails, or takes two minutes longer than it should.
pub fn record(duration: Duration, more: &[&str]) -> Recorded {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("out.pb.gz");
    let mut command = command(duration, &file, more);
    let output = process::run(&mut command, duration + Duration::from_secs(120));
    assert!(output.status.success(), "record failed ({}):\n{}", output.status, output.stderr);
    let bytes = fs::read(&file).expect("record wrote its output");
    Recorded { profile: Profile::read(&bytes), bytes, output }
}
