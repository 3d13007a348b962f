//! Why a command ended without doing what it was asked, and the exit status that says so.

use std::{io, path::PathBuf, process::ExitCode};

use fleetprof_proto::time_range::TimeError;
use thiserror::Error;

use crate::{client::ClientError, output::text::shell_quote};

/// Exit status of a command line that is wrong.
const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The words of the command line do not make sense together.
    #[error("{0}")]
    Usage(String),
    /// `--from` and `--to`.
    #[error("{0}\nset the range with --from and --to")]
    Time(#[from] TimeError),
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is an answer, and it is that there is nothing to write.
    #[error("{0}")]
    NothingMatches(String),
    /// The reader of our output left (`| head`): not a failure.
    #[error("nobody reads the output")]
    ReaderGone,
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
    /// A file.
    #[error("cannot write {}: {cause}\nchoose another place with -o FILE", shell_quote(&.path.to_string_lossy()))]
    File { path: PathBuf, cause: io::Error },
    /// Some uploads failed, each of which was reported.
    #[error("{failed} of {all} files were not uploaded")]
    Uploads { failed: usize, all: usize },
    /// A signal.
    #[error("interrupted")]
    Interrupted {
        /// Number of the signal.
        signal: u8,
    },
    /// The clock of this machine.
    #[error("the clock of this machine is outside the years 1970 to 2262; set it")]
    Clock,
    /// JSON.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The operating system refuses threads, sockets or signals.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

// === impl CliError ===

impl CliError {
    /// As the help documents it: 1 the command failed, 2 the command line is wrong; a signal as
    /// shells report it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::SUCCESS,
            Self::Usage(_) | Self::Time(_) => ExitCode::from(USAGE),
            Self::Client(error) if error.is_usage() => ExitCode::from(USAGE),
            Self::Interrupted { signal } => ExitCode::from(128_u8.saturating_add(*signal)),
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether there is anything to say: nobody is told that they pressed Ctrl-C or closed a pipe.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::ReaderGone | Self::Interrupted { .. })
    }

    /// An error of writing to standard output.
    pub(crate) fn stdout(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Stdout(error)
        }
    }
}
