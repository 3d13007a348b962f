//! One batch of a stream, from its bytes to its answer.
//!
//! In: a sealed batch. Out: an Ack when it is durable, a Reject when it never will be, or the fault of the
//! storage. Dropped half-way, what is not yet with the committer is forgotten: the agent sends it again.

use std::sync::Arc;

use fleetprof_proto::{
    ids::ObjectId,
    v1::{Ack, PushResponse, Reject, SealedBatch, push_response::Message},
};
use fleetprof_store::Appended;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tracing::warn;

use super::{
    commit::CommitError,
    examine::{self, Examined, Refused, Sender},
    service::Ingest,
};
use crate::metrics::ReasonLabel;

/// The answer to one batch.
pub(super) struct Answer {
    pub(super) response: PushResponse,
    /// What it hit and where the host has it, hottest first; empty when it was not stored now.
    pub(super) objects: Vec<(ObjectId, String)>,
}

/// Waits until there is memory for the batch, which ends its `turn`, and takes it from there.
pub(super) async fn process(
    ingest: Ingest,
    sender: Arc<Sender>,
    sealed: SealedBatch,
    turn: OwnedSemaphorePermit,
) -> Result<Answer, Status> {
    let memory = tokio::select! {
        memory = reserve(&ingest, &sealed) => memory?,
        () = ingest.parts.stop.cancelled() => return Err(stopping()),
    };
    drop(turn);
    let (instance, sequence) = (sealed.instance.clone(), sealed.sequence);
    let parts = &ingest.parts;
    let limits = parts.limits;
    let examine = move || examine::examine(&sealed, limits, &sender);
    let examined = parts.pool.run(examine).await;
    let Examined { batch, objects } = match examined.map_err(|e| Status::internal(e.to_string()))? {
        Ok(examined) => examined,
        Err(refused) => return Ok(rejected(&ingest, instance, sequence, &refused)),
    };
    let appended = parts.committer.commit(batch, memory).await;
    let duplicate = match appended.map_err(|error| commit_status(&error))? {
        Appended::Stored => false,
        Appended::Duplicate => true,
    };
    let ack = Message::Ack(Ack { instance, sequence, duplicate });
    let objects = if duplicate { Vec::new() } else { objects };
    Ok(Answer { response: PushResponse { message: Some(ack) }, objects })
}

/// Why a stream ends when the collector does.
pub(super) fn stopping() -> Status {
    Status::unavailable("the collector is shutting down; connect again")
}

/// Memory for a batch, opened and as it came.
async fn reserve(ingest: &Ingest, sealed: &SealedBatch) -> Result<OwnedSemaphorePermit, Status> {
    // Numbers are shorter there than in memory.
    let opened = sealed.raw_size.saturating_mul(2);
    let bytes = opened.saturating_add(sealed.payload.len() as u64);
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(ingest.memory_bytes);
    let permit = ingest.memory.clone().acquire_many_owned(bytes).await;
    permit.map_err(|_| stopping())
}

fn rejected(ingest: &Ingest, instance: Vec<u8>, sequence: u64, refused: &Refused) -> Answer {
    let reason = refused.reason();
    ingest.parts.metrics.rejected.get_or_create(&ReasonLabel { reason }).inc();
    if let Some(silent) = ingest.log.allow() {
        warn!(sequence, %refused, silent, "batch refused");
    }
    let reject = Message::Reject(Reject { instance, sequence, reason: refused.to_string() });
    Answer { response: PushResponse { message: Some(reject) }, objects: Vec::new() }
}

fn commit_status(error: &CommitError) -> Status {
    match error {
        CommitError::Store(store) if store.is_full() => {
            Status::resource_exhausted(format!("the collector cannot store: {store}"))
        }
        CommitError::Store(store) => {
            Status::unavailable(format!("the collector cannot store: {store}"))
        }
        CommitError::Closed => Status::unavailable(error.to_string()),
    }
}
