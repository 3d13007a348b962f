//! A small file system of its own, for what only a real disk does. Needs root, as the agent does.

use std::{path::Path, process::Command};

use tempfile::TempDir;

pub(in crate::stream) struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// Mounts one with these options, such as `size=64k`.
    pub(in crate::stream) fn new(options: &str) -> Self {
        let mounted = Self { dir: TempDir::new().unwrap() };
        mounted.mount(options);
        mounted
    }

    pub(in crate::stream) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(in crate::stream) fn make_read_only(&self) {
        self.mount("remount,ro");
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "fleetprof-test"]).arg(self.path());
        let output = mount.output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "these tests mount file systems and need root: {message}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.path()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}
