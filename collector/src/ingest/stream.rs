//! One agent's stream, from its Hello to its end.
//!
//! Several batches are on their way at a time; each is answered once, when it is durable or refused.
//! A fault of one batch is a Reject and the stream lives on; a fault of the storage ends the stream,
//! and the agent sends what was not answered again. A collector that has more to do than it can lets agents
//! wait, and says so: that they sent again what it has already would only add to it.

use std::{sync::Arc, time::Duration};

use fleetprof_proto::{
    batch::FORMAT,
    ids::{InstanceId, ObjectId},
    v1::{
        Busy, Hello, ObjectOffer, OfferObjects, PushRequest, PushResponse, SealedBatch,
        WantObjects, Welcome, push_request::Message as RequestMessage,
        push_response::Message as ResponseMessage,
    },
};
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tonic::{Code, Status};
use tracing::{Instrument as _, debug, info, info_span, warn};

use super::{
    agents::Connection,
    answers::Answers,
    batch::{Answer, process, stopping},
    examine::{self, Sender},
    receiving::Messages,
    service::Ingest,
};
use crate::{metrics::ReasonLabel, objects::Asker};

/// How long a client may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Offers of one request that are looked at.
const MAX_OFFERS: usize = 256;
/// Batches of one stream that are on their way at a time.
const IN_FLIGHT: usize = 8;

/// A stream that is being served.
pub(super) struct Session {
    ingest: Ingest,
    requests: Messages,
    answers: Answers,
    /// One permit, which a batch has while it waits for memory: until then, the next is not read.
    turn: Arc<Semaphore>,
}

/// A session whose agent is known.
struct Greeted {
    sender: Arc<Sender>,
    connection: Connection,
    asker: Arc<Asker>,
}

/// What a session has begun and waits for.
struct Work {
    tasks: JoinSet<Result<Answer, Status>>,
    grants: watch::Receiver<()>,
    /// When to say that it is busy, if nothing was answered until then.
    busy: Interval,
}

/// What a session does next.
enum Next {
    /// With the stream's turn to wait for memory.
    Batch(SealedBatch, OwnedSemaphorePermit),
    Offers(OfferObjects),
    Answered(Result<Answer, Status>),
    /// Batches wait, and their agent should know that they are not forgotten.
    Busy,
    /// There may be more to ask for.
    Granted,
    /// The client has no more to say.
    End,
    /// Nor does it read answers.
    Gone,
    /// The collector stops.
    Stop,
    Fail(Status),
}

// === impl Session ===

impl Session {
    pub(super) fn new(
        ingest: Ingest,
        requests: Messages,
        answers: mpsc::Sender<Result<PushResponse, Status>>,
    ) -> Self {
        let answers = Answers::new(answers, ingest.parts.stop.clone());
        Self { ingest, requests, answers, turn: Arc::new(Semaphore::new(1)) }
    }

    pub(super) async fn run(mut self) {
        let metrics = self.ingest.parts.metrics.clone();
        metrics.streams.inc();
        if let Err(status) = self.serve().await {
            let reason = code_name(status.code());
            metrics.stream_errors.get_or_create(&ReasonLabel { reason }).inc();
            // Nobody may be there to read it.
            let _ = self.answers.send(Err(status)).await;
        }
        metrics.streams.dec();
    }

    async fn serve(&mut self) -> Result<(), Status> {
        let hello = self.hello().await?;
        let instance = InstanceId::try_from(hello.instance.as_slice())
            .map_err(|error| Status::invalid_argument(format!("hello: {error}")))?;
        let host = examine::cut(&hello.host);
        let version = examine::cut(&hello.agent_version);
        let span = info_span!("agent", %instance, host);
        let parts = &self.ingest.parts;
        let greeted = Greeted {
            connection: parts.agents.connect(instance, &host, &version),
            asker: Arc::new(parts.wants.asker()),
            sender: Arc::new(Sender { instance, host, version }),
        };
        async {
            info!(version = greeted.sender.version, "agent connected");
            let welcome = Welcome { takes_offers: true, batch_format: FORMAT };
            self.say(ResponseMessage::Welcome(welcome)).await?;
            let result = self.batches(&greeted).await;
            match &result {
                Ok(()) => info!("agent disconnected"),
                Err(status) => {
                    warn!(code = ?status.code(), reason = status.message(), "stream ended");
                }
            }
            result
        }
        .instrument(span)
        .await
    }

    async fn hello(&mut self) -> Result<Hello, Status> {
        let first =
            timeout(HELLO_TIMEOUT, self.requests.next::<PushRequest>()).await.map_err(|_| {
                Status::invalid_argument("no Hello within 10 s: the first request must be a Hello")
            })??;
        match first.and_then(|request| request.message) {
            Some(RequestMessage::Hello(hello)) => Ok(hello),
            Some(RequestMessage::Batch(_) | RequestMessage::OfferObjects(_)) | None => {
                Err(Status::invalid_argument("the first request must be a Hello"))
            }
        }
    }

    async fn batches(&mut self, greeted: &Greeted) -> Result<(), Status> {
        let every = self.ingest.busy_interval;
        let mut busy = interval_at(Instant::now() + every, every);
        busy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = Work { tasks: JoinSet::new(), grants: greeted.asker.grants(), busy };
        let end = loop {
            match self.next(&mut work).await {
                Next::Batch(sealed, turn) => {
                    greeted.connection.seen();
                    if work.tasks.is_empty() {
                        work.busy.reset();
                    }
                    let batch = process(self.ingest.clone(), greeted.sender.clone(), sealed, turn);
                    work.tasks.spawn(batch.in_current_span());
                }
                Next::Offers(offers) => self.offered(offers, &greeted.asker).await?,
                Next::Answered(answer) => match answer {
                    Ok(answer) => {
                        work.busy.reset();
                        self.answer(answer, greeted).await?;
                    }
                    Err(status) => break Err(status),
                },
                Next::Busy => self.say(ResponseMessage::Busy(Busy {})).await?,
                Next::Granted => self.want(&greeted.asker.ask_again()).await?,
                Next::End => break Ok(()),
                // What is on its way is given up: nobody can be told, and the agent sends it again.
                Next::Gone if work.tasks.is_empty() => return Ok(()),
                Next::Gone => {
                    return Err(Status::cancelled("the client left before it was answered"));
                }
                Next::Stop => break Err(stopping()),
                Next::Fail(status) => break Err(status),
            }
        };
        // What is on its way is finished and answered.
        let mut failure = None;
        while let Some(done) = work.tasks.join_next().await {
            match flatten(done) {
                Ok(answer) => self.answer(answer, greeted).await?,
                Err(status) => failure = Some(status),
            }
        }
        end.and(failure.map_or(Ok(()), Err))
    }

    async fn next(&mut self, work: &mut Work) -> Next {
        let Work { tasks, grants, busy } = work;
        tokio::select! {
            biased;
            Some(done) = tasks.join_next() => Next::Answered(flatten(done)),
            () = self.ingest.parts.stop.cancelled() => Next::Stop,
            () = self.answers.closed() => Next::Gone,
            () = granted(grants) => Next::Granted,
            _ = busy.tick(), if !tasks.is_empty() => Next::Busy,
            request = receive(&self.turn, &mut self.requests),
                if tasks.len() < IN_FLIGHT => match request {
                Ok((_, None)) => Next::End,
                Err(status) => Next::Fail(status),
                Ok((turn, Some(request))) => match request.message {
                    Some(RequestMessage::Batch(sealed)) => Next::Batch(sealed, turn),
                    Some(RequestMessage::OfferObjects(offers)) => Next::Offers(offers),
                    Some(RequestMessage::Hello(_)) => {
                        Next::Fail(Status::invalid_argument("a second Hello on one stream"))
                    }
                    // A message of a later version: it cannot be answered, so it must not be ignored.
                    None => Next::Fail(Status::invalid_argument(
                        "a request without a message that this version knows",
                    )),
                },
            },
        }
    }

    async fn answer(&mut self, answer: Answer, greeted: &Greeted) -> Result<(), Status> {
        self.answers.send(Ok(answer.response)).await?;
        let ids: Vec<ObjectId> = answer.objects.iter().map(|(id, _)| id.clone()).collect();
        let wanted = greeted.asker.ask(&ids);
        for (id, path) in &answer.objects {
            if wanted.contains(id) || greeted.asker.waits_for(id) {
                self.ingest.parts.wants.describe(id, path);
            }
        }
        self.want(&wanted).await
    }

    /// Asks for what is better than what is there. An id that is not one is another version's.
    async fn offered(&mut self, offers: OfferObjects, asker: &Arc<Asker>) -> Result<(), Status> {
        let offers = offers.objects.iter().take(MAX_OFFERS);
        let offers: Vec<_> = offers.filter_map(offer).collect();
        let asker = asker.clone();
        let wanted = self.ingest.parts.pool.run(move || asker.offered(&offers)).await;
        self.want(&wanted.map_err(|error| Status::internal(error.to_string()))?).await
    }

    async fn want(&mut self, wanted: &[ObjectId]) -> Result<(), Status> {
        if wanted.is_empty() {
            return Ok(());
        }
        debug!(objects = wanted.len(), "asking for objects");
        self.ingest.parts.metrics.objects_asked.inc_by(wanted.len() as u64);
        let objects = wanted.iter().map(Into::into).collect();
        self.say(ResponseMessage::WantObjects(WantObjects { objects })).await
    }

    async fn say(&mut self, message: ResponseMessage) -> Result<(), Status> {
        self.answers.send(Ok(PushResponse { message: Some(message) })).await
    }
}

/// Waits until it may be this collector's turn to ask for more objects.
async fn granted(grants: &mut watch::Receiver<()>) {
    if grants.changed().await.is_err() {
        // It always is: nothing has to be found out.
        std::future::pending::<()>().await;
    }
}

fn offer(offer: &ObjectOffer) -> Option<(ObjectId, SymbolLevel)> {
    let id = ObjectId::try_from(offer.id.as_ref()?).ok()?;
    Some((id, SymbolLevel::of_wire(offer.level())?))
}

/// The next request, once no batch of the stream waits for memory.
async fn receive(
    turn: &Arc<Semaphore>,
    requests: &mut Messages,
) -> Result<(OwnedSemaphorePermit, Option<PushRequest>), Status> {
    let turn = Arc::clone(turn).acquire_owned().await;
    let turn = turn.map_err(|error| Status::internal(error.to_string()))?;
    Ok((turn, requests.next().await?))
}

fn flatten(done: Result<Result<Answer, Status>, tokio::task::JoinError>) -> Result<Answer, Status> {
    done.unwrap_or_else(|error| Err(Status::internal(format!("a batch was not handled: {error}"))))
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "invalid_argument",
        Code::ResourceExhausted => "resource_exhausted",
        Code::OutOfRange => "out_of_range",
        Code::Unavailable => "unavailable",
        Code::Cancelled => "cancelled",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::Internal => "internal",
        _ => "other",
    }
}
