//! Delivering: closed batches become sealed ones, wait in memory and then on disk, travel to the
//! collector, and leave when it has acknowledged them. Objects it asks for are uploaded.
//!
//! In: [`Batch`]es from the window, and an [`ObjectSource`]. Out: gRPC to one collector, files in the
//! spool directory, and entries in the [`Ledger`]. It does not look into batches, and it takes no
//! samples.
//!
//! | stage | bound | when it is full |
//! |---|---|---|
//! | memory buffer | [`DeliveryConfig::buffer_bytes`] | from half: the oldest go to the spool early, with [`Tuning::transit_bytes`] on their way; full: the oldest are dropped (`buffer_full`, `spool_error`) |
//! | spool | [`DeliveryConfig::spool_bytes`] | the oldest are dropped (`spool_full`) |
//! | unanswered | [`Tuning::in_flight_batches`], [`Tuning::in_flight_bytes`] | nothing more is sent |
//! | wanted objects | [`upload::QUEUE_OBJECTS`] | further requests are refused and counted; the collector asks again |
//!
//! Whatever happens, SIGKILL included, loses at most the current window and the batches that are
//! younger than [`Tuning::spool_after`] and not acknowledged; all of it is counted except after a
//! SIGKILL. Then the collector sees a part of it: what the last batch that it has says was taken, and
//! what it stored and was told to be dropped, differ (`unaccounted_samples`). What was taken after that
//! batch leaves no trace. The same holds for what is dropped at the very end, after the last batch.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use fleetprof_proto::{
    batch::{self, Batch, Limits},
    ids::{BatchId, InstanceId},
};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle, time::timeout_at};
use tracing::{error, info};

use crate::accounting::{DropReason, Ledger, Owner, Place};

mod backoff;
mod client;
mod offers;
mod outbox;
mod quiet;
mod shared;
mod spool;
mod status;
mod tuning;
pub mod upload;
mod writer;

pub use client::EndpointError;
pub use spool::SpoolError;
pub use status::DeliveryStatus;
pub use tuning::Tuning;
pub use upload::{ObjectSource, OpenObjectError, ReadSeek, Upload};

use client::{Client, ClientConfig};
use offers::Offers;
use shared::Shared;
use spool::Spool;
use upload::{UploadConfig, Uploads};

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// `http://HOST:PORT` of the collector.
    pub collector: String,
    /// Host name, for the collector's status page.
    pub host: String,
    /// Batches kept in memory, bytes.
    pub buffer_bytes: u64,
    /// Directory of the spool.
    pub spool_dir: PathBuf,
    /// Batches kept in the spool, bytes; 0 = no spool.
    pub spool_bytes: u64,
    /// Objects uploaded per second, bytes; 0 = none.
    pub upload_rate_bytes: u64,
    /// What need not be decided.
    pub tuning: Tuning,
}

/// Delivery could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The collector's address is unusable.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The spool is unusable.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// How far delivery has come; every phase includes the duties of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Deliver.
    Run,
    /// Deliver what is there and end; nothing new comes.
    Drain,
    /// End now.
    Stop,
}

/// What was there at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples of this instance that were acknowledged, since its start.
    pub delivered_samples: u64,
    /// Batches left in the spool for the next start, of this and earlier instances.
    pub spooled_batches: usize,
    /// Their samples.
    pub spooled_samples: u64,
    /// Batches lost at the end: there was no spool, or it could not be written.
    pub lost_batches: usize,
    /// Their samples.
    pub lost_samples: u64,
}

/// Takes batches from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeliveryHandle {
    shared: Arc<Shared>,
    uploads: Arc<Uploads>,
    offers: Arc<Offers>,
    instance: InstanceId,
    sequence: Arc<AtomicU64>,
    limits: (u64, u64),
}

/// The running tasks. Dropping it stops them at once and writes nothing; see
/// [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Delivery {
    handle: DeliveryHandle,
    has_spool: bool,
    phase: watch::Sender<Phase>,
    client: JoinHandle<()>,
    uploader: JoinHandle<()>,
    looker: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

// === impl Delivery ===

impl Delivery {
    /// Opens the spool and starts delivering. Needs a tokio runtime with time and I/O.
    ///
    /// Blocks on the disk while it looks at the spool, so that everything an earlier instance left is
    /// in line before the first new batch.
    ///
    /// # Errors
    /// When the address is not one, or the spool cannot be used. A collector that is away is no error.
    pub fn start(
        config: DeliveryConfig,
        ledger: Arc<Ledger>,
        objects: Arc<dyn ObjectSource>,
    ) -> Result<Self, StartError> {
        let tuning = config.tuning;
        let endpoint = client::endpoint(&config.collector, &tuning)?;
        let limits = outbox::OutboxLimits {
            memory_bytes: config.buffer_bytes,
            transit_bytes: tuning.transit_bytes,
            spool_bytes: (config.spool_bytes > 0).then_some(config.spool_bytes),
            spool_after: tuning.spool_after,
            spool_retry: tuning.spool_retry,
            in_flight_batches: tuning.in_flight_batches,
            in_flight_bytes: tuning.in_flight_bytes,
        };
        let shared = Arc::new(Shared::new(limits, ledger));
        let spool = match limits.spool_bytes {
            Some(_) => Some(Arc::new(open_spool(&config.spool_dir, &shared)?)),
            None => None,
        };
        let instance = InstanceId::random();
        let (phase, _) = watch::channel(Phase::Run);
        let uploads = Arc::new(Uploads::default());
        let upload_config = UploadConfig {
            endpoint: endpoint.clone(),
            url: config.collector.clone(),
            rate_bytes: config.upload_rate_bytes,
            max_bytes: tuning.upload_max_bytes,
            stall: tuning.upload_stall,
            backoff: (tuning.backoff_first, tuning.upload_backoff_longest),
        };
        let uploader = upload::run(
            upload_config,
            Arc::clone(&uploads),
            Arc::clone(&shared),
            Arc::clone(&objects),
            phase.subscribe(),
        );
        let offers = Arc::new(Offers::default());
        let looker =
            offers::run(Arc::clone(&offers), objects, tuning.offer_interval, phase.subscribe());
        let client_config =
            ClientConfig { endpoint, url: config.collector, host: config.host, instance, tuning };
        let client = Client::new(
            client_config,
            Arc::clone(&shared),
            spool.clone(),
            Arc::clone(&uploads),
            Arc::clone(&offers),
            phase.subscribe(),
        );
        let has_spool = spool.is_some();
        let writer = spool
            .map(|spool| tokio::spawn(writer::run(Arc::clone(&shared), spool, phase.subscribe())));
        let sequence = Arc::new(AtomicU64::new(0));
        let limits = (config.buffer_bytes, config.spool_bytes);
        let handle = DeliveryHandle { shared, uploads, offers, instance, sequence, limits };
        info!(%instance, "delivery started");
        Ok(Self {
            handle,
            has_spool,
            phase,
            client: tokio::spawn(client.run()),
            uploader: tokio::spawn(uploader),
            looker: tokio::spawn(looker),
            writer,
        })
    }

    /// To submit batches with, from any thread.
    #[must_use]
    pub fn handle(&self) -> DeliveryHandle {
        self.handle.clone()
    }

    /// Ends delivery: writes everything to the spool at once, so that nothing is lost should the
    /// process be killed meanwhile, and goes on sending until everything is acknowledged, the
    /// collector turns out to be away, or `deadline` has passed. Submit the last batch before. It takes
    /// at most [`WRITER_GRACE`] longer than `deadline`.
    pub async fn shutdown(mut self, deadline: Duration) -> Summary {
        let end = tokio::time::Instant::now() + deadline;
        self.handle.shared.hurry();
        self.phase.send_replace(Phase::Drain);
        self.uploader.abort();
        self.looker.abort();
        if timeout_at(end, &mut self.client).await.is_err() {
            self.client.abort();
        }
        self.handle.shared.disconnected();
        self.phase.send_replace(Phase::Stop);
        if let Some(writer) = self.writer.take() {
            join_writer(writer, end + WRITER_GRACE).await;
        }
        let shared = &self.handle.shared;
        let counts = shared.counts();
        shared.abandon(if self.has_spool { DropReason::SpoolError } else { DropReason::Shutdown });
        Summary {
            delivered_samples: shared.ledger.snapshot().delivered,
            spooled_batches: counts.spool_batches,
            spooled_samples: counts.spool_samples,
            lost_batches: counts.memory_batches,
            lost_samples: counts.memory_samples,
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stop);
        self.client.abort();
        self.uploader.abort();
        self.looker.abort();
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

/// A disk that hangs must not keep the agent from ending: what it may still write is whole or absent.
/// The spool was told to hurry when the shutdown began, so it has had longer than this.
pub const WRITER_GRACE: Duration = Duration::from_secs(2);

async fn join_writer(writer: JoinHandle<()>, until: tokio::time::Instant) {
    let abort = writer.abort_handle();
    match timeout_at(until, writer).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!(%error, "the spool's writer failed"),
        Err(_) => {
            abort.abort();
            error!("the spool's disk does not respond; not everything could be written");
        }
    }
}

fn open_spool(dir: &std::path::Path, shared: &Shared) -> Result<Spool, SpoolError> {
    let (spool, scan) = Spool::open(dir)?;
    shared::add(&shared.counters.spool_damaged, scan.damaged);
    shared::add(&shared.counters.spool_errors, scan.unreadable);
    let damaged_samples = scan.damaged_samples;
    shared.ledger.recovered(damaged_samples);
    shared.ledger.lost(Owner::Earlier, Place::Spool, DropReason::SpoolDamaged, damaged_samples);
    let strange = scan.damaged + scan.foreign + scan.unreadable;
    if !scan.found.is_empty() || strange > 0 {
        let samples: u64 = scan.found.iter().map(|batch| batch.samples).sum();
        info!(
            dir = %dir.display(), batches = scan.found.len(), samples, damaged = scan.damaged,
            damaged_samples, of_newer_version = scan.foreign, unreadable = scan.unreadable,
            "earlier batches found in the spool"
        );
    }
    shared.set_aside(spool.aside_bytes());
    shared.recover(&scan.found, shared::now());
    Ok(spool)
}

// === impl DeliveryHandle ===

impl DeliveryHandle {
    /// Which start of the agent this is.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Seals a batch and puts it in line. Never waits for network or disk; compressing takes some
    /// 5 ms per megabyte. The batch's samples must have been [sealed](Ledger::seal) in the ledger.
    pub fn submit(&self, batch: &Batch) {
        self.offers.hit(batch);
        let sequence = self.sequence.fetch_add(1, Relaxed) + 1;
        let id = BatchId { instance: self.instance, sequence };
        let lost = |reason| {
            let samples = batch.sample_total();
            self.shared.ledger.lost(Owner::This, Place::Memory, reason, samples);
            self.shared.log_drop(id, samples, reason);
        };
        let mut sealed = match batch::seal(id, batch) {
            Ok(sealed) => sealed,
            Err(error) => {
                error!(%error, "batch could not be compressed");
                return lost(DropReason::SealFailed);
            }
        };
        let limits = Limits::default();
        if sealed.payload.len() > limits.max_payload_bytes || sealed.raw_size > limits.max_raw_bytes
        {
            // It would break every stream it is sent on.
            return lost(DropReason::TooLarge);
        }
        // The compressor's buffer has room for the worst case: keep what is used.
        sealed.payload = Bytes::copy_from_slice(&sealed.payload);
        self.shared.submit(id, sealed);
    }

    /// What is where now.
    #[must_use]
    pub fn status(&self) -> DeliveryStatus {
        DeliveryStatus::new(&self.shared, &self.uploads, self.limits)
    }
}

#[cfg(test)]
mod tests;
