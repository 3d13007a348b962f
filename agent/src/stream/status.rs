//! A plain picture of the delivery for metrics and people: counts only, taken at one moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{shared::Shared, upload::Uploads};

/// See the module's documentation. `…_total` names are cumulative since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// A stream to the collector is open.
    pub connected: bool,
    /// Batches held in memory only.
    pub memory_batches: u64,
    /// Batches held in the spool.
    pub spool_batches: u64,
    /// Of both, those that were sent and not answered yet.
    pub in_flight_batches: u64,
    /// Memory in use, bytes.
    pub memory_bytes: u64,
    /// Its bound.
    pub memory_limit_bytes: u64,
    /// Disk in use, bytes.
    pub spool_bytes: u64,
    /// Its bound; 0 without a spool.
    pub spool_limit_bytes: u64,
    /// Streams opened.
    pub connections_total: u64,
    /// Streams and attempts that ended in an error.
    pub connection_faults_total: u64,
    /// Batches sent, resends included.
    pub batches_sent_total: u64,
    /// Batches acknowledged.
    pub batches_acknowledged_total: u64,
    /// Of those, batches that the collector had already.
    pub batches_duplicate_total: u64,
    /// Batches rejected.
    pub batches_rejected_total: u64,
    /// Answers about batches that were not waiting for one.
    pub answers_unexpected_total: u64,
    /// Failed file operations of the spool.
    pub spool_errors_total: u64,
    /// Files of the spool that were damaged.
    pub spool_damaged_total: u64,
    /// Objects waiting to be uploaded.
    pub upload_queue: u64,
    /// Objects uploaded.
    pub uploads_done_total: u64,
    /// Objects that the collector had already.
    pub uploads_duplicate_total: u64,
    /// Uploads that failed.
    pub uploads_failed_total: u64,
    /// Requests that were refused: malformed, not known here, too large, or beyond the queue.
    pub uploads_refused_total: u64,
    /// Bytes of objects sent.
    pub upload_bytes_total: u64,
}

// === impl DeliveryStatus ===

impl DeliveryStatus {
    pub(super) fn new(shared: &Shared, uploads: &Uploads, limits: (u64, u64)) -> Self {
        let counts = shared.counts();
        let counters = &shared.counters;
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Self {
            connected: counters.connected.load(Relaxed),
            memory_batches: counts.memory_batches as u64,
            spool_batches: counts.spool_batches as u64,
            in_flight_batches: counts.in_flight_batches as u64,
            memory_bytes: counts.memory_bytes,
            memory_limit_bytes: limits.0,
            spool_bytes: counts.spool_bytes,
            spool_limit_bytes: limits.1,
            connections_total: get(&counters.connections),
            connection_faults_total: get(&counters.connection_faults),
            batches_sent_total: get(&counters.batches_sent),
            batches_acknowledged_total: get(&counters.batches_acknowledged),
            batches_duplicate_total: get(&counters.batches_duplicate),
            batches_rejected_total: get(&counters.batches_rejected),
            answers_unexpected_total: get(&counters.answers_unexpected),
            spool_errors_total: get(&counters.spool_errors),
            spool_damaged_total: get(&counters.spool_damaged),
            upload_queue: uploads.len() as u64,
            uploads_done_total: get(&counters.uploads_done),
            uploads_duplicate_total: get(&counters.uploads_duplicate),
            uploads_failed_total: get(&counters.uploads_failed),
            uploads_refused_total: get(&counters.uploads_refused),
            upload_bytes_total: get(&counters.upload_bytes),
        }
    }
}
