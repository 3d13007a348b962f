//! Progress on a terminal, and answers.

use std::{
    cell::Cell,
    env,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// How often a line of progress is written.
const FRAME: Duration = Duration::from_millis(100);
/// To the start of the line, and erase it.
const ERASE: &str = "\r\u{1b}[2K";

/// A line on standard error that says how far it is; gone when dropped. Nothing without a terminal.
pub(super) struct Progress {
    shown: bool,
    last: Cell<Option<Instant>>,
}

// === impl Progress ===

impl Progress {
    pub(super) fn new() -> Self {
        let moves = env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { shown: moves && io::stderr().is_terminal(), last: Cell::new(None) }
    }

    /// Shows a line, unless one was shown a moment ago.
    pub(super) fn show(&self, line: impl FnOnce() -> String) {
        if !self.shown || self.last.get().is_some_and(|last| last.elapsed() < FRAME) {
            return;
        }
        self.last.set(Some(Instant::now()));
        eprint!("{ERASE}{}", line());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last.get().is_some() {
            eprint!("{ERASE}");
        }
    }
}

/// Whether standard output shows colours.
pub(super) fn is_styled() -> bool {
    let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    wanted && io::stdout().is_terminal()
}

/// Writes an answer.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// Writes an answer for programs.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    print(&format!("{text}\n"))
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut unit, mut whole, mut part) = (None, bytes, 0);
    for name in UNITS {
        if whole < 1024 {
            break;
        }
        (unit, part, whole) = (Some(name), whole % 1024 * 10 / 1024, whole / 1024);
    }
    match unit {
        None => format!("{whole} B"),
        Some(unit) => format!("{whole}.{part} {unit}"),
    }
}
