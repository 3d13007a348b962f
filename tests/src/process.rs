//! Child processes that never outlive their test: each in a process group of its own, killed when its
//! guard is dropped and when the test's thread dies, with its output in a file.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait;

/// How many lines of a log a failing test prints.
const TAIL_LINES: usize = 40;

/// A running (or ended) child.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// What a command that was run to its end left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: String,
}

/// A command that dies with the thread that starts it: also a killed or timed-out test leaves nothing.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0);
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or takes longer than `bound`.
pub fn run(command: &mut Command, bound: Duration) -> Finished {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (stdout, stderr) = (dir.path().join("stdout"), dir.path().join("stderr"));
    command.stdin(Stdio::null());
    command.stdout(File::create(&stdout).expect("a file for stdout"));
    let mut running = Running::start("command", command, &stderr);
    let status = running.wait(bound);
    Finished { status, stdout: fs::read(stdout).expect("stdout was kept"), stderr: running.log() }
}

// === impl Running ===

impl Running {
    /// Starts a command made by [`command`]; stderr, and stdout unless the caller took it, go to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log);
        let file = file.unwrap_or_else(|error| panic!("cannot open {}: {error}", log.display()));
        let child = command.stderr(file).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    /// Starts a command whose stdout and stderr both go to `log`, and which has no stdin.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn daemon(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log);
        let file = file.unwrap_or_else(|error| panic!("cannot open {}: {error}", log.display()));
        Self::start(name, command.stdin(Stdio::null()).stdout(file), log)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child's pipes, where the caller asked for some.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Everything it wrote to its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child is ours to wait for");
        }
        self.ended
    }

    /// Checks that it is still running.
    ///
    /// # Panics
    /// When it ended, with its log.
    pub fn check_alive(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended by itself ({status}):\n{}", self.name, self.tail());
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it is not there after `bound`.
    pub fn wait(&mut self, bound: Duration) -> ExitStatus {
        wait::within(bound, || self.ended()).unwrap_or_else(|| {
            panic!("{} did not end within {bound:?}:\n{}", self.name, self.tail())
        })
    }

    /// Sends a signal to the process, not its group.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            ignore_missing(kill_process(self.group(), signal));
        }
    }

    /// SIGTERM, and waits.
    ///
    /// # Panics
    /// When it does not end within `bound`.
    pub fn terminate(&mut self, bound: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(bound)
    }

    /// SIGKILL to the whole group, and waits.
    ///
    /// # Panics
    /// When the kernel does not end it.
    pub fn kill(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            ignore_missing(kill_process_group(self.group(), Signal::KILL));
        }
        self.wait(Duration::from_secs(30))
    }

    /// Each child leads the group that it was started in.
    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            ignore_missing(kill_process_group(self.group(), Signal::KILL));
            if let Err(error) = self.child.wait() {
                eprintln!("waiting for {} failed: {error}", self.name);
            }
        }
        if thread::panicking() && self.name != "command" {
            eprintln!("--- last lines of {} ({}) ---\n{}", self.name, self.pid(), self.tail());
        }
    }
}

fn ignore_missing(result: rustix::io::Result<()>) {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => eprintln!("signalling a child failed: {}", io::Error::from(error)),
    }
}

// === impl Finished ===

impl Finished {
    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Checks that it succeeded, and gives what it printed.
    ///
    /// # Panics
    /// When it failed, with everything it said.
    pub fn success(self, what: &str) -> String {
        assert!(
            self.status.success(),
            "{what} failed ({}):\n{}\n{}",
            self.status,
            self.text(),
            self.stderr
        );
        self.text()
    }

    /// Checks that it failed in an orderly way (an exit code, no signal, no panic) and that its
    /// complaint contains each of `words`, whatever their case.
    ///
    /// # Panics
    /// When not.
    pub fn complaint(&self, what: &str, words: &[&str]) -> String {
        let said = &self.stderr;
        assert!(
            !self.status.success(),
            "{what} succeeded, it should have failed:\n{}",
            self.text()
        );
        assert!(self.status.signal().is_none(), "{what} died: {}\n{said}", self.status);
        assert!(!said.contains("panicked at"), "{what} panicked:\n{said}");
        let lower = said.to_lowercase();
        for word in words {
            assert!(
                word.split('|').any(|choice| lower.contains(&choice.to_lowercase())),
                "{what}: the message does not mention {word:?}:\n{said}"
            );
        }
        said.clone()
    }
}
