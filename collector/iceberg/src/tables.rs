//! Which tables there are.

use std::fmt;

use fleetprof_store::{Blob, FileKind, Level, NewFile};

/// Where tables are, below the root of the store.
pub(crate) const FOLDER: &str = "iceberg";

/// A table: one kind of files of one level. Levels hold the same samples, so each has tables of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableName {
    /// How finely samples are kept.
    pub level: Level,
    /// Whether it has the stacks, or the samples.
    pub is_stacks: bool,
}

/// What a commit did to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Version of the table after it.
    pub version: u64,
    /// Files that it names since.
    pub added: usize,
    /// Files that it no longer names.
    pub removed: usize,
    /// Files that it names.
    pub files: usize,
    /// Live files that it cannot name since their ends are damaged.
    pub left_out: usize,
    /// Whether a new version was made.
    pub committed: bool,
}

// === impl TableName ===

impl TableName {
    /// The kind of its files.
    pub fn kind(self) -> FileKind {
        if self.is_stacks { FileKind::Stacks } else { FileKind::Samples }
    }

    /// Its folder, below the root of the store.
    pub fn folder(self) -> String {
        format!("{FOLDER}/{self}")
    }

    /// The file of a pair that is in this table.
    pub(crate) fn blob(self, pair: &NewFile) -> &Blob {
        if self.is_stacks { &pair.stacks } else { &pair.samples }
    }
}

impl fmt::Display for TableName {
    /// `hourly_samples`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_stacks { "stacks" } else { "samples" };
        write!(f, "{}_{kind}", self.level.as_str())
    }
}
