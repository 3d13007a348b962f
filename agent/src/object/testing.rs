//! What the tests of this and of the neighbouring modules share: programs built from source, and
//! processes that say when they are ready.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use fleetprof_proto::ids::{BuildId, BuildIdKind};

use super::{DeviceId, FileId, Place, Registry, RegistryConfig};
use crate::process::parse;

/// One that waits as long as a busy test machine may take.
pub(crate) fn registry() -> Registry {
    let patience = Duration::from_secs(600);
    Registry::new(&RegistryConfig { patience, ..RegistryConfig::default() })
}

/// Prints "ready", then waits until its input ends.
pub(crate) const WAITER: &str = r#"
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char byte;
    puts("ready");
    fflush(stdout);
    while (read(0, &byte, 1) > 0) { }
    return 0;
}
"#;

/// Compiles a C program with gcc.
pub(crate) fn compile(directory: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let input = directory.join(format!("{name}.c"));
    let output = directory.join(name);
    fs::write(&input, source).unwrap();
    let status = Command::new("gcc").arg("-o").arg(&output).arg(&input).args(flags).status();
    assert!(status.unwrap().success(), "gcc failed");
    output
}

/// The build ID that binutils finds.
pub(crate) fn readelf_build_id(path: &Path) -> BuildId {
    let output = Command::new("readelf").arg("-nW").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let hex = text.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect();
    BuildId::new(BuildIdKind::Gnu, &bytes).unwrap()
}

/// A process that ends with its owner.
pub(crate) struct Running {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Starts a program and waits for its first line, "ready".
    pub(crate) fn ready(command: &mut Command) -> Self {
        let mut running = Self::start(command);
        assert_eq!(running.line(), "ready");
        running
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn say(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Ends it and waits until it is gone.
    pub(crate) fn stop(mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The executable mapping of a process whose path ends so.
pub(crate) fn place_of(pid: u32, path_end: &str) -> Place {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap();
    let lines = maps.split(|byte| *byte == b'\n').filter_map(parse::maps_line);
    let line = lines
        .filter(|line| line.executable)
        .find(|line| parse::mapped_path(line.path).ends_with(path_end.as_bytes()))
        .unwrap_or_else(|| panic!("{path_end} is not mapped by {pid}"));
    Place {
        pid,
        parent: None,
        start: line.start,
        end: line.end,
        path: parse::mapped_path(line.path).into(),
        file: Some(line.file),
    }
}

/// Identity of a file as `maps` would show it, on file systems without stand-ins.
pub(crate) fn file_id(path: &Path) -> FileId {
    let stat = rustix::fs::stat(path).unwrap();
    let device =
        DeviceId { major: rustix::fs::major(stat.st_dev), minor: rustix::fs::minor(stat.st_dev) };
    FileId { device, inode: stat.st_ino, generation: 0 }
}
