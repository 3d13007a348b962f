//! Where agents deliver.
//!
//! ```text
//! stream (per agent) → validate (cpu pool) → group commit (one task) → Ack
//!        bounded by bytes ─────────────────────────┘            ├→ WantObjects
//!                                                                └→ Busy, while there is no answer
//! ```
//!
//! In: the requests of `IngestService.Push`. Out: durable batches, and one answer each. Memory for
//! what is received and not yet durable is bounded; past it streams are not read, which an agent sees
//! as slower acknowledgement. Memory for messages of which parts are still missing is bounded by the
//! same number; past it streams end, and their agents send again. Not done here: storage itself, object uploads.

mod agents;
mod answers;
mod batch;
mod commit;
mod examine;
mod receiving;
mod service;
mod stream;

pub use agents::{AgentRecord, Agents};
pub use commit::{CommitError, Committer, GroupLimits};
pub use receiving::{Bounded, ReceiveLimits};
pub use service::{Ingest, IngestParts};

#[cfg(test)]
mod tests;
