//! The pair of Parquet files that samples are kept in: what is written, and how it is read back.
//!
//! Pure: bytes in, bytes out. What the columns mean: `docs/adr/008-storage.md`; how others query them:
//! `docs/tables.md`. Files come back from storage that others can write to, so everything in them is
//! checked: sizes before memory is taken, numbers before they are used as indices, and the whole by a
//! checksum, see [`seal`].

mod extract;
#[doc(hidden)]
pub mod fuzz;
mod numbers;
mod order;
mod read;
mod schema;
mod seal;
mod strings;
mod write;

use std::collections::BTreeSet;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use fleetprof_proto::{batch::Window, symbol::Line};
use thiserror::Error;

use crate::{catalog::ServiceSum, table::Table};

pub(crate) use extract::extract;
pub use read::{FunctionsFile, Part, Reader, parse_footer};
pub use write::{encode, encode_functions};

/// The format written here, and the newest that is read.
pub const FORMAT: u32 = 1;

/// A pair of files, and what a catalog is told of it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `ID.samples.parquet`.
    pub samples: Bytes,
    /// `ID.stacks.parquet`.
    pub stacks: Bytes,
    /// Rows of samples.
    pub rows: u64,
    /// The services in it, by name.
    pub services: Vec<ServiceSum>,
    /// Disjoint spans of time for which it has data, in order, Unix nanoseconds, the end exclusive;
    /// whole microseconds. Empty only without rows.
    pub spans: Vec<(i64, i64)>,
}

/// A functions file, and what a catalog is told of it.
#[derive(Clone, Debug)]
pub struct EncodedFunctions {
    /// `ID.functions.parquet`.
    pub bytes: Bytes,
    /// Length of its end, which says where everything is.
    pub end: u64,
    /// Its rows.
    pub rows: u64,
}

/// One of the kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `ID.samples.parquet`.
    Samples,
    /// `ID.stacks.parquet`.
    Stacks,
    /// `ID.functions.parquet`.
    Functions,
}

/// Names of code, as far as somebody knows them.
pub trait Names {
    /// The lines of a frame row of the table's code, innermost first; `None` or empty when there are none.
    fn lines(&self, frame: usize) -> Option<&[Line]>;
}

/// What of a pair of files is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Only samples of these services; `None`: of all.
    pub services: Option<BTreeSet<String>>,
    /// Only these labels are read and kept; `None`: all. Samples that have become equal are added up.
    pub labels: Option<Vec<String>>,
    /// Only samples whose window has its middle in this range, Unix nanoseconds, the end exclusive.
    pub range: Option<(i64, i64)>,
    /// Whether windows are told apart. If not, all samples get [`NO_WINDOW`].
    pub windows: bool,
    /// What of stacks.
    pub stacks: Stacks,
}

/// What of the stacks of samples is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stacks {
    /// Nothing: every sample gets the empty stack, and no stacks are needed.
    #[default]
    None,
    /// Their frames, whatever the order: a fraction of the memory of stacks. Of each set of labels, the samples
    /// get the empty stack; besides there is each frame as a stack of its own, with as many samples as had it,
    /// several times if one had it several times. Windows and results are not told apart.
    Frames,
    /// All.
    Whole,
}

/// Samples cannot be written, or files cannot be read.
#[derive(Debug, Error)]
pub enum FormatError {
    /// A number in the table has no place in the files.
    #[error("{what} {value} cannot be stored")]
    Unstorable {
        /// Of what.
        what: &'static str,
        /// Which.
        value: i128,
    },
    /// Writing failed.
    #[error("cannot write Parquet: {0}")]
    Write(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A later fleetprof wrote it.
    #[error("the {file} file has format {found}, this fleetprof reads up to {FORMAT}: upgrade it")]
    Newer {
        /// Which of the two.
        file: &'static str,
        /// Its format.
        found: u32,
    },
    /// It is not such a file, or not any more.
    #[error("the {file} file is damaged, or not one of fleetprof's: {what}")]
    Damaged {
        /// Which of the two.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Stacks are wanted and the file with them was not given.
    #[error("stacks are wanted, and only the samples file is there")]
    NoStacks,
}

// === impl Wanted ===

impl Wanted {
    /// All that is there.
    pub fn all() -> Self {
        Self { services: None, labels: None, range: None, windows: true, stacks: Stacks::Whole }
    }

    /// All of one service.
    pub fn of_service(service: impl Into<String>) -> Self {
        Self { services: Some(BTreeSet::from([service.into()])), ..Self::all() }
    }

    /// Whether the stacks file is needed.
    pub fn has_stacks(&self) -> bool {
        self.stacks != Stacks::None
    }
}

// === impl FormatError ===

impl FormatError {
    fn write(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Write(source.into())
    }
}

/// The columns of a kind of files, with their numbers (`PARQUET:field_id`), for those who describe the
/// files to others.
pub fn columns(kind: FileKind) -> SchemaRef {
    numbers::numbered(&match kind {
        FileKind::Samples => schema::samples(),
        FileKind::Stacks => schema::stacks(),
        FileKind::Functions => schema::functions(),
    })
}

/// Reads a pair of files.
///
/// # Errors
/// When a file is damaged, of a newer format, or missing though it is needed.
pub fn decode(
    samples: Bytes,
    stacks: Option<Bytes>,
    wanted: &Wanted,
) -> Result<Table, FormatError> {
    let mut builder = crate::table::TableBuilder::new();
    let mut reader = Reader::new(samples, stacks, wanted)?;
    match (wanted.stacks, wanted.windows) {
        (Stacks::Frames, _) => reader.read_frames(&mut builder)?,
        (_, false) => reader.read_sums(&mut builder)?,
        (_, true) => while reader.read_group(&mut builder)?.is_some() {},
    }
    Ok(builder.finish())
}

/// The window that one gets by being stored, for files have microseconds: the start is rounded down and
/// the end up, so that it stays a span. `None` when its end is past the last instant there is.
pub fn stored_window(window: Window) -> Option<Window> {
    let (start, end) = micros(window);
    Some(Window {
        start_unix_nanos: start.checked_mul(1000)?,
        end_unix_nanos: end.checked_mul(1000)?,
    })
}

/// Start and end as they stand in files, microseconds.
fn micros(window: Window) -> (i64, i64) {
    let start = window.start_unix_nanos.div_euclid(1000);
    let end = window.end_unix_nanos;
    let end = end.div_euclid(1000) + i64::from(end.rem_euclid(1000) != 0);
    (start, end)
}
