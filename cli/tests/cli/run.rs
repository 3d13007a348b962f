//! Runs the binary and collects what it leaves.

use std::process::{Command, Output, Stdio};

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit status; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The binary with arguments, in an environment without surprises.
pub(crate) fn command(url: Option<&str>, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetprof"));
    for name in ["FLEETPROF_COLLECTOR", "NO_COLOR", "COLUMNS", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color").stdin(Stdio::null());
    if let Some(url) = url {
        command.args(["--collector", url]);
    }
    command.args(words);
    command
}

/// Runs to the end, with both outputs as pipes.
pub(crate) fn fleetprof(url: &str, words: &[&str]) -> Ran {
    ran(command(Some(url), words).output().expect("the binary runs"))
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

// === impl Ran ===

impl Ran {
    /// Standard output of a run that must have succeeded.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        String::from_utf8(self.stdout.clone()).expect("UTF-8")
    }

    /// The same, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    /// Standard error of a run that must have failed with this status and printed nothing else.
    #[track_caller]
    pub(crate) fn failure(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(self.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&self.stdout));
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        &self.stderr
    }
}
