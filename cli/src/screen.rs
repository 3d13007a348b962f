//! Standard output and standard error: finished text in, bytes out. Answers go to standard output,
//! everything about them to standard error; style and progress only where a terminal shows them.

use std::{
    env,
    future::Future,
    io::{self, IsTerminal, Write as _},
    pin::pin,
    time::Duration,
};

use tokio::time::{self, Instant, MissedTickBehavior};

use crate::{
    error::CliError,
    output::{
        table::{Medium, bold},
        text,
    },
};

/// Waits shorter than this show no progress.
const PATIENCE: Duration = Duration::from_millis(300);
const FRAME: Duration = Duration::from_millis(100);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// To the start of the line, and erase it.
const ERASE: &str = "\r\u{1b}[2K";

/// What the two outputs can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    stdout: Medium,
    stderr_styled: bool,
    stderr_moves: bool,
}

/// The line that says that something is being waited for; gone when dropped, also by a signal.
struct Spinner {
    screen: Screen,
    turns: usize,
}

// === impl Screen ===

impl Screen {
    /// Looks at the environment: terminals, `NO_COLOR`, `TERM`.
    pub(crate) fn detect() -> Self {
        let moves = env::var_os("TERM").is_none_or(|term| term != "dumb");
        let styled = moves && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into());
        Self {
            // A terminal that does not know its width says 0.
            stdout: Medium { width: width.filter(|it| out && *it > 0), styled: out && styled },
            stderr_styled: err && styled,
            stderr_moves: err && moves,
        }
    }

    /// What tables on standard output are rendered for; `width` is what the command line says.
    pub(crate) fn medium(&self, width: Option<u16>) -> Medium {
        let width = width.map(usize::from).or(self.stdout.width);
        Medium { width, ..self.stdout }
    }

    /// Whether a person would see what goes to standard output.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// The answer.
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        self.print_bytes(text.as_bytes())
    }

    /// The answer, where it is not text.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::stdout)
    }

    /// Something about the answer.
    pub(crate) fn note(&self, text: &str) {
        self.tell(&format!("{text}\n"));
    }

    /// Something that limits the answer.
    pub(crate) fn warn(&self, text: &str) {
        self.labelled("warning:", "\u{1b}[33;1m", text);
    }

    /// Why there is no answer.
    pub(crate) fn error(&self, text: &str) {
        self.labelled("error:", "\u{1b}[31;1m", text);
    }

    /// Awaits `work`, with a spinner on standard error when it takes long enough to wonder about.
    pub(crate) async fn waiting<T>(
        &self,
        doing: impl Fn() -> String,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        if !self.stderr_moves {
            return work.await;
        }
        let started = Instant::now();
        let mut ticks = time::interval_at(started + PATIENCE, FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut spinner = Spinner { screen: *self, turns: 0 };
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                _ = ticks.tick() => spinner.turn(&doing(), started.elapsed()),
            }
        }
    }

    fn labelled(&self, label: &str, style: &str, text: &str) {
        if self.stderr_styled {
            self.tell(&format!("{style}{label}\u{1b}[0m {text}\n"));
        } else {
            self.tell(&format!("{label} {text}\n"));
        }
    }

    /// Emphasis on standard error, for a command to type next.
    pub(crate) fn command(&self, text: &str) -> String {
        if self.stderr_styled { bold(text) } else { text.to_owned() }
    }

    fn tell(&self, text: &str) {
        let mut err = io::stderr().lock();
        // Nowhere is left to report this to, and the answer on standard output does not depend on it.
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

// === impl Spinner ===

impl Spinner {
    fn turn(&mut self, doing: &str, waited: Duration) {
        let frame = FRAMES[self.turns % FRAMES.len()];
        self.turns += 1;
        let text = format!("{ERASE}{frame} {} ({} s)", text::clean(doing), waited.as_secs());
        self.screen.tell(&text);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if self.turns > 0 {
            self.screen.tell(ERASE);
        }
    }
}
