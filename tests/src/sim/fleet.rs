//! Starts the agents of a fleet, hurts them on command, and ends them with the books closed.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use fleetprof_proto::batch::Window;
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    agent::{self, Agent},
    canvas::Body,
    clock::{self, Clock, Pace},
    connections::Connections,
    library::Library,
    paint::Painter,
    plan::{Host, Plan},
    report::Report,
    tally::Tally,
};

/// How agents deliver; [`Config::new`] has what the real agent does.
#[derive(Clone, Debug)]
pub struct Config {
    /// URLs; an agent begins with one of them, and goes to another when its stream breaks.
    pub collectors: Vec<String>,
    /// The time that is simulated.
    pub pace: Pace,
    /// Span of a batch.
    pub window: Duration,
    /// Batches that an agent has made and not delivered; with so many it makes no further ones, and makes
    /// them up later.
    pub buffer_batches: usize,
    /// Batches sent and not answered.
    pub in_flight_batches: usize,
    /// Longest wait for a connection and for the answer to the call.
    pub connect_timeout: Duration,
    /// Longest silence of a collector that owes an answer.
    pub ack_timeout: Duration,
    /// First and longest span that a wait before a new attempt is taken from.
    pub backoff: (Duration, Duration),
    /// Longest time from an agent's death to its successor.
    pub restart_delay: Duration,
    /// Batches (of hosts of the same role) that have what was drawn once in common. 1: each is drawn; more is
    /// as many times cheaper, and a service has fewer distinct stacks in an hour.
    pub reuse: u32,
    /// Agents that share a connection (each with a stream of its own).
    pub hosts_per_connection: usize,
}

/// How an agent dies. Its successor has another instance id in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Its successor finds every batch in the spool and delivers it under the old id, as the real agent does:
    /// nothing is lost.
    KeepSpool,
    /// What it had not delivered is gone; the report has it as unknown.
    LoseAll,
}

/// A fleet could not start.
#[derive(Debug, Error)]
pub enum SimError {
    /// No collector.
    #[error("no collector is given: name one or more URLs, such as http://127.0.0.1:7171")]
    NoCollector,
    /// An address is unusable.
    #[error(
        "{url:?} is no address of a collector: {error}; write for example http://127.0.0.1:7171"
    )]
    Address {
        /// What was given.
        url: String,
        /// What is wrong.
        error: tonic::transport::Error,
    },
}

/// How far it has come; every phase includes the duties of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Make windows and deliver them.
    Run,
    /// Deliver what is made.
    Drain,
    /// End now.
    Stop,
}

/// What was drawn for a role, and how many batches have it.
type Drawn = (Arc<Body>, u32);

/// What all agents share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) plan: Arc<Plan>,
    pub(super) clock: Clock,
    pub(super) connections: Connections,
    pub(super) tally: Tally,
    pub(super) library: Arc<Library>,
    /// By role: what was drawn last, and how often it was used.
    bodies: Vec<Mutex<Option<Drawn>>>,
    /// As many as batches were ever made at the same moment.
    painters: Mutex<Vec<Painter>>,
}

/// Running agents. Dropping it ends them at once.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    agents: JoinSet<()>,
    kills: Vec<mpsc::UnboundedSender<Kill>>,
    phase: watch::Sender<Phase>,
    started: Instant,
}

// === impl Config ===

impl Config {
    /// Windows of 10 s, and the times and limits of the real agent.
    pub fn new(collectors: Vec<String>, pace: Pace) -> Self {
        Self {
            collectors,
            pace,
            window: Duration::from_secs(10),
            buffer_batches: 32,
            in_flight_batches: 8,
            connect_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(60),
            backoff: (Duration::from_millis(250), Duration::from_secs(30)),
            restart_delay: Duration::from_secs(1),
            reuse: 1,
            hosts_per_connection: 1,
        }
    }
}

// === impl Shared ===

impl Shared {
    /// What a host does in a window: drawn, or what another of its role did.
    pub(super) fn body(
        &self,
        host: &Host,
        window: Window,
        random: &mut fastrand::Rng,
    ) -> std::io::Result<Arc<Body>> {
        let paint = |random: &mut _| {
            self.with_painter(|painter| painter.paint(host, window, random, |_, _| {}))
        };
        if self.config.reuse <= 1 {
            return Ok(Arc::new(paint(random)));
        }
        let mut last = self.bodies[host.role].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((body, uses)) = &mut *last
            && *uses < self.config.reuse
            && body.versions == self.plan.versions(host, window.start_unix_nanos)
        {
            *uses += 1;
            return Ok(Arc::clone(body));
        }
        let mut body = paint(random);
        body.pack()?;
        let body = Arc::new(body);
        *last = Some((Arc::clone(&body), 1));
        Ok(body)
    }

    /// Lends a painter for one batch.
    fn with_painter<T>(&self, work: impl FnOnce(&mut Painter) -> T) -> T {
        let lent = self.painters.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut painter =
            lent.unwrap_or_else(|| Painter::new(Arc::clone(&self.library), Arc::clone(&self.plan)));
        let result = work(&mut painter);
        self.painters.lock().unwrap_or_else(PoisonError::into_inner).push(painter);
        result
    }
}

// === impl Fleet ===

impl Fleet {
    /// Starts every agent of the plan, on the tokio runtime it is called in.
    ///
    /// # Errors
    /// When no collector is given or an address is not one. A collector that is away is no error.
    pub fn start(config: Config, library: Arc<Library>, plan: Arc<Plan>) -> Result<Self, SimError> {
        if config.collectors.is_empty() {
            return Err(SimError::NoCollector);
        }
        let connections = Connections::new(
            &config.collectors,
            config.hosts_per_connection,
            config.connect_timeout,
        );
        let connections = connections.map_err(|(url, error)| SimError::Address { url, error })?;
        let shared = Arc::new(Shared {
            clock: Clock::start(config.pace),
            connections,
            tally: Tally::new(plan.services.len()),
            bodies: plan.hosts.iter().map(|_| Mutex::default()).collect(),
            painters: Mutex::default(),
            config,
            plan,
            library,
        });
        let (phase, phases) = watch::channel(Phase::Run);
        let mut agents = JoinSet::new();
        let mut kills = Vec::with_capacity(shared.plan.hosts.len());
        for host in 0..shared.plan.hosts.len() {
            let (kill, killed) = mpsc::unbounded_channel();
            kills.push(kill);
            agents.spawn(agent::run(Agent::new(Arc::clone(&shared), host, killed, phases.clone())));
        }
        Ok(Self { shared, agents, kills, phase, started: Instant::now() })
    }

    /// Number of agents.
    pub fn hosts(&self) -> usize {
        self.kills.len()
    }

    /// Kills the agent of a host; its successor starts soon.
    pub fn kill(&self, host: usize, kill: Kill) {
        // One that has ended has nothing left to lose.
        let _ended = self.kills[host].send(kill).is_err();
    }

    /// Waits until every window of the simulated time is delivered; never, where it has no end.
    pub async fn finished(&mut self) {
        while self.agents.join_next().await.is_some() {}
    }

    /// Makes no further windows and delivers what is there, for `longest` at most. What is not answered then
    /// counts as unknown.
    pub async fn drain(mut self, longest: Duration) -> Report {
        self.phase.send_replace(Phase::Drain);
        if timeout(longest, self.finished()).await.is_err() {
            self.phase.send_replace(Phase::Stop);
            self.finished().await;
        }
        self.report()
    }

    /// The books at this moment.
    pub fn report(&self) -> Report {
        let from = self.shared.clock.pace().from_unix_nanos;
        Report::new(&self.shared.tally, &self.shared.plan, from, self.started.elapsed())
    }

    /// Batches acknowledged so far: cheaper than a report.
    pub fn acknowledged_batches(&self) -> u64 {
        self.shared.tally.acknowledged_batches.load(Relaxed)
    }

    /// Now, as the simulated windows tell the time.
    pub fn unix_nanos() -> i64 {
        clock::unix_nanos()
    }
}
