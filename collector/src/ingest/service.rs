//! `IngestService`: accepts streams and starts a session for each.

use std::{sync::Arc, time::Duration};

use fleetprof_proto::{
    batch::Limits,
    v1::{PushRequest, PushResponse, ingest_service_server::IngestService},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use super::{
    agents::Agents,
    commit::Committer,
    receiving::{Messages, ReceiveLimits},
    stream::Session,
};
use crate::{
    config::Config, cpu_pool::CpuPool, log_limit::LogLimit, metrics::Metrics, objects::Wants,
};

/// Answers that wait for a client to read them.
const ANSWERS: usize = 64;

/// The service. Cloning shares it.
#[derive(Clone)]
pub struct Ingest {
    pub(super) parts: Arc<IngestParts>,
    /// One permit per stream.
    streams: Arc<Semaphore>,
    /// One permit per byte of payload that is not yet durable.
    pub(super) memory: Arc<Semaphore>,
    /// The most permits that `memory` gives.
    pub(super) memory_bytes: u32,
    pub(super) busy_interval: Duration,
    tracker: TaskTracker,
    /// For batches that are refused.
    pub(super) log: Arc<LogLimit>,
}

/// What the service works with.
pub struct IngestParts {
    /// Where batches go.
    pub committer: Committer,
    /// Where they are validated.
    pub pool: CpuPool,
    /// What they may be.
    pub limits: Limits,
    /// Who is connected.
    pub agents: Agents,
    /// Which objects are missing.
    pub wants: Wants,
    /// Counters.
    pub metrics: Metrics,
    /// When it fires, streams finish what they have and end.
    pub stop: CancellationToken,
}

// === impl Ingest ===

impl Ingest {
    /// The service over its parts; `tracker` follows its sessions.
    pub fn new(config: &Config, parts: IngestParts, tracker: TaskTracker) -> Self {
        // A batch of the largest size must fit.
        let bytes = config.queue_bytes.max(config.limits.max_payload_bytes);
        let bytes = u32::try_from(bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            parts: Arc::new(parts),
            streams: Arc::new(Semaphore::new(config.max_agents.min(Semaphore::MAX_PERMITS))),
            memory: Arc::new(Semaphore::new(bytes as usize)),
            memory_bytes: bytes,
            busy_interval: config.busy_interval,
            tracker,
            log: Arc::default(),
        }
    }

    /// How much is received at a time: of all, one message at least. The largest one that is read at all is
    /// twice the largest batch, so that one that is somewhat too large is answered with a Reject and its
    /// agent goes on with the next.
    pub fn receive_limits(&self) -> ReceiveLimits {
        let message_bytes =
            self.parts.limits.max_payload_bytes.saturating_mul(2).saturating_add(1 << 20);
        let all_bytes = (self.memory_bytes as usize).max(message_bytes.saturating_add(1 << 20));
        ReceiveLimits { all_bytes, message_bytes }
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type PushStream = ReceiverStream<Result<PushResponse, Status>>;

    async fn push(
        &self,
        request: Request<Streaming<PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        if self.parts.stop.is_cancelled() {
            return Err(Status::unavailable("the collector is shutting down; connect again"));
        }
        let Ok(permit) = self.streams.clone().try_acquire_owned() else {
            return Err(Status::resource_exhausted(
                "too many agents are connected to this collector (--max-agents); try again later",
            ));
        };
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let Some(requests) = Messages::of(request.extensions()) else {
            return Err(Status::internal("the requests do not come through `Bounded`"));
        };
        let session = Session::new(self.clone(), requests, answers);
        self.tracker.spawn(async move {
            session.run().await;
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
