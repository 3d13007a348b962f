//! What of delivering need not be decided by an operator.

use std::time::Duration;

/// Times and sizes that fit every host; tests make them small.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Age at which an unacknowledged batch goes to the spool.
    pub spool_after: Duration,
    /// Pause after a failed write to the spool.
    pub spool_retry: Duration,
    /// Batches that the spool is about to take may exceed the memory buffer by so many bytes.
    pub transit_bytes: u64,
    /// Batches sent and not answered.
    pub in_flight_batches: usize,
    /// Their bytes.
    pub in_flight_bytes: u64,
    /// Longest wait for the connection, and for the answer to the call.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to a batch, or for the collector to say that it is busy with some, after
    /// which the stream is given up.
    pub ack_timeout: Duration,
    /// HTTP/2 ping interval, which is also how long a peer may take to answer one.
    pub keepalive: Duration,
    /// Age at which a connection is replaced by a new one, more or less: behind a load balancer, collectors
    /// that were added get their share of the agents that way.
    pub connection_age: Duration,
    /// Span of the first wait before a new attempt.
    pub backoff_first: Duration,
    /// Longest span.
    pub backoff_longest: Duration,
    /// Largest object uploaded, bytes.
    pub upload_max_bytes: u64,
    /// Longest silence of an upload in either direction.
    pub upload_stall: Duration,
    /// Longest span of a wait after the collector has taken no upload.
    pub upload_backoff_longest: Duration,
    /// How often the hottest objects are looked at again: debug information may have come.
    pub offer_interval: Duration,
}

// === impl Tuning ===

impl Default for Tuning {
    fn default() -> Self {
        Self {
            spool_after: Duration::from_secs(2),
            spool_retry: Duration::from_secs(10),
            transit_bytes: 4 << 20,
            in_flight_batches: 8,
            in_flight_bytes: 4 << 20,
            connect_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(60),
            keepalive: Duration::from_secs(20),
            connection_age: Duration::from_secs(15 * 60),
            backoff_first: Duration::from_millis(250),
            backoff_longest: Duration::from_secs(30),
            upload_max_bytes: 1 << 30,
            upload_stall: Duration::from_secs(60),
            upload_backoff_longest: Duration::from_secs(300),
            offer_interval: Duration::from_secs(600),
        }
    }
}
