//! Reads what was added to a file that another process writes.
//!
//! In: where the file is, and how far it was read. Out: pieces of it, through the
//! [`Guard`](crate::object::guard::Guard). A file that was replaced, cut short or written anew begins
//! again.

use std::{
    fs::File,
    io::{self, ErrorKind::PermissionDenied, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::record::MAX_PIECE_BYTES;
use crate::{
    object::{
        OpenError, Place, Registry,
        guard::Stalled,
        open::{Version, open_for_process},
    },
    process::parse::{self, Status},
};

/// A file with names of generated code.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// `/tmp/perf-PID.map` of a process.
    PerfMap {
        /// The process, in the initial pid namespace.
        pid: u32,
        /// Its number in its own.
        own_pid: u32,
    },
    /// A jitdump that it maps.
    Jitdump(Place),
}

/// How far a file was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    version: Option<Version>,
    offset: u64,
    /// The last bytes before `offset`.
    tail: Vec<u8>,
    /// The end of that version was seen.
    at_end: bool,
}

/// A piece of a file.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) file: File,
    pub(super) version: Version,
    /// It begins again: forget what was read.
    pub(super) again: bool,
    /// What follows; empty at the end of the file, and when nothing changed.
    pub(super) bytes: Vec<u8>,
    /// How many bytes there are from the first of these to the end of the file.
    pub(super) available: u64,
}

/// Nothing can be read.
#[derive(Debug, Error)]
pub(super) enum FollowError {
    /// There is no such file, or no way to it.
    #[error("it cannot be opened: {0}")]
    Missing(#[source] OpenError),
    /// What is there must not be read.
    #[error("it is not a regular file of the process's user")]
    Refused,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Nothing answers.
    #[error(transparent)]
    Stalled(#[from] Stalled),
}

/// Bytes kept to recognize a file by: one that is written anew at its old place rarely has the same.
const TAIL_BYTES: usize = 128;

/// Most read of `status`, bytes: its longest line names up to 65,536 groups.
const MAX_STATUS_BYTES: u64 = 1 << 20;

/// Asks the system who a process is.
pub(super) fn status(registry: &Registry, pid: u32) -> Result<Status, FollowError> {
    let path = registry.proc_root().join(format!("{pid}/status"));
    let mut text = Vec::new();
    // Made by the kernel from its own memory: reading it waits for nobody.
    File::open(path)?.take(MAX_STATUS_BYTES).read_to_end(&mut text)?;
    parse::status(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData).into())
}

/// Whether a path is that of a jitdump of a process with one of these numbers: its own, or the host's.
pub(super) fn is_jitdump(path: &[u8], pids: [u32; 2]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    pids.iter().any(|pid| name == format!("jit-{pid}.dump").as_bytes())
}

/// Reads on from where `cursor` is. `file` is what was opened for the piece before.
pub(super) fn next_piece(
    registry: &Registry,
    source: &Source,
    user: u32,
    file: Option<File>,
    cursor: &Cursor,
) -> Result<Piece, FollowError> {
    let (source, cursor) = (source.clone(), cursor.clone());
    let proc_root: PathBuf = registry.proc_root().to_owned();
    registry.guard().run(move || {
        let file = match file {
            Some(file) => file,
            None => source.open(user, &proc_root)?,
        };
        cursor.read(file)
    })?
}

// === impl Source ===

impl Source {
    fn open(&self, user: u32, proc_root: &Path) -> Result<File, FollowError> {
        let opened = match self {
            Self::PerfMap { pid, own_pid } => {
                open_for_process(*pid, format!("/tmp/perf-{own_pid}.map").as_bytes(), proc_root)
            }
            Self::Jitdump(place) => place.open(proc_root).map(|(file, _)| file),
        };
        let file = opened.map_err(|error| match error {
            OpenError::NotAFile => FollowError::Refused,
            // That is nobody's choice but who started the agent with too few privileges.
            OpenError::Unreachable { error, .. } if error.kind() == PermissionDenied => {
                FollowError::Io(error)
            }
            error => FollowError::Missing(error),
        })?;
        // Whoever else may write into a process's /tmp must not name its functions.
        let owner = file.metadata()?.uid();
        if owner == user || owner == 0 { Ok(file) } else { Err(FollowError::Refused) }
    }
}

// === impl Cursor ===

impl Cursor {
    /// Whether nothing was read yet.
    pub(super) fn is_new(&self) -> bool {
        self.version.is_none()
    }

    /// Whether there was no more when it was last read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// Goes on behind `consumed` bytes of a piece.
    pub(super) fn advance(&mut self, piece: &Piece, consumed: u64) {
        self.version = Some(piece.version);
        self.at_end = piece.bytes.len() as u64 == piece.available;
        if consumed == 0 {
            return;
        }
        self.offset = self.offset.saturating_add(consumed);
        // What was skipped without being read cannot be compared.
        let seen = usize::try_from(consumed).ok().and_then(|end| piece.bytes.get(..end));
        let seen = seen.unwrap_or_default();
        self.tail = seen[seen.len().saturating_sub(TAIL_BYTES)..].to_vec();
    }

    fn read(&self, file: File) -> Result<Piece, FollowError> {
        let version = Version::of_file(&file)?;
        let none = Vec::new();
        // Nothing was added, and what was left over is still there.
        if self.at_end && self.version == Some(version) {
            return Ok(Piece { file, version, again: false, bytes: none, available: 0 });
        }
        let goes_on = match self.version {
            Some(before) => {
                before.is_same_file(&version)
                    && version.size() >= self.offset
                    && self.is_as_before(&file)?
            }
            None => true,
        };
        let offset = if goes_on { self.offset } else { 0 };
        let available = version.size().saturating_sub(offset);
        let len = usize::try_from(available).unwrap_or(usize::MAX).min(MAX_PIECE_BYTES);
        let mut bytes = vec![0; len];
        let read = read_up_to(&file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(Piece { file, version, again: !goes_on, bytes, available })
    }

    fn is_as_before(&self, file: &File) -> io::Result<bool> {
        let mut tail = vec![0; self.tail.len()];
        let read = read_up_to(file, &mut tail, self.offset - self.tail.len() as u64)?;
        Ok(tail[..read] == self.tail)
    }
}

/// Reads until there is no more, or the buffer is full.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
