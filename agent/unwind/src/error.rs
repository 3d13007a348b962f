//! Why there is no table, and the limits that keep a build within bounds.

use std::io;
use std::time::Duration;

/// What a build may use: binaries belong to others, and may say anything about themselves.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a section with unwind information, uncompressed.
    pub frame_bytes: u64,
    /// Most rows of a table.
    pub rows: u32,
    /// Most bytes of a table.
    pub table_bytes: u64,
    /// Most bytes of unwind instructions to interpret, those of common entries for every function.
    pub steps: u64,
    /// Most bytes of code without unwind information to search for signal trampolines.
    pub scan_bytes: u64,
    /// Longest time for one table.
    pub time: Duration,
}

/// Why no table was made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Reading failed: the file was truncated, or its disk is failing.
    #[error("the binary cannot be read: {0}; frame pointers are tried for its code")]
    Io(#[from] io::Error),
    /// Not an ELF file of 64 bits, little endian.
    #[error("not a 64-bit little-endian ELF file")]
    NotElf,
    /// For a processor that is not supported.
    #[error("the ELF file is for machine {machine}; x86-64 (62) and arm64 (183) are supported")]
    Machine {
        /// `e_machine` of the header.
        machine: u16,
    },
    /// A number in the headers is not possible.
    #[error("the ELF headers are damaged: {what}")]
    Damaged {
        /// The number.
        what: &'static str,
    },
    /// No executable segment.
    #[error("the ELF file has no code")]
    NoCode,
    /// More than a limit allows.
    #[error("{what}: more than the limit of {limit}; frame pointers are tried for this binary")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit that was passed.
        limit: u64,
    },
    /// Building took longer than [`Limits::time`].
    #[error("building the unwind table took longer than {0:?}")]
    TooSlow(Duration),
}

/// Why a table read from a disk was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not one of our files.
    #[error("not an unwind table: delete the file, it is built again")]
    Magic,
    /// Written by another version.
    #[error("unwind table of version {0}, this program reads version {current}: delete the file, it is built again", current = crate::codec::VERSION)]
    Version(u32),
    /// Bytes are missing or too many.
    #[error("the unwind table is truncated: delete the file, it is built again")]
    Length,
    /// The checksum does not fit.
    #[error("the unwind table is damaged (checksum): delete the file, it is built again")]
    Checksum,
    /// A number leads out of the table.
    #[error("the unwind table is damaged ({0}): delete the file, it is built again")]
    Invalid(&'static str),
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 256 << 20,
            rows: 8 << 20,
            table_bytes: 128 << 20,
            steps: 1 << 30,
            scan_bytes: 256 << 20,
            time: Duration::from_secs(30),
        }
    }
}
