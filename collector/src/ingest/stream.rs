//! One agent's stream, from its Hello to its end.
//!
//! Several batches are on their way at a time; each is answered once, when it is durable or refused.
//! A fault of one batch is a Reject and the stream lives on; a fault of the storage ends the stream,
//! and the agent sends what was not answered again.

use std::{sync::Arc, time::Duration};

use fleetprof_proto::{
    batch::FORMAT,
    ids::{InstanceId, ObjectId},
    v1::{
        Ack, Hello, ObjectOffer, OfferObjects, PushRequest, PushResponse, Reject, SealedBatch,
        WantObjects, Welcome, push_request::Message as RequestMessage,
        push_response::Message as ResponseMessage,
    },
};
use fleetprof_store::Appended;
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, Status, Streaming};
use tracing::{Instrument as _, debug, info, info_span, warn};

use super::{
    agents::Connection,
    answers::Answers,
    commit::CommitError,
    examine::{self, Examined, Sender},
    receiving::Received,
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
    requests: Streaming<PushRequest>,
    /// `None`: nothing bounds it.
    received: Option<Received>,
    answers: Answers,
}

/// A session whose agent is known.
struct Greeted {
    sender: Arc<Sender>,
    connection: Connection,
    asker: Arc<Asker>,
}

/// The answer to one batch.
struct Answer {
    response: PushResponse,
    /// What it hit and where the host has it, hottest first; empty when it was not stored now.
    objects: Vec<(ObjectId, String)>,
}

/// What a session does next.
enum Next {
    Batch(SealedBatch),
    Offers(OfferObjects),
    Answered(Result<Answer, Status>),
    /// There may be more to ask for.
    Granted,
    /// The client has no more to say.
    End,
    /// The collector stops.
    Stop,
    Fail(Status),
}

// === impl Session ===

impl Session {
    pub(super) fn new(
        ingest: Ingest,
        requests: Streaming<PushRequest>,
        received: Option<Received>,
        answers: mpsc::Sender<Result<PushResponse, Status>>,
    ) -> Self {
        let answers = Answers::new(answers, ingest.parts.stop.clone());
        Self { ingest, requests, received, answers }
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
            let welcome = Some(ResponseMessage::Welcome(Welcome {
                takes_offers: true,
                batch_format: FORMAT,
            }));
            self.answers.send(Ok(PushResponse { message: welcome })).await?;
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
        let first = timeout(HELLO_TIMEOUT, receive(&mut self.requests, self.received.as_ref()))
            .await
            .map_err(|_| {
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
        let mut tasks = JoinSet::new();
        let mut grants = greeted.asker.grants();
        let end = loop {
            match self.next(&mut tasks, &mut grants).await {
                Next::Batch(sealed) => {
                    greeted.connection.seen();
                    let Some(permit) = self.reserve(&sealed).await else { break Ok(true) };
                    let work = process(self.ingest.clone(), greeted.sender.clone(), sealed, permit);
                    tasks.spawn(work.in_current_span());
                }
                Next::Offers(offers) => self.offered(offers, &greeted.asker).await?,
                Next::Answered(answer) => match answer {
                    Ok(answer) => self.answer(answer, greeted).await?,
                    Err(status) => break Err(status),
                },
                Next::Granted => self.want(&greeted.asker.ask_again()).await?,
                Next::End => break Ok(false),
                Next::Stop => break Ok(true),
                Next::Fail(status) => break Err(status),
            }
        };
        // What is on its way is finished and answered, however the stream ends.
        let mut failure = None;
        while let Some(done) = tasks.join_next().await {
            match flatten(done) {
                Ok(answer) => self.answer(answer, greeted).await?,
                Err(status) => failure = Some(status),
            }
        }
        match (end, failure) {
            (Err(status), _) | (Ok(_), Some(status)) => Err(status),
            (Ok(false), None) => Ok(()),
            (Ok(true), None) => {
                Err(Status::unavailable("the collector is shutting down; connect again"))
            }
        }
    }

    async fn next(
        &mut self,
        tasks: &mut JoinSet<Result<Answer, Status>>,
        grants: &mut watch::Receiver<()>,
    ) -> Next {
        tokio::select! {
            biased;
            Some(done) = tasks.join_next() => Next::Answered(flatten(done)),
            () = self.ingest.parts.stop.cancelled() => Next::Stop,
            // Without the answers' reader nothing can be acknowledged any more.
            () = self.answers.closed() => Next::End,
            () = granted(grants) => Next::Granted,
            request = receive(&mut self.requests, self.received.as_ref()),
                if tasks.len() < IN_FLIGHT => match request {
                Ok(None) => Next::End,
                Err(status) => Next::Fail(status),
                Ok(Some(request)) => match request.message {
                    Some(RequestMessage::Batch(sealed)) => Next::Batch(sealed),
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

    /// Waits until there is memory for a batch, opened and as it came; `None` when the collector stops.
    async fn reserve(&self, sealed: &SealedBatch) -> Option<OwnedSemaphorePermit> {
        // Numbers are shorter there than in memory.
        let opened = sealed.raw_size.saturating_mul(2);
        let bytes = opened.saturating_add(sealed.payload.len() as u64);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let bytes = bytes.min(self.ingest.memory_bytes);
        tokio::select! {
            permit = self.ingest.memory.clone().acquire_many_owned(bytes) => permit.ok(),
            () = self.ingest.parts.stop.cancelled() => None,
        }
    }

    async fn answer(&self, answer: Answer, greeted: &Greeted) -> Result<(), Status> {
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
    async fn offered(&self, offers: OfferObjects, asker: &Arc<Asker>) -> Result<(), Status> {
        let offers = offers.objects.iter().take(MAX_OFFERS);
        let offers: Vec<_> = offers.filter_map(offer).collect();
        let asker = asker.clone();
        let wanted = self.ingest.parts.pool.run(move || asker.offered(&offers)).await;
        self.want(&wanted.map_err(|error| Status::internal(error.to_string()))?).await
    }

    async fn want(&self, wanted: &[ObjectId]) -> Result<(), Status> {
        if wanted.is_empty() {
            return Ok(());
        }
        debug!(objects = wanted.len(), "asking for objects");
        self.ingest.parts.metrics.objects_asked.inc_by(wanted.len() as u64);
        let objects = wanted.iter().map(Into::into).collect();
        let message = Some(ResponseMessage::WantObjects(WantObjects { objects }));
        self.answers.send(Ok(PushResponse { message })).await
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

/// The next request, whose bytes are the session's from then on.
async fn receive(
    requests: &mut Streaming<PushRequest>,
    received: Option<&Received>,
) -> Result<Option<PushRequest>, Status> {
    let request = requests.message().await;
    if let Some(received) = received {
        received.is_whole();
    }
    request
}

/// Takes one batch from its bytes to its answer. `permit` is for the memory it takes on the way.
async fn process(
    ingest: Ingest,
    sender: Arc<Sender>,
    sealed: SealedBatch,
    permit: OwnedSemaphorePermit,
) -> Result<Answer, Status> {
    let (instance, sequence) = (sealed.instance.clone(), sealed.sequence);
    let parts = &ingest.parts;
    let ack = |duplicate| {
        let ack = Ack { instance: instance.clone(), sequence, duplicate };
        PushResponse { message: Some(ResponseMessage::Ack(ack)) }
    };
    let limits = parts.limits;
    let examine = move || examine::examine(&sealed, limits, &sender);
    let examined = parts.pool.run(examine).await;
    let Examined { batch, objects } = match examined.map_err(|e| Status::internal(e.to_string()))? {
        Ok(examined) => examined,
        Err(refused) => {
            let reason = refused.reason();
            parts.metrics.rejected.get_or_create(&ReasonLabel { reason }).inc();
            if let Some(silent) = ingest.log.allow() {
                warn!(sequence, %refused, silent, "batch refused");
            }
            let reject = Reject { instance, sequence, reason: refused.to_string() };
            let message = Some(ResponseMessage::Reject(reject));
            return Ok(Answer { response: PushResponse { message }, objects: Vec::new() });
        }
    };
    let appended = parts.committer.commit(batch).await.map_err(|error| commit_status(&error))?;
    drop(permit);
    match appended {
        Appended::Stored => Ok(Answer { response: ack(false), objects }),
        Appended::Duplicate => Ok(Answer { response: ack(true), objects: Vec::new() }),
    }
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
