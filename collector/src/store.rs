//! Where batches are kept.
//!
//! In: validated batches. Out: sealed batches of a range of time. [`Store`] is the border that the
//! rest of the collector sees; [`DirectoryStore`] is the embedded default: one directory, crash-safe,
//! durable before it returns. Not done here: retention (everything is kept), rollups, symbols.

mod damage;
mod directory;
mod disk;
mod index;
mod instances;
mod recover;
mod scan;
mod segment;

use std::{io, path::PathBuf};

use fleetprof_proto::{
    batch::Window,
    ids::{BatchId, InstanceId},
    time_range::TimeRange,
    v1,
};
use thiserror::Error;

pub use directory::{DirectoryStore, StoreConfig};
pub(crate) use disk::write_whole;
pub use disk::{AppendFile, Disk, RealDisk};

/// Keeps batches. Calls block; use them off the async threads.
pub trait Store: Send + Sync + 'static {
    /// Keeps batches, all or none of them: when this returns `Ok`, they are durable. A batch whose
    /// id is there already, or stands twice in `batches`, is kept once.
    ///
    /// # Errors
    /// When storage fails; none of the batches counts as kept then.
    fn append(&self, batches: &[NewBatch]) -> Result<Vec<Appended>, StoreError>;

    /// Whether a batch is in durable storage.
    fn contains(&self, id: BatchId) -> bool;

    /// The batches of a range, see [`in_range`], in the order they came, and what is or may be
    /// missing from it. What was kept when this is called is found, later batches may not be.
    fn scan(&self, range: TimeRange) -> Box<dyn Iterator<Item = Scanned> + Send>;

    /// What is kept.
    fn status(&self) -> StoreStatus;

    /// What is kept, by the agent instance it came from.
    fn instances(&self) -> Vec<InstanceStatus>;

    /// Whether batches can be kept now. After a failure this tries to write.
    ///
    /// # Errors
    /// Why they cannot.
    fn check(&self) -> Result<(), String>;
}

/// One answer of a scan: a batch, or a sentence naming what could not be read.
pub type Scanned = Result<v1::SealedBatch, String>;

/// A validated batch to keep, with what an index needs to know of it.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Identifies it for good.
    pub id: BatchId,
    /// The span it covers.
    pub window: Window,
    /// Host it came from.
    pub host: String,
    /// Version of the agent, empty when unknown.
    pub agent_version: String,
    /// The agent's counters when it was sealed.
    pub accounting: v1::Accounting,
    /// The batch as it came.
    pub sealed: v1::SealedBatch,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is durable now.
    Stored,
    /// It was there.
    Duplicate,
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Readable batches.
    pub batches: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// From the start of the first window to the end of the last; `None` when there is none.
    pub window: Option<Window>,
    /// What cannot be read, named.
    pub damaged: Vec<String>,
}

/// What a store holds of one start of one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceStatus {
    /// Which.
    pub instance: InstanceId,
    /// Samples kept.
    pub samples: u64,
    /// Host of its latest batch.
    pub host: String,
    /// Version of the agent, empty when unknown.
    pub agent_version: String,
    /// End of the window of its latest batch, Unix nanoseconds.
    pub last_window_end: i64,
    /// Counters of its latest batch.
    pub accounting: v1::Accounting,
}

/// Storage that failed or cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system is full.
    #[error("no space left in {path}: free some, or move --data-dir to a larger file system")]
    Full {
        /// Where.
        path: PathBuf,
    },
    /// An operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file was written by a newer version.
    #[error(
        "{path} has format version {found}, this version reads up to {known}: upgrade fleetprof-collector or use another --data-dir"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// A batch has fields that no record can hold.
    #[error("batch {0} is too large for a record")]
    Oversize(BatchId),
}

/// Whether a batch belongs to a range: when the middle of its window does. A batch is never split,
/// so adjacent ranges never count a sample twice or lose one.
pub fn in_range(window: Window, range: TimeRange) -> bool {
    (range.start_unix_nanos()..range.end_unix_nanos()).contains(&midpoint(window))
}

/// The middle of a window, Unix nanoseconds.
pub fn midpoint(window: Window) -> i64 {
    // Half the sum, rounded down, without overflow.
    let (start, end) = (window.start_unix_nanos, window.end_unix_nanos);
    (start >> 1) + (end >> 1) + (start & end & 1)
}

// === impl StoreError ===

impl StoreError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.to_owned() }
            }
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// Whether the cause is a lack of space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

#[cfg(test)]
mod tests;
