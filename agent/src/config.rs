//! What the agent can be told, with its defaults. Values only; `main.rs` fills them from the command
//! line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::sampler::BuildIds;

mod labels;

pub use labels::{BatchLabels, LabelError, parse_label};

/// Prime, so that sampling does not run in step with work that happens at round rates.
pub const RUN_FREQUENCY_HZ: u32 = 19;
/// Prime; a short recording wants more samples than a daemon.
pub const RECORD_FREQUENCY_HZ: u32 = 97;

/// `fleetprof-agent run`.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Where batches go.
    pub collector: String,
    /// Samples per second and CPU.
    pub frequency_hz: u32,
    /// Where build IDs of mapped files come from.
    pub build_ids: BuildIds,
    /// Span of one batch.
    pub window: Duration,
    /// Name of the host, as the collector shows it.
    pub host: String,
    /// On every sample.
    pub labels: BatchLabels,
    /// Unacknowledged batches kept in memory, bytes.
    pub buffer_bytes: u64,
    /// Unacknowledged batches kept on disk, bytes; 0 keeps none.
    pub spool_bytes: u64,
    /// Directory of the spool.
    pub spool_dir: PathBuf,
    /// Objects uploaded per second, bytes; 0 uploads none.
    pub upload_rate_bytes: u64,
    /// How often the hottest objects are looked at again for better symbols.
    pub look_again: Duration,
    /// Address of `/metrics` and `/healthz`.
    pub metrics_listen: SocketAddr,
    /// Kernel memory for unwind tables, bytes.
    pub unwind_memory_bytes: u64,
    /// Where unwind tables are kept; empty: nowhere.
    pub unwind_cache_dir: PathBuf,
}

/// `fleetprof-agent record`.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// How long to sample.
    pub duration: Duration,
    /// Where the pprof goes.
    pub output: PathBuf,
    /// Samples per second and CPU.
    pub frequency_hz: u32,
    /// Only this process.
    pub pid: Option<u32>,
}
