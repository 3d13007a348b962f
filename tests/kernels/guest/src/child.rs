//! A program under observation.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Ends with this value at the latest.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    deadline: Instant,
}

/// How long anything may take in an emulated machine on a busy host. Only a failure waits that long.
const PATIENCE: Duration = Duration::from_secs(90);

impl Running {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start the test program {}", program.display()))?;
        Ok(Self { child, deadline: Instant::now() + PATIENCE })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, `None` while it runs.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for the test program")
    }

    /// An error when this has been going on for too long.
    pub(crate) fn check_patience(&self, what: &str) -> anyhow::Result<()> {
        if Instant::now() > self.deadline {
            bail!("no {what} within {} s", PATIENCE.as_secs());
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("test program {} cannot be ended: {error}", self.child.id());
        }
    }
}
