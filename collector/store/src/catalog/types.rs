//! What a catalog is told and answers.

use std::{fmt, sync::Arc};

use fleetprof_proto::{
    ids::{BatchId, InstanceId},
    v1,
};

use crate::level::Level;

/// Identifies a pair of files for good: 63 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(i64);

/// One file in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Below the root of the store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-32C of its bytes.
    pub crc32c: u32,
}

/// Samples of one service in a pair of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSum {
    /// Which.
    pub service: String,
    /// Number of samples.
    pub samples: u64,
    /// CPU time they stand for, nanoseconds.
    pub nanos: u64,
}

/// A pair of files that is there and is to be known.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFile {
    /// Which.
    pub id: FileId,
    /// How finely it keeps samples.
    pub level: Level,
    /// Start of the hour or day it belongs to, Unix nanoseconds.
    pub bucket: i64,
    /// The only service in it, if it holds one by design.
    pub service: Option<String>,
    /// Its samples.
    pub samples: Blob,
    /// Its stacks.
    pub stacks: Blob,
    /// Rows of samples.
    pub rows: u64,
    /// Batches whose samples are in it; 0 unless it is as they came.
    pub batches: u64,
    /// Disjoint spans of time for which it has data, in order, Unix nanoseconds, the end exclusive.
    /// Never empty.
    pub spans: Vec<(i64, i64)>,
    /// The services in it, by name.
    pub services: Vec<ServiceSum>,
}

/// A pair of files as the catalog has it. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRow {
    /// As it was told.
    pub file: Arc<NewFile>,
    /// Its samples are in the next level, too.
    pub rolled: bool,
    /// When it was committed, Unix nanoseconds.
    pub created: i64,
    /// Why it is not read any more, if it is damaged.
    pub damaged: Option<String>,
    /// The functions file that holds its sums, if there is one.
    pub functions: Option<Arc<FunctionFile>>,
}

/// A functions file as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFile {
    /// Which.
    pub id: FileId,
    /// Where it is.
    pub blob: Blob,
    /// Length of its end, which says where everything is.
    pub end: u64,
    /// How many pairs of files it was made from.
    pub covers: u64,
}

/// A functions file that is there and is to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFunctions {
    /// The file.
    pub file: FunctionFile,
    /// Level of the pairs that it was made from.
    pub level: Level,
    /// Their hour or day, Unix nanoseconds.
    pub bucket: i64,
    /// Objects that had no names yet.
    pub missing: Vec<String>,
}

/// A functions file that was made while names were missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateFunctions {
    /// Which.
    pub id: FileId,
    /// Level of the pairs that it was made from.
    pub level: Level,
    /// Their hour or day, Unix nanoseconds.
    pub bucket: i64,
    /// Objects that had no names then.
    pub missing: Vec<String>,
}

/// A batch whose samples are in a file that is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Identifies it for good.
    pub id: BatchId,
    /// Samples in it.
    pub samples: u64,
    /// The span it covers, Unix nanoseconds, the end exclusive.
    pub window: (i64, i64),
    /// Host it came from.
    pub host: String,
    /// Version of the agent, empty when unknown.
    pub agent_version: String,
    /// The agent's counters when it was sealed.
    pub accounting: v1::Accounting,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable.
    Done,
    /// Nothing was done: these batches are in the store already.
    Duplicates(Vec<BatchId>),
}

/// What is kept of one start of one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Which.
    pub instance: InstanceId,
    /// Samples taken over from it, those that retention removed included.
    pub samples: u64,
    /// Batches taken over.
    pub batches: u64,
    /// Host of its latest batch.
    pub host: String,
    /// Version of the agent, empty when unknown.
    pub agent_version: String,
    /// Start of the first and end of the last window, Unix nanoseconds.
    pub window: (i64, i64),
    /// Counters of its latest batch.
    pub accounting: v1::Accounting,
}

/// Which files are asked for: those of a level that are neither replaced nor expired, and that have data
/// in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileQuery<'a> {
    /// Of this level; `None`: of all, as of one moment.
    pub level: Option<Level>,
    /// Overlapping this range, Unix nanoseconds, the end exclusive.
    pub range: (i64, i64),
    /// With samples of this service.
    pub service: Option<&'a str>,
    /// Whether those are of interest that are in the next level, too.
    pub rolled: Rolled,
}

/// Which files are asked for of those that are in the next level, too (rolled), and those that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rolled {
    /// All.
    Any,
    /// Only those that are (or are not).
    Only(bool),
    /// All but fine ones that are: of a day of many services those are thousands.
    NoFine,
}

/// What becomes of the inputs when files are made of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Few large ones of the same level take the place of many small ones, which are retired.
    Merge {
        /// Whether the samples of the inputs, and so those of the outputs, are in the next level, too.
        rolled: bool,
    },
    /// The same samples in the next level; the inputs stay, marked as rolled.
    Roll,
}

/// Which files of a level are to be expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expire<'a> {
    /// Those that hold this service and, by design, no other.
    Service(&'a str),
    /// All but those that hold one of these services and, by design, no other.
    Except(&'a [&'a str]),
}

/// Permission to do a piece of work that only one should do at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Of what.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// When it ends unless it is renewed, Unix nanoseconds.
    pub expires: i64,
}

/// What a catalog has, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogStatus {
    /// Live files.
    pub files: u64,
    /// Batches taken over, those that retention removed included.
    pub batches: u64,
    /// Samples that can be queried: each counts once, at the coarsest level that it is in.
    pub samples: u64,
    /// Size of all live files.
    pub bytes: u64,
    /// From the earliest start to the latest end of live files, Unix nanoseconds; `None`: no files.
    pub window: Option<(i64, i64)>,
    /// Live files that are damaged; they count in `files` and `bytes`, not in `samples`.
    pub damaged: u64,
    /// Files that are retired and still known.
    pub retired: u64,
    /// Size of those.
    pub retired_bytes: u64,
    /// The live ones by level, finest first; levels without files included.
    pub levels: Vec<LevelStatus>,
}

/// Live files of one level, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelStatus {
    /// Which.
    pub level: Level,
    /// How many.
    pub files: u64,
    /// Those among them whose samples are in the next level, too.
    pub rolled: u64,
    /// Those among them that are damaged.
    pub damaged: u64,
    /// Samples in those that are not damaged.
    pub samples: u64,
    /// Samples in those that are neither damaged nor rolled.
    pub unrolled_samples: u64,
    /// Their size.
    pub bytes: u64,
    /// From the earliest start to the latest end, Unix nanoseconds.
    pub window: Option<(i64, i64)>,
}

// === impl FileRow ===

impl FileRow {
    /// Which file is damaged, and in which way; nothing when it is not.
    pub fn damage(&self) -> Option<String> {
        let (reason, path) = (self.damaged.as_deref()?, &self.file.samples.path);
        let (stacks, names) = (&self.file.stacks.path, |path: &str| reason.contains(path));
        // Most reasons say which of the two files it is.
        Some(match names(path) || names(stacks) {
            true => reason.to_owned(),
            false => format!("{path}: {reason}"),
        })
    }
}

// === impl FileId ===

impl FileId {
    /// A new one.
    pub fn random() -> Self {
        Self(fastrand::i64(1..))
    }

    /// The number that catalogs and files know it by; `None` when it is not one.
    pub fn from_number(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number that catalogs and files know it by.
    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for FileId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

// === impl NewFile ===

impl NewFile {
    /// From the start of its first span to the end of its last.
    pub fn range(&self) -> (i64, i64) {
        let first = self.spans.first().map_or(self.bucket, |span| span.0);
        (first, self.spans.last().map_or(first, |span| span.1))
    }

    /// Number of samples.
    pub fn sample_count(&self) -> u64 {
        self.services.iter().fold(0, |sum: u64, service| sum.saturating_add(service.samples))
    }

    /// Size of both files.
    pub fn bytes(&self) -> u64 {
        self.samples.bytes.saturating_add(self.stacks.bytes)
    }
}
