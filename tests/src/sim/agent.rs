//! One simulated agent: makes windows, delivers them on one stream, keeps what is not acknowledged, and
//! resends the same bytes.
//!
//! As the real one it knows a batch by (instance, sequence), has few batches unanswered, and waits with full
//! jitter before it connects again, here to another collector of the list.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fleetprof_proto::{
    batch::Window,
    ids::{BatchId, InstanceId},
    v1::{
        self, Accounting, PushRequest, PushResponse, SealedBatch,
        ingest_service_client::IngestServiceClient, push_request, push_response,
    },
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    clock,
    fleet::{Kill, Phase, Shared},
    paint::Part,
    statistics::thread_seconds,
    tally::add,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Agent {
    shared: Arc<Shared>,
    host: usize,
    random: fastrand::Rng,
    instance: InstanceId,
    /// Batches sealed by this instance.
    sequence: u64,
    /// Samples in them, and those acknowledged.
    sealed: u64,
    delivered: u64,
    /// Start of the next window, Unix nanoseconds.
    next_window: i64,
    pending: VecDeque<Pending>,
    collector: usize,
    failures: u32,
    kills: mpsc::UnboundedReceiver<Kill>,
    phase: watch::Receiver<Phase>,
}

/// A batch that is not acknowledged.
#[derive(Debug)]
struct Pending {
    sealed: SealedBatch,
    parts: Vec<Part>,
    /// Sent on the stream that is open.
    is_in_flight: bool,
    was_sent: bool,
}

/// Why a stream ended.
enum End {
    /// Nothing is left to do.
    Finished,
    Killed(Kill),
    Broken(String),
}

/// An open stream.
struct Call {
    requests: mpsc::Sender<PushRequest>,
    answers: Streaming<PushResponse>,
    /// When the collector last said something about batches, or began to owe an answer.
    since: Instant,
}

/// Lives until nothing is left to deliver and nothing more comes.
pub(super) async fn run(mut agent: Agent) {
    loop {
        agent.make_due();
        if agent.is_finished() {
            return;
        }
        let end = agent.connection().await;
        agent.pending.iter_mut().for_each(|pending| pending.is_in_flight = false);
        let wait = match end {
            End::Finished => return,
            End::Killed(kill) => agent.die(kill),
            End::Broken(fault) => {
                agent.shared.tally.fault(fault);
                agent.backoff()
            }
        };
        agent.wait(wait).await;
    }
}

// === impl Agent ===

impl Agent {
    pub(super) fn new(
        shared: Arc<Shared>,
        host: usize,
        kills: mpsc::UnboundedReceiver<Kill>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let seed = shared.plan.config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(host as u64));
        let window = clock::nanos(shared.config.window);
        let offset = (shared.plan.hosts[host].phase * window as f64) as i64;
        // The first window ends within the first span of the simulated time, at another moment on every host.
        let next_window = shared.clock.pace().from_unix_nanos + offset - window;
        let collector = random.usize(..shared.connections.len());
        Self {
            host,
            random,
            instance: InstanceId::random(),
            sequence: 0,
            sealed: 0,
            delivered: 0,
            next_window,
            pending: VecDeque::new(),
            collector,
            failures: 0,
            kills,
            phase,
            shared,
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// End of the next window, if there is one to come.
    fn next_end(&self) -> Option<i64> {
        let end = self.next_window + clock::nanos(self.shared.config.window);
        (self.phase() == Phase::Run && self.shared.clock.includes(end)).then_some(end)
    }

    fn is_finished(&self) -> bool {
        self.pending.is_empty() && self.next_end().is_none() || self.phase() == Phase::Stop
    }

    /// When there will be something to make; `None` while nothing can be.
    fn next_due(&self) -> Option<Instant> {
        let has_room = self.pending.len() < self.shared.config.buffer_batches;
        let end = self.next_end().filter(|_| has_room)?;
        Some(self.shared.clock.due(end).unwrap_or_else(Instant::now))
    }

    /// Makes the windows that are over, as far as there is room.
    fn make_due(&mut self) {
        while self.pending.len() < self.shared.config.buffer_batches
            && let Some(end) = self.next_end()
            && self.shared.clock.due(end).is_none()
        {
            let window = Window { start_unix_nanos: self.next_window, end_unix_nanos: end };
            self.next_window = end;
            self.make(window);
        }
    }

    fn make(&mut self, window: Window) {
        let began = thread_seconds();
        let shared = Arc::clone(&self.shared);
        let host = &shared.plan.hosts[self.host];
        // Failures here are want of memory, or defects: without the batch the books would be wrong.
        let body = shared.body(host, window, &mut self.random);
        let body = body.unwrap_or_else(|error| panic!("a batch cannot be packed: {error}"));
        let taken = self.sealed + body.samples;
        let accounting = Accounting {
            taken,
            delivered: self.delivered,
            pending: taken - self.delivered,
            sealed: taken,
            ..Accounting::default()
        };
        let tail = body.tail(&shared.library, &shared.plan, host, window, accounting);
        let id = BatchId { instance: self.instance, sequence: self.sequence + 1 };
        let batch = body.seal(id, tail);
        self.sequence += 1;
        self.sealed += batch.samples;
        let tally = &shared.tally;
        tally.generated.add(&body.parts);
        add(&tally.generated_batches, 1);
        add(&tally.raw_bytes, batch.raw_size);
        let distinct = body.distinct as u64;
        add(&tally.distinct_stacks, distinct);
        tally.most_distinct_stacks.fetch_max(distinct, std::sync::atomic::Ordering::Relaxed);
        add(&tally.generating_nanos, ((thread_seconds() - began) * 1e9) as u64);
        // The compressor's buffer has room for the worst case: keep what is used.
        let payload = batch.payload.to_vec().into();
        let sealed = SealedBatch { payload, ..batch };
        let parts = body.parts.clone();
        self.pending.push_back(Pending { sealed, parts, is_in_flight: false, was_sent: false });
    }

    /// One stream from its opening to its end.
    async fn connection(&mut self) -> End {
        let opened = tokio::select! {
            opened = open(&self.shared, self.host, self.collector, self.instance) => opened,
            Some(kill) = self.kills.recv() => return End::Killed(kill),
        };
        let mut call = match opened {
            Ok(call) => call,
            Err(fault) => return End::Broken(fault),
        };
        add(&self.shared.tally.connected, 1);
        let end = self.deliver(&mut call).await;
        self.shared.tally.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        end
    }

    async fn deliver(&mut self, call: &mut Call) -> End {
        loop {
            self.make_due();
            self.send_ready(call);
            self.phase.borrow_and_update();
            if self.is_finished() {
                return End::Finished;
            }
            let owes = self.pending.iter().any(|pending| pending.is_in_flight);
            let answer_due = owes.then(|| call.since + self.shared.config.ack_timeout);
            let due = self.next_due();
            tokio::select! {
                answer = call.answers.message() => match answer {
                    Ok(Some(answer)) => self.answered(answer, call),
                    Ok(None) => return End::Broken("the collector ended the stream".to_owned()),
                    Err(status) => return End::Broken(status.to_string()),
                },
                () = sleep_maybe(due) => {}
                () = sleep_maybe(answer_due) => {
                    return End::Broken("the collector does not answer".to_owned());
                }
                Some(kill) = self.kills.recv() => return End::Killed(kill),
                changed = self.phase.changed() => if changed.is_err() { return End::Finished },
            }
        }
    }

    /// Sends what the window allows, the oldest first.
    fn send_ready(&mut self, call: &mut Call) {
        let in_flight = self.pending.iter().filter(|pending| pending.is_in_flight).count();
        let room = self.shared.config.in_flight_batches.saturating_sub(in_flight);
        if in_flight == 0 {
            call.since = Instant::now();
        }
        let tally = &self.shared.tally;
        for pending in self.pending.iter_mut().filter(|pending| !pending.is_in_flight).take(room) {
            let message = push_request::Message::Batch(pending.sealed.clone());
            // A stream that has ended says why when its answers are read.
            if call.requests.try_send(PushRequest { message: Some(message) }).is_err() {
                return;
            }
            add(&tally.sent, 1);
            add(&tally.resent, pending.was_sent.into());
            add(&tally.wire_bytes, pending.sealed.encoded_len() as u64);
            (pending.is_in_flight, pending.was_sent) = (true, true);
        }
    }

    fn answered(&mut self, answer: PushResponse, call: &mut Call) {
        let tally = &self.shared.tally;
        let (instance, sequence) = match &answer.message {
            Some(push_response::Message::Ack(ack)) => (&ack.instance, ack.sequence),
            Some(push_response::Message::Reject(reject)) => (&reject.instance, reject.sequence),
            Some(push_response::Message::WantObjects(want)) => {
                return add(&tally.wanted_objects, want.objects.len() as u64);
            }
            Some(push_response::Message::Busy(_)) => {
                call.since = Instant::now();
                return;
            }
            Some(push_response::Message::Welcome(_)) | None => return,
        };
        call.since = Instant::now();
        let is_it = |pending: &Pending| {
            pending.was_sent
                && pending.sealed.sequence == sequence
                && pending.sealed.instance == *instance
        };
        let position = self.pending.iter().position(is_it);
        let Some(pending) = position.and_then(|position| self.pending.remove(position)) else {
            return add(&tally.unexpected, 1);
        };
        self.failures = 0;
        match answer.message {
            Some(push_response::Message::Ack(ack)) => {
                tally.acknowledged.add(&pending.parts);
                add(&tally.acknowledged_batches, 1);
                add(&tally.duplicates, ack.duplicate.into());
                if *ack.instance == *self.instance.as_bytes() {
                    self.delivered += pending.sealed.samples;
                }
            }
            Some(push_response::Message::Reject(reject)) => {
                add(&tally.rejected_batches, 1);
                tally.fault(format!("a batch was rejected: {}", reject.reason));
            }
            _ => {}
        }
    }

    /// Becomes its successor; gives the time until that one starts.
    fn die(&mut self, kill: Kill) -> Duration {
        add(&self.shared.tally.kills, 1);
        if kill == Kill::LoseAll {
            self.lose_all();
        }
        (self.instance, self.sequence) = (InstanceId::random(), 0);
        (self.sealed, self.delivered, self.failures) = (0, 0, 0);
        self.shared.config.restart_delay.mul_f64(self.random.f64())
    }

    fn lose_all(&mut self) {
        let tally = &self.shared.tally;
        for pending in self.pending.drain(..) {
            add(&tally.unknown_batches, 1);
            tally.unknown.add(&pending.parts);
        }
    }

    /// Turns to another collector; gives the time to wait before.
    fn backoff(&mut self) -> Duration {
        let others = self.shared.connections.len() - 1;
        if others > 0 {
            let step = self.random.usize(1..=others);
            self.collector = (self.collector + step) % self.shared.connections.len();
        }
        let (first, longest) = self.shared.config.backoff;
        let span = first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        span.min(longest).mul_f64(self.random.f64())
    }

    /// Until the time is over or the phase changes; who is killed while waiting dies at once.
    async fn wait(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                Some(kill) = self.kills.recv() => {
                    let delay = self.die(kill);
                    sleep(delay).await;
                }
                changed = self.phase.changed() => {
                    if changed.is_err() || self.phase() == Phase::Stop { return }
                }
            }
        }
    }
}

impl Drop for Agent {
    /// What was not answered when it had to end may be stored or not.
    fn drop(&mut self) {
        self.lose_all();
    }
}

async fn open(
    shared: &Shared,
    host: usize,
    collector: usize,
    instance: InstanceId,
) -> Result<Call, String> {
    // Room for everything that may be unanswered, and the Hello: sending never waits.
    let (requests, receiver) = mpsc::channel(shared.config.in_flight_batches + 1);
    let hello = v1::Hello {
        instance: instance.as_bytes().to_vec(),
        host: shared.plan.hosts[host].name.clone(),
        agent_version: concat!(env!("CARGO_PKG_VERSION"), "-sim").to_owned(),
    };
    let hello = PushRequest { message: Some(push_request::Message::Hello(hello)) };
    requests.try_send(hello).map_err(|_| "the stream is closed".to_owned())?;
    let mut client = IngestServiceClient::new(shared.connections.channel(host, collector));
    let bound = shared.config.connect_timeout;
    let call = timeout(bound, client.push(ReceiverStream::new(receiver))).await;
    let call = call.map_err(|_| format!("no answer to the call within {bound:?}"))?;
    let url = &shared.config.collectors[collector];
    let answers = call.map_err(|status| format!("{url}: {status}"))?.into_inner();
    Ok(Call { requests, answers, since: Instant::now() })
}

async fn sleep_maybe(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
