//! The stream to the collector: one long-lived `Push` call, opened again and again.
//!
//! In: what the outbox says is next. Out: batches to the collector, its answers to the outbox and
//! the upload queue. Decides nothing about which batch, only about when to connect.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use fleetprof_proto::{
    batch::{self, Limits, OLDEST_FORMAT},
    ids::{BatchId, InstanceId},
    v1::{self, ingest_service_client::IngestServiceClient},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};
use tracing::{info, warn};

use super::{
    Phase, Tuning,
    backoff::Backoff,
    offers::Offers,
    outbox::{Answer, Send},
    quiet::Quiet,
    shared::{Shared, add, now},
    spool::{ReadError, Spool},
    upload::Uploads,
};
use crate::accounting::DropReason;

mod endpoint;
mod fault;

pub use endpoint::EndpointError;
pub(super) use endpoint::endpoint;
pub(super) use fault::{Cause, Fault};

/// How often the same fault is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Reasons and messages of a collector are cut to this many characters before they are logged.
const MAX_LOGGED_CHARS: usize = 300;

/// Whom to talk to, and as whom.
#[derive(Clone, Debug)]
pub(super) struct ClientConfig {
    pub(super) endpoint: Endpoint,
    pub(super) url: String,
    pub(super) host: String,
    pub(super) instance: InstanceId,
    pub(super) tuning: Tuning,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Client {
    config: ClientConfig,
    shared: Arc<Shared>,
    spool: Option<Arc<Spool>>,
    uploads: Arc<Uploads>,
    offers: Arc<Offers>,
    phase: watch::Receiver<Phase>,
    backoff: Backoff,
    faults: Quiet<Cause>,
    rejects: Quiet<String>,
    connected_once: bool,
}

/// How a connection ends when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is nothing left to do.
    Done,
    /// It was old; the next one may lead to another collector.
    Renew,
}

/// One open call.
struct Call {
    requests: mpsc::Sender<v1::PushRequest>,
    responses: Streaming<v1::PushResponse>,
    /// The batch being read from the spool: at most one.
    load: Option<(BatchId, JoinHandle<Result<v1::SealedBatch, ReadError>>)>,
    /// The newest format of batches that the collector has said that it takes.
    batch_format: u32,
    /// When the collector last answered a batch, or said that it is busy with some.
    last_sign: Option<std::time::Instant>,
    /// When it is to be replaced by a new one, as soon as nothing is unanswered.
    renew_at: std::time::Instant,
}

// === impl Client ===

impl Client {
    pub(super) fn new(
        config: ClientConfig,
        shared: Arc<Shared>,
        spool: Option<Arc<Spool>>,
        uploads: Arc<Uploads>,
        offers: Arc<Offers>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let backoff = Backoff::new(config.tuning.backoff_first, config.tuning.backoff_longest);
        let (faults, rejects) = (Quiet::new(LOG_INTERVAL), Quiet::new(LOG_INTERVAL));
        Self {
            config,
            shared,
            spool,
            uploads,
            offers,
            phase,
            backoff,
            faults,
            rejects,
            connected_once: false,
        }
    }

    /// Delivers until told to end. While draining, it ends when everything is acknowledged, or at the
    /// first fault: a collector that is away now will not come back within a shutdown.
    pub(super) async fn run(mut self) {
        loop {
            let draining = *self.phase.borrow() != Phase::Run;
            if draining && self.shared.is_empty() {
                return;
            }
            let ended = self.connection().await;
            self.shared.counters.connected.store(false, Relaxed);
            self.shared.disconnected();
            self.offers.set_taken(false);
            let fault = match ended {
                Ok(End::Done) => return,
                Ok(End::Renew) => continue,
                Err(fault) => fault,
            };
            add(&self.shared.counters.connection_faults, 1);
            self.report(&fault);
            // A fault that began before the drain says nothing about the collector now.
            if draining {
                return;
            }
            let wait = self.backoff.next();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = self.phase.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One connection from its opening to its end.
    pub(super) async fn connection(&mut self) -> Result<End, Fault> {
        let mut call = self.open().await.map_err(Fault::while_opening)?;
        self.shared.counters.connected.store(true, Relaxed);
        add(&self.shared.counters.connections, 1);
        if !std::mem::replace(&mut self.connected_once, true) {
            info!(url = %self.config.url, "connected to the collector");
        }
        loop {
            let draining = *self.phase.borrow_and_update() != Phase::Run;
            let is_old = !draining && now() >= call.renew_at;
            if !is_old {
                self.send_ready(&mut call).await;
            } else if call.load.is_none() && self.shared.waiting_since().is_none() {
                return Ok(End::Renew);
            }
            if draining && self.shared.is_empty() {
                return Ok(End::Done);
            }
            let answer_due = self.answer_due(&call);
            tokio::select! {
                response = call.responses.message() => match response {
                    Ok(Some(response)) => self.handle(response, &mut call),
                    Ok(None) => return Err(Fault::ended()),
                    Err(status) => return Err(Fault::from(status)),
                },
                () = self.shared.send_wake.notified() => {}
                () = self.offers.wake.notified() => self.send_offers(&call),
                read = join_load(&mut call.load) => self.loaded(read, &call).await,
                () = sleep_maybe(self.shared.reads_resume()) => {}
                () = sleep_until(call.renew_at.into()), if !is_old => {}
                () = sleep_maybe(answer_due) => return Err(Fault::no_answer(self.config.tuning.ack_timeout)),
                changed = self.phase.changed() => if changed.is_err() { return Ok(End::Done) },
            }
        }
    }

    async fn open(&self) -> Result<Call, Fault> {
        let tuning = &self.config.tuning;
        let connect = timeout(tuning.connect_timeout, self.config.endpoint.connect());
        let channel =
            connect.await.map_err(|_| Fault::connect_timeout(tuning.connect_timeout))??;
        // Room for a whole window, the Hello and offers: sending never waits.
        let (requests, receiver) = mpsc::channel(tuning.in_flight_batches + 2);
        let hello = v1::Hello {
            instance: self.config.instance.as_bytes().to_vec(),
            host: self.config.host.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
        };
        let hello = v1::push_request::Message::Hello(hello);
        let hello = v1::PushRequest { message: Some(hello) };
        requests.try_send(hello).map_err(|_| Fault::ended())?;
        let mut client = IngestServiceClient::new(channel);
        let call = timeout(tuning.connect_timeout, client.push(ReceiverStream::new(receiver)));
        let response = call.await.map_err(|_| Fault::connect_timeout(tuning.connect_timeout))??;
        // Between three and five quarters, so that not all agents of a fleet come at the same moment.
        let age = tuning.connection_age.mul_f64(0.75 + 0.5 * fastrand::f64());
        Ok(Call {
            requests,
            responses: response.into_inner(),
            load: None,
            batch_format: OLDEST_FORMAT,
            last_sign: None,
            renew_at: now() + age,
        })
    }

    /// Sends what the window allows. Reading from the spool goes one at a time, in order.
    async fn send_ready(&self, call: &mut Call) {
        while call.load.is_none() {
            match (self.shared.next_send(), &self.spool) {
                (Some(Send::Now(_, sealed)), _) => self.send(sealed, call).await,
                (Some(Send::Load(id)), Some(spool)) => {
                    let spool = Arc::clone(spool);
                    call.load = Some((id, spawn_blocking(move || spool.read(id))));
                }
                // Without a spool nothing is ever in it.
                (Some(Send::Load(_)), None) | (None, _) => return,
            }
        }
    }

    async fn send(&self, sealed: v1::SealedBatch, call: &Call) {
        add(&self.shared.counters.batches_sent, 1);
        let sealed = if sealed.format > call.batch_format { plain(sealed) } else { sealed };
        let message = v1::push_request::Message::Batch(sealed);
        let request = v1::PushRequest { message: Some(message) };
        // When the call has ended, its status says why, and the batch goes back with all others.
        let _ended = call.requests.send(request).await.is_err();
    }

    /// Offers must not take the room of batches: those that have none are made again later.
    fn send_offers(&self, call: &Call) {
        if call.requests.capacity() < 2 {
            return;
        }
        let Some(offers) = self.offers.take() else { return };
        let message = v1::push_request::Message::OfferObjects(offers);
        // When the call has ended, its status says why.
        let _ended = call.requests.try_send(v1::PushRequest { message: Some(message) }).is_err();
    }

    /// A batch came back from the spool.
    async fn loaded(&self, read: (BatchId, Result<v1::SealedBatch, ReadError>), call: &Call) {
        let (id, read) = read;
        match read {
            Ok(sealed) => {
                if self.shared.loaded(id) {
                    self.send(sealed, call).await;
                }
            }
            Err(ReadError::Damaged(_)) => {
                add(&self.shared.counters.spool_damaged, 1);
                self.shared.load_failed(id, DropReason::SpoolDamaged);
                self.shared.set_aside(self.spool.as_ref().map_or(0, |spool| spool.aside_bytes()));
            }
            Err(error @ ReadError::Gone) => {
                add(&self.shared.counters.spool_errors, 1);
                warn!(batch = %id, %error, "spooled batch cannot be read");
                self.shared.load_failed(id, DropReason::SpoolError);
            }
            Err(ReadError::Io(error)) => {
                add(&self.shared.counters.spool_errors, 1);
                warn!(batch = %id, %error, "spooled batch cannot be read now; it is tried again");
                self.shared.load_postponed(id);
            }
        }
    }

    fn handle(&mut self, response: v1::PushResponse, call: &mut Call) {
        use v1::push_response::Message;
        match response.message {
            Some(Message::Ack(ack)) => {
                let Some(id) = self.answered(&ack.instance, ack.sequence, true, call) else {
                    return;
                };
                let counters = &self.shared.counters;
                add(&counters.batches_acknowledged, 1);
                add(&counters.batches_duplicate, ack.duplicate.into());
                self.backoff.reset();
                if self.faults.over() {
                    info!(url = %self.config.url, batch = %id, "delivering again");
                }
            }
            Some(Message::Reject(reject)) => {
                let id = self.answered(&reject.instance, reject.sequence, false, call);
                let Some(id) = id else { return };
                add(&self.shared.counters.batches_rejected, 1);
                let reason: String = reject.reason.chars().take(MAX_LOGGED_CHARS).collect();
                if let Some(left_out) = self.rejects.admit(reason.clone(), now()) {
                    warn!(batch = %id, reason, rejects_not_logged = left_out, "collector rejected a batch");
                }
            }
            Some(Message::WantObjects(want)) => {
                let refused = self.uploads.want(&want.objects);
                add(&self.shared.counters.uploads_refused, refused);
            }
            Some(Message::Welcome(welcome)) => {
                self.offers.set_taken(welcome.takes_offers);
                call.batch_format = welcome.batch_format.max(OLDEST_FORMAT);
            }
            Some(Message::Busy(_)) => call.last_sign = Some(now()),
            // Of a newer collector: what this agent does not know it cannot be asked for.
            None => {}
        }
    }

    /// The batch, if it was waiting for this answer.
    fn answered(
        &self,
        instance: &[u8],
        sequence: u64,
        accepted: bool,
        call: &mut Call,
    ) -> Option<BatchId> {
        let id = BatchId::from_wire(instance, sequence).ok();
        if let Some(id) = id
            && let Answer::Expected(_) = self.shared.answered(id, accepted)
        {
            call.last_sign = Some(now());
            return Some(id);
        }
        add(&self.shared.counters.answers_unexpected, 1);
        None
    }

    /// When the collector must have answered the next batch, or have said that it is busy.
    fn answer_due(&self, call: &Call) -> Option<std::time::Instant> {
        let since = self.shared.waiting_since()?;
        let since = call.last_sign.map_or(since, |sign| sign.max(since));
        Some(since + self.config.tuning.ack_timeout)
    }

    fn report(&mut self, fault: &Fault) {
        let Some(left_out) = self.faults.admit(fault.cause, now()) else { return };
        let detail: String = fault.detail.chars().take(MAX_LOGGED_CHARS).collect();
        warn!(
            url = %self.config.url, cause = fault.cause.sentence(), detail,
            remedy = fault.cause.remedy(), faults_not_logged = left_out,
            "cannot deliver to the collector; batches are kept and resent"
        );
    }
}

/// The batch as every collector reads it. What cannot be changed is sent as it is: the collector says why it
/// refuses it.
fn plain(sealed: v1::SealedBatch) -> v1::SealedBatch {
    batch::downgrade(&sealed, Limits::default()).unwrap_or(sealed)
}

type Loaded = (BatchId, Result<v1::SealedBatch, ReadError>);

/// The batch being read, once it is there; pending while none is.
async fn join_load(
    load: &mut Option<(BatchId, JoinHandle<Result<v1::SealedBatch, ReadError>>)>,
) -> Loaded {
    let Some((id, task)) = load else { return std::future::pending().await };
    let read = task.await.unwrap_or_else(|error| Err(ReadError::Io(std::io::Error::other(error))));
    let id = *id;
    *load = None;
    (id, read)
}

async fn sleep_maybe(until: Option<std::time::Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
