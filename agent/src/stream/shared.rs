//! What the sampling thread, the tasks and the metrics share: the outbox behind a mutex, and the
//! ledger, which always moves together with it. No network and no disk here.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fleetprof_proto::{ids::BatchId, v1};
use tokio::sync::Notify;
use tracing::warn;

use super::{
    outbox::{Answer, Effect, Item, Outbox, OutboxCounts, OutboxLimits, Send, SpoolOp},
    quiet::Quiet,
    spool::{Found, Spool},
};
use crate::accounting::{DropReason, Ledger};

/// How often the same reason of loss is logged.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Cumulative counts that no one decides on.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) connection_faults: AtomicU64,
    pub(super) connected: AtomicBool,
    pub(super) batches_sent: AtomicU64,
    pub(super) batches_acknowledged: AtomicU64,
    pub(super) batches_duplicate: AtomicU64,
    pub(super) batches_rejected: AtomicU64,
    pub(super) answers_unexpected: AtomicU64,
    pub(super) spool_errors: AtomicU64,
    pub(super) spool_damaged: AtomicU64,
    pub(super) uploads_done: AtomicU64,
    pub(super) uploads_duplicate: AtomicU64,
    pub(super) uploads_failed: AtomicU64,
    pub(super) uploads_refused: AtomicU64,
    pub(super) upload_bytes: AtomicU64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ledger: Arc<Ledger>,
    pub(super) counters: Counters,
    /// Something to send, or room in the window.
    pub(super) send_wake: Notify,
    /// Something to write or delete.
    pub(super) spool_wake: Notify,
    outbox: Mutex<Outbox<v1::SealedBatch>>,
    drop_log: Mutex<Vec<(DropReason, Quiet<()>)>>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(limits: OutboxLimits, ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            counters: Counters::default(),
            send_wake: Notify::new(),
            spool_wake: Notify::new(),
            outbox: Mutex::new(Outbox::new(limits)),
            drop_log: Mutex::new(
                DropReason::ALL
                    .iter()
                    .map(|reason| (*reason, Quiet::new(DROP_LOG_INTERVAL)))
                    .collect(),
            ),
        }
    }

    pub(super) fn recover(&self, found: &[Found], now: Instant) {
        self.change(|outbox| {
            let mut effects = Vec::new();
            for batch in found {
                self.ledger.recovered(batch.samples);
                let item = Item {
                    id: batch.id,
                    samples: batch.samples,
                    bytes: batch.bytes,
                    disk_bytes: batch.bytes,
                    payload: (),
                };
                effects.extend(outbox.recover(&item, now));
            }
            ((), effects)
        });
    }

    /// Never blocks on network or disk.
    pub(super) fn submit(&self, id: BatchId, sealed: v1::SealedBatch) {
        let message_bytes = prost::Message::encoded_len(&sealed) as u64;
        let item = Item {
            id,
            samples: sealed.samples,
            bytes: message_bytes,
            disk_bytes: Spool::disk_bytes(message_bytes),
            payload: sealed,
        };
        self.change(|outbox| ((), outbox.submit(item, now())));
        self.send_wake.notify_one();
        self.spool_wake.notify_one();
    }

    pub(super) fn next_send(&self) -> Option<Send<v1::SealedBatch>> {
        self.lock().next_send(now())
    }

    pub(super) fn loaded(&self, id: BatchId) -> bool {
        self.lock().loaded(id, now())
    }

    pub(super) fn load_postponed(&self, id: BatchId) {
        self.lock().load_postponed(id, now());
    }

    pub(super) fn reads_resume(&self) -> Option<Instant> {
        self.lock().reads_resume()
    }

    pub(super) fn set_aside(&self, bytes: u64) {
        self.lock().set_aside(bytes);
    }

    pub(super) fn load_failed(&self, id: BatchId, reason: DropReason) {
        self.change(|outbox| ((), outbox.load_failed(id, reason).into_iter().collect()));
        self.spool_wake.notify_one();
    }

    /// Whether it was an answer to something.
    pub(super) fn answered(&self, id: BatchId, accepted: bool) -> Answer {
        let answer = self.change(|outbox| {
            let answer = if accepted { outbox.acknowledged(id) } else { outbox.rejected(id) };
            let effects = match answer {
                Answer::Expected(effect) => vec![effect],
                Answer::Gone | Answer::NeverSent => Vec::new(),
            };
            (answer, effects)
        });
        self.spool_wake.notify_one();
        answer
    }

    pub(super) fn disconnected(&self) {
        self.lock().disconnected();
        self.spool_wake.notify_one();
    }

    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.lock().waiting_since()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn counts(&self) -> OutboxCounts {
        self.lock().counts()
    }

    pub(super) fn next_spool_op(&self) -> SpoolOp<v1::SealedBatch> {
        self.change(|outbox| outbox.next_spool_op(now()))
    }

    pub(super) fn written(&self, id: BatchId) {
        self.change(|outbox| ((), outbox.written(id).into_iter().collect()));
    }

    pub(super) fn write_failed(&self, id: BatchId) {
        self.change(|outbox| ((), outbox.write_failed(id, now())));
    }

    pub(super) fn deleted(&self, id: BatchId) {
        self.lock().deleted(id);
    }

    pub(super) fn hurry(&self) {
        self.lock().hurry();
        self.spool_wake.notify_one();
    }

    pub(super) fn abandon(&self, reason: DropReason) {
        self.change(|outbox| ((), outbox.abandon(reason)));
    }

    /// Changes the outbox and posts the effects to the ledger before anyone else sees either.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Outbox<v1::SealedBatch>) -> (T, Vec<Effect>),
    ) -> T {
        let mut outbox = self.lock();
        let (result, effects) = change(&mut outbox);
        effects.iter().for_each(|effect| post(&self.ledger, effect));
        drop(outbox);
        for effect in &effects {
            if let Effect::Dropped { id, samples, reason, .. } = effect {
                self.log_drop(*id, *samples, *reason);
            }
        }
        result
    }

    pub(super) fn log_drop(&self, id: BatchId, samples: u64, reason: DropReason) {
        let mut log = self.drop_log.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = log.iter_mut().find(|(of, _)| *of == reason);
        let Some(left_out) = quiet.and_then(|(_, quiet)| quiet.admit((), now())) else { return };
        warn!(
            reason = reason.name(), explanation = reason.sentence(), batch = %id, samples,
            batches_not_logged = left_out, remedy = remedy(reason), "batch dropped"
        );
    }

    fn lock(&self) -> MutexGuard<'_, Outbox<v1::SealedBatch>> {
        // A panic inside the outbox is a bug; its numbers are still the best there is.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of the runtime, so that tests can move it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

/// Enters one effect into the ledger.
pub(super) fn post(ledger: &Ledger, effect: &Effect) {
    match *effect {
        Effect::Spooled { samples } => ledger.spooled(samples),
        Effect::Delivered { owner, place, samples } => ledger.delivered(owner, place, samples),
        Effect::Dropped { owner, place, samples, reason, .. } => {
            ledger.lost(owner, place, reason, samples);
        }
    }
}

/// What an operator can do about it.
fn remedy(reason: DropReason) -> &'static str {
    match reason {
        DropReason::BufferFull => {
            "bring the collector back, raise --buffer-bytes, or give a spool with --spool-bytes"
        }
        DropReason::SpoolFull => "bring the collector back, or raise --spool-bytes",
        DropReason::SpoolError => "see the spool's own errors; free or repair its disk",
        DropReason::SpoolDamaged => "check the disk of the spool; the file is kept as *.damaged",
        DropReason::Rejected => {
            "see the collector's reason; agent and collector may differ in version"
        }
        DropReason::Shutdown => "give a spool with --spool-bytes to keep batches across restarts",
        DropReason::TooLarge => "use a shorter window; the collector would refuse the batch",
        DropReason::Undecodable | DropReason::SealFailed => {
            "report this; samples were lost inside the agent"
        }
    }
}
