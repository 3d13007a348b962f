//! Where a profile goes: a file that appears whole or not at all, or a stream that cannot be taken
//! back (standard output, a pipe, a device).

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{error::CliError, screen::Screen};

/// A destination, open.
pub(super) enum Sink {
    /// A regular file: written beside, renamed when complete, removed when dropped before.
    File { shown: PathBuf, target: PathBuf, temporary: NamedTempFile },
    /// What exists and is not a regular file; a rename would replace a device by a file.
    Special { shown: PathBuf, file: File },
    /// Standard output.
    Stdout { screen: Screen },
}

// === impl Sink ===

impl Sink {
    /// Opens the destination; `-` is standard output, which must not be a terminal.
    pub(super) fn open(path: &Path, screen: Screen) -> Result<Self, CliError> {
        if path.as_os_str() == OsStr::new("-") {
            if screen.stdout_is_terminal() {
                return Err(CliError::Usage(
                    "a profile is binary and standard output is a terminal; write it with -o FILE or pipe it"
                        .to_owned(),
                ));
            }
            return Ok(Self::Stdout { screen });
        }
        Self::open_file(path).map_err(|cause| failed(path, cause))
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        let shown = path.to_owned();
        // Through symbolic links: the file they lead to is replaced, not the link.
        let target = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self::Special { shown, file });
            }
            Ok(_) => fs::canonicalize(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new()
            .prefix(".fleetprof-")
            .suffix(".part")
            // Opened by ourselves: with the rights that the umask leaves, as any other file that a
            // command writes, and with errors that do not name a file nobody knows.
            .make_in(directory, |path| {
                OpenOptions::new().write(true).create_new(true).open(path)
            })?;
        Ok(Self::File { shown, target, temporary })
    }

    /// Writes a piece.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::File { shown, temporary, .. } => {
                temporary.as_file_mut().write_all(bytes).map_err(|cause| failed(shown, cause))
            }
            Self::Special { shown, file } => {
                file.write_all(bytes).map_err(|cause| failed(shown, cause))
            }
            Self::Stdout { screen } => screen.print_bytes(bytes),
        }
    }

    /// Makes what was written final; the path where a file now is.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, CliError> {
        match self {
            Self::File { shown, target, temporary } => {
                // A rename can outlive a crash that the bytes do not, unless they are on disk first.
                let finished = temporary
                    .as_file()
                    .sync_all()
                    .and_then(|()| temporary.persist(target).map_err(|error| error.error));
                finished.map_err(|cause| failed(&shown, cause))?;
                Ok(Some(shown))
            }
            Self::Special { .. } | Self::Stdout { .. } => Ok(None),
        }
    }
}

fn failed(path: &Path, cause: io::Error) -> CliError {
    if cause.kind() == io::ErrorKind::BrokenPipe {
        return CliError::ReaderGone;
    }
    CliError::File { path: path.to_owned(), cause }
}
