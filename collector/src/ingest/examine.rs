//! Opens a sealed batch and reads from it what the rest needs. CPU work; pure.

use fleetprof_proto::{
    batch::{self, Batch, Limits, MAX_ACCOUNTING_BYTES, OpenError},
    ids::{BatchId, InstanceId, ObjectId},
    labels,
    v1::SealedBatch,
};
use prost::Message as _;
use thiserror::Error;

use fleetprof_store::NewBatch;

/// Longest window accepted, nanoseconds: a day.
const MAX_WINDOW_NANOS: i64 = 86_400_000_000_000;
/// Last instant accepted, Unix nanoseconds: the year 2200. Leaves room for arithmetic.
const LAST_UNIX_NANOS: i64 = 7_258_118_400_000_000_000;
/// Most samples and most nanoseconds of one batch: two years of CPU time.
const MAX_AMOUNT: u64 = 1 << 56;
/// Longest host name kept, bytes.
const MAX_HOST_BYTES: usize = 256;

/// A batch that will never be accepted.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// Its bytes are not a batch.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its window cannot be.
    #[error(
        "window from {start} to {end} ns is longer than a day or outside the years 1970 to 2200: is the host's clock right?"
    )]
    Window {
        /// Start, Unix nanoseconds.
        start: i64,
        /// End.
        end: i64,
    },
    /// It has more samples or CPU time than there can be.
    #[error("{samples} samples of {nanos} ns are more than can be: at most 2^56 of each")]
    Amount {
        /// Samples.
        samples: u64,
        /// Nanoseconds.
        nanos: u64,
    },
    /// A label cannot be stored.
    #[error("label {0:?} has a NUL character")]
    Label(String),
    /// Its counters are far more than an agent has.
    #[error("accounting of {size} bytes is over the limit of {MAX_ACCOUNTING_BYTES}")]
    Accounting {
        /// What it has.
        size: usize,
    },
}

/// A batch that is in order.
#[derive(Debug)]
pub(super) struct Examined {
    pub batch: NewBatch,
    /// The objects its samples hit and where the host has them, hottest first.
    pub objects: Vec<(ObjectId, String)>,
}

/// Who sent it.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub instance: InstanceId,
    pub host: String,
    pub version: String,
}

// === impl Refused ===

impl Refused {
    /// A word for counters.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Window { .. } => "window",
            Self::Accounting { .. } => "accounting",
            Self::Amount { .. } => "amount",
            Self::Label(_) => "label",
            Self::Open(error) => match error {
                OpenError::Id(_) => "id",
                OpenError::Format(_) => "format",
                OpenError::TooLarge { .. } => "too_large",
                OpenError::Checksum { .. } => "checksum",
                OpenError::Payload(_) | OpenError::Decode(_) => "payload",
                OpenError::Invalid(_) => "invalid",
                OpenError::Samples { .. } => "samples",
            },
        }
    }
}

/// Checks a batch completely.
pub(super) fn examine(
    sealed: &SealedBatch,
    limits: Limits,
    sender: &Sender,
) -> Result<Examined, Refused> {
    let (id, batch) = batch::open(sealed, limits)?;
    let window = batch.window();
    let (start, end) = (window.start_unix_nanos, window.end_unix_nanos);
    if start < 0 || end > LAST_UNIX_NANOS || end - start > MAX_WINDOW_NANOS {
        return Err(Refused::Window { start, end });
    }
    check_amounts(&batch)?;
    check_labels(&batch)?;
    let accounting = batch.wire().accounting.clone().unwrap_or_default();
    let size = accounting.encoded_len();
    if size > MAX_ACCOUNTING_BYTES {
        return Err(Refused::Accounting { size });
    }
    let objects = batch.hottest_objects().into_iter();
    let objects = objects.map(|(object, _, path)| (object, path.to_owned())).collect();
    let host = batch.labels().find(|(name, _)| *name == labels::HOST).map(|(_, host)| host);
    let host = cut(host.unwrap_or(&sender.host));
    let (agent_version, bytes) = (version_of(id, sender), sealed.payload.len());
    let batch = NewBatch { id, batch, host, agent_version, accounting, bytes };
    Ok(Examined { batch, objects })
}

/// Sums of many batches must fit the numbers of files and catalogs, 2^63.
fn check_amounts(batch: &Batch) -> Result<(), Refused> {
    let rows = batch.samples();
    let (samples, nanos) = rows.fold((0_u64, 0_u64), |(samples, nanos), row| {
        (samples.saturating_add(row.count), nanos.saturating_add(row.nanos))
    });
    if samples.max(nanos) > MAX_AMOUNT {
        return Err(Refused::Amount { samples, nanos });
    }
    Ok(())
}

/// PostgreSQL has no NUL in texts.
fn check_labels(batch: &Batch) -> Result<(), Refused> {
    let origins = (0..batch.origin_count()).flat_map(|origin| batch.origin_labels(origin));
    for (name, value) in batch.labels().chain(origins) {
        if name.contains('\0') || value.contains('\0') {
            return Err(Refused::Label(format!("{name}={value}").chars().take(64).collect()));
        }
    }
    Ok(())
}

/// An agent may deliver what an earlier version of it spooled.
fn version_of(id: BatchId, sender: &Sender) -> String {
    if id.instance == sender.instance { sender.version.clone() } else { String::new() }
}

/// At most [`MAX_HOST_BYTES`] of a text.
pub(super) fn cut(text: &str) -> String {
    let end = (0..=MAX_HOST_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}
