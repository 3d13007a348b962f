//! The busy processes.

use std::process::{Child, Command};

use anyhow::{Context as _, ensure};

/// The compiled program, removed when dropped.
pub(crate) struct Program {
    dir: tempfile::TempDir,
}

/// A running process, killed when dropped.
pub(crate) struct Process(Child);

/// Compiles `load.c` with frame pointers.
pub(crate) fn build() -> anyhow::Result<Program> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("load.c");
    std::fs::write(&source, include_str!("load.c"))?;
    let status = Command::new("cc")
        .args(["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
        .arg(dir.path().join("load"))
        .arg(&source)
        .status()
        .context("cannot run cc")?;
    ensure!(status.success(), "cc failed");
    Ok(Program { dir })
}

impl Program {
    pub(crate) fn start(&self, load: &str, processes: usize) -> anyhow::Result<Vec<Process>> {
        (0..processes)
            .map(|seed| {
                let mut command = Command::new(self.dir.path().join("load"));
                Ok(Process(command.args([load, &(seed + 1).to_string()]).spawn()?))
            })
            .collect()
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
