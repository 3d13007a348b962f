//! Group commit: batches of many agents share one pair of files and one transaction.
//!
//! In: validated batches from any task. Out: each is answered when its group is durable or has
//! failed. One group is written at a time; while it is, the next one gathers. A part of the price of a group
//! is the same for one batch and a thousand, so a busy collector gathers for longer.

use std::{sync::Arc, time::Duration};

use fleetprof_store::{Appended, NewBatch, ProfileStore, StoreError};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tracing::error;

use crate::{config::Config, metrics::Metrics};

/// Batches waiting for their group. Their bytes are bounded by the caller.
const QUEUE: usize = 1024;

/// How much longer a group is gathered than the last one took to write: the larger a group is, the more of its
/// stacks are there already.
const WORTH_WAITING: u32 = 4;

/// Where groups go.
pub trait Keep: Send + Sync + 'static {
    /// Keeps batches, all or none of them; answers when they are durable.
    ///
    /// # Errors
    /// When they are not, or it is not known.
    fn keep(
        &self,
        batches: Vec<NewBatch>,
    ) -> impl Future<Output = Result<Vec<Appended>, StoreError>> + Send;
}

/// Hands batches to the committing task. When the last clone is dropped, the task finishes what it
/// has and ends.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Pending>,
}

#[derive(Debug)]
struct Pending {
    batch: NewBatch,
    /// What it takes, until it is durable or was refused.
    memory: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<Appended, Arc<StoreError>>>,
}

/// What is counted of a batch when it is durable.
#[derive(Clone, Copy, Debug)]
struct Size {
    samples: u64,
    bytes: u64,
}

/// How large a group may be.
#[derive(Clone, Copy, Debug)]
pub struct GroupLimits {
    /// How long the first batch of a group waits at most; it is a quarter of that unless writing takes longer.
    pub delay: Duration,
    /// Rows of batches ([`Batch::rows`](fleetprof_proto::batch::Batch::rows)) at which a group is full.
    pub rows: usize,
}

/// A batch that is not durable.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    /// Storage failed.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The collector is ending.
    #[error("the collector is shutting down")]
    Closed,
}

impl Keep for ProfileStore {
    fn keep(
        &self,
        batches: Vec<NewBatch>,
    ) -> impl Future<Output = Result<Vec<Appended>, StoreError>> + Send {
        self.append(batches)
    }
}

// === impl GroupLimits ===

impl GroupLimits {
    /// Those of a collector.
    pub fn of(config: &Config) -> Self {
        Self { delay: config.commit_delay, rows: config.commit_rows }
    }
}

// === impl Committer ===

impl Committer {
    /// Starts the committing task.
    pub fn start(
        store: impl Keep,
        limits: GroupLimits,
        metrics: Metrics,
    ) -> (Self, JoinHandle<()>) {
        let (queue, pending) = mpsc::channel(QUEUE);
        (Self { queue }, tokio::spawn(run(store, limits, metrics, pending)))
    }

    /// Answers when the batch is durable. `memory` is given back then, also when the caller has gone away.
    ///
    /// # Errors
    /// When it is not; it may be sent again.
    pub async fn commit(
        &self,
        batch: NewBatch,
        memory: OwnedSemaphorePermit,
    ) -> Result<Appended, CommitError> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { batch, memory, reply };
        self.queue.send(pending).await.map_err(|_| CommitError::Closed)?;
        answer.await.map_err(|_| CommitError::Closed)?.map_err(CommitError::Store)
    }
}

// === impl Size ===

impl Size {
    fn of(batch: &NewBatch) -> Self {
        Self { samples: batch.batch.sample_total(), bytes: batch.bytes as u64 }
    }
}

async fn run(
    store: impl Keep,
    limits: GroupLimits,
    metrics: Metrics,
    mut pending: mpsc::Receiver<Pending>,
) {
    let mut wait = limits.delay / 4;
    while let Some(first) = pending.recv().await {
        let group = gather(first, wait, limits.rows, &mut pending).await;
        let (batches, waiting): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|Pending { batch, memory, reply }| (batch, (memory, reply)))
            .unzip();
        let (memory, replies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        metrics.commit_batches.observe(batches.len() as f64);
        let sizes: Vec<_> = batches.iter().map(Size::of).collect();
        let started = Instant::now();
        let result = store.keep(batches).await;
        drop(memory);
        let took = started.elapsed();
        metrics.commit_seconds.observe(took.as_secs_f64());
        wait = (took * WORTH_WAITING).clamp(limits.delay / 4, limits.delay);
        answer(result, &sizes, replies, &metrics);
    }
}

async fn gather(
    first: Pending,
    wait: Duration,
    most_rows: usize,
    pending: &mut mpsc::Receiver<Pending>,
) -> Vec<Pending> {
    let until = Instant::now() + wait;
    let mut rows = first.batch.batch.rows();
    let mut group = vec![first];
    while rows < most_rows {
        let Ok(Some(next)) = timeout_at(until, pending.recv()).await else { break };
        rows = rows.saturating_add(next.batch.batch.rows());
        group.push(next);
    }
    group
}

fn answer(
    result: Result<Vec<Appended>, StoreError>,
    sizes: &[Size],
    replies: Vec<oneshot::Sender<Result<Appended, Arc<StoreError>>>>,
    metrics: &Metrics,
) {
    // A reply that nobody waits for is of a stream that ended: its agent sends again and is told
    // that the batch is there.
    match result {
        Ok(appended) => {
            for ((appended, size), reply) in appended.into_iter().zip(sizes).zip(replies) {
                match appended {
                    Appended::Stored => {
                        metrics.batches.inc();
                        metrics.samples.inc_by(size.samples);
                        metrics.bytes.inc_by(size.bytes);
                    }
                    Appended::Duplicate => {
                        metrics.duplicates.inc();
                    }
                }
                let _ = reply.send(Ok(appended));
            }
        }
        Err(failure) => {
            metrics.commit_failures.inc();
            error!(error = %failure, batches = sizes.len(), "cannot store; agents will send again");
            let failure = Arc::new(failure);
            for reply in replies {
                let _ = reply.send(Err(failure.clone()));
            }
        }
    }
}
