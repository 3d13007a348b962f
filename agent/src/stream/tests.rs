//! Delivery against a real collector on a real port that misbehaves on command.

use std::time::Duration;

use fleetprof_proto::{
    batch::{self, BatchBuilder, StackIndex, Window},
    ids::ObjectId,
    v1,
};
use tempfile::TempDir;
use tonic::Code;

use super::*;
use crate::accounting::Snapshot;

mod collector;
mod faults;
pub(super) mod mount;
mod outages;
mod port;
mod uploads;

use collector::{Collector, Plan};

/// Fast enough for tests, and slow enough that nothing depends on it.
const QUICK: Tuning = Tuning {
    spool_after: Duration::from_millis(20),
    spool_retry: Duration::from_millis(20),
    transit_bytes: 1 << 20,
    in_flight_batches: 4,
    in_flight_bytes: 1 << 20,
    connect_timeout: Duration::from_secs(5),
    ack_timeout: Duration::from_secs(20),
    keepalive: Duration::from_secs(5),
    connection_age: PATIENCE,
    backoff_first: Duration::from_millis(5),
    backoff_longest: Duration::from_millis(50),
    upload_max_bytes: 1 << 20,
    upload_stall: Duration::from_secs(20),
    upload_backoff_longest: Duration::from_millis(50),
    offer_interval: Duration::from_millis(50),
};

/// Far more than any step takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source without objects.
struct NoObjects;

impl ObjectSource for NoObjects {
    fn open(&self, _id: &ObjectId) -> Result<Upload, OpenObjectError> {
        Err(OpenObjectError::NotFound)
    }

    fn level(&self, _id: &ObjectId) -> Option<v1::SymbolLevel> {
        None
    }
}

/// An agent as far as delivery is concerned.
struct Agent {
    delivery: Delivery,
    handle: DeliveryHandle,
    ledger: Arc<Ledger>,
    dir: TempDir,
    batches: u64,
}

impl Agent {
    fn config(collector: std::net::SocketAddr, spool_dir: PathBuf) -> DeliveryConfig {
        DeliveryConfig {
            collector: format!("http://{collector}"),
            host: "test-host".into(),
            buffer_bytes: 1 << 20,
            spool_dir,
            spool_bytes: 1 << 20,
            upload_rate_bytes: 1 << 30,
            tuning: QUICK,
        }
    }

    fn start(collector: std::net::SocketAddr) -> Self {
        Self::start_with(TempDir::new().unwrap(), collector, |_| {})
    }

    fn start_with(
        dir: TempDir,
        collector: std::net::SocketAddr,
        change: impl FnOnce(&mut DeliveryConfig),
    ) -> Self {
        Self::start_from(dir, collector, change, Arc::new(NoObjects))
    }

    fn start_from(
        dir: TempDir,
        collector: std::net::SocketAddr,
        change: impl FnOnce(&mut DeliveryConfig),
        objects: Arc<dyn ObjectSource>,
    ) -> Self {
        let mut config = Self::config(collector, dir.path().to_owned());
        change(&mut config);
        let ledger = Arc::new(Ledger::new());
        let delivery = Delivery::start(config, Arc::clone(&ledger), objects).unwrap();
        Self { handle: delivery.handle(), delivery, ledger, dir, batches: 0 }
    }

    /// Takes, seals and submits a batch of `samples`, whose payload has about `bytes`.
    fn submit(&mut self, samples: u64, bytes: usize) {
        self.ledger.received(samples);
        let accounting = self.ledger.seal(samples, || None);
        self.batches += 1;
        let mut builder = BatchBuilder::new();
        let mut random = fastrand::Rng::with_seed(self.batches);
        let noise: String = std::iter::repeat_with(|| random.alphanumeric()).take(bytes).collect();
        let origin = builder.origin([("service", "test"), ("noise", noise.as_str())]);
        builder.add(origin, StackIndex::EMPTY, 0, samples, samples * 1_000);
        let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
        self.handle.submit(&builder.finish(window, [], accounting));
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = self.ledger.snapshot();
        assert_eq!(snapshot.imbalance(), 0, "{snapshot:?}");
        snapshot
    }

    /// Waits for the ledger to say so.
    async fn until(&self, what: &str, done: impl Fn(&Snapshot) -> bool) -> Snapshot {
        eventually(what, || {
            let snapshot = self.snapshot();
            done(&snapshot).then_some(snapshot)
        })
        .await
    }

    async fn until_delivered(&self, samples: u64) -> Snapshot {
        self.until("delivered", |ledger| ledger.delivered == samples).await
    }

    /// What a SIGKILL leaves: the directory.
    async fn kill(self) -> TempDir {
        let Self { delivery, handle, dir, .. } = self;
        drop(handle);
        let Delivery { handle, .. } = &delivery;
        let shared = Arc::downgrade(&handle.shared);
        drop(delivery);
        eventually("tasks ended", || (shared.strong_count() == 0).then_some(())).await;
        dir
    }

    fn spooled_files(&self) -> usize {
        files(self.dir.path())
    }
}

fn files(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some()).count()
}

/// Looks again and again; the sleep only yields the processor.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(result) = look() {
            return result;
        }
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn batches_arrive_are_acknowledged_and_counted() {
    let collector = Collector::start();
    let mut agent = Agent::start(collector.address);
    for samples in 1..=10 {
        agent.submit(samples, 100);
    }
    agent.until_delivered(55).await;
    assert_eq!(collector.stored_samples(), 55);
    let hello = collector.look(|books| books.hellos[0].clone());
    assert_eq!(hello.instance, agent.handle.instance().as_bytes());
    assert_eq!(hello.host, "test-host");
    let order: Vec<_> =
        collector.look(|books| books.received.iter().map(|id| id.sequence).collect());
    assert_eq!(order, (1..=10).collect::<Vec<u64>>());
    let status = agent.handle.status();
    assert!(status.connected);
    assert_eq!((status.batches_acknowledged_total, status.batches_duplicate_total), (10, 0));
    let summary = agent.delivery.shutdown(PATIENCE).await;
    assert_eq!(summary, Summary { delivered_samples: 55, ..Summary::default() });
}

#[tokio::test]
async fn collectors_get_the_newest_format_that_they_say_they_read() {
    let newest = batch::FORMAT;
    for (takes_offers, batch_format, expected) in [
        (false, newest, batch::OLDEST_FORMAT),
        (true, 0, batch::OLDEST_FORMAT),
        (true, newest, newest),
    ] {
        let collector = Collector::start();
        collector.look(|books| {
            (books.takes_offers, books.batch_format) = (takes_offers, batch_format);
        });
        let mut agent = Agent::start(collector.address);
        // Before the collector has said so, it gets what all read.
        eventually("the format", || {
            agent.submit(1, 100);
            let formats = collector.look(|books| books.formats.clone());
            (formats.len() >= 20 && formats.ends_with(&[expected])).then_some(())
        })
        .await;
        agent.until("delivered", |ledger| ledger.pending.total() == 0).await;
        let formats = collector.look(|books| books.formats.clone());
        assert!(formats.is_sorted() && formats[formats.len() - 1] == expected, "{formats:?}");
        assert_eq!(collector.stored_samples(), formats.len() as u64);
        assert_eq!(agent.handle.status().batches_rejected_total, 0);
    }
}

#[tokio::test]
async fn late_unordered_repeated_and_invented_answers_change_nothing() {
    let collector = Collector::start();
    collector.plan([Plan::Hold, Plan::Hold, Plan::Hold, Plan::Babble]);
    let mut agent = Agent::start(collector.address);
    for samples in [1, 2, 4, 8] {
        agent.submit(samples, 100);
    }
    agent.until_delivered(8).await;
    eventually("three held", || (collector.held() == 3).then_some(())).await;
    // Long unanswered batches are on disk by now; the answers still count.
    agent.until("spooled", |ledger| ledger.pending.in_spool == 7).await;
    collector.answer_held();
    agent.until_delivered(15).await;
    eventually("files deleted", || (agent.spooled_files() == 0).then_some(())).await;
    assert_eq!(agent.handle.status().answers_unexpected_total, 2);
    assert_eq!(collector.look(|books| books.received.len()), 4, "nothing was sent twice");
}

#[tokio::test]
async fn a_stream_that_breaks_is_resent_without_a_double_count() {
    let collector = Collector::start();
    collector.plan([
        Plan::Ack,
        Plan::StoreAndFail(Code::Unavailable),
        Plan::Fail(Code::ResourceExhausted),
        Plan::End,
        Plan::StoreAndFail(Code::Internal),
    ]);
    let mut agent = Agent::start(collector.address);
    for samples in [1, 2, 4, 8, 16] {
        agent.submit(samples, 100);
    }
    let ledger = agent.until_delivered(31).await;
    assert_eq!(ledger.dropped_total(), 0);
    assert_eq!(collector.stored_samples(), 31);
    let status = agent.handle.status();
    assert_eq!(status.connection_faults_total, 4);
    assert_eq!(status.batches_duplicate_total, 1);
    let instances =
        collector.look(|books| books.hellos.iter().map(|h| h.instance.clone()).collect::<Vec<_>>());
    assert!(instances.iter().all(|instance| instance == agent.handle.instance().as_bytes()));
}

#[tokio::test]
async fn a_collector_that_never_answers_is_given_up_and_asked_again() {
    let collector = Collector::start();
    collector.plan([Plan::Forget, Plan::Forget]);
    let quick = |config: &mut DeliveryConfig| {
        config.tuning.ack_timeout = Duration::from_millis(100);
    };
    let mut agent = Agent::start_with(TempDir::new().unwrap(), collector.address, quick);
    agent.submit(3, 100);
    agent.submit(4, 100);
    agent.until_delivered(7).await;
    assert!(collector.look(|books| books.hellos.len()) >= 2);
    assert_eq!(collector.stored_samples(), 7);
}

/// Check that a collector that is slow and says so keeps its stream for longer than one that says nothing, and
/// is sent nothing twice.
#[tokio::test]
async fn a_busy_collector_is_waited_for() {
    // Twenty times the time between two signs: a busy machine may be late.
    const PATIENCE: Duration = Duration::from_secs(2);
    let collector = Collector::start();
    collector.plan([Plan::Hold, Plan::Hold]);
    let quick = |config: &mut DeliveryConfig| config.tuning.ack_timeout = PATIENCE;
    let mut agent = Agent::start_with(TempDir::new().unwrap(), collector.address, quick);
    agent.submit(3, 100);
    agent.submit(4, 100);
    eventually("both are there", || (collector.held() == 2).then_some(())).await;
    for _ in 0..60 {
        tokio::time::sleep(PATIENCE / 20).await;
        collector.busy();
    }
    collector.answer_held();
    agent.until_delivered(7).await;
    let status = agent.handle.status();
    assert_eq!((status.connection_faults_total, status.batches_sent_total), (0, 2));
}

#[tokio::test]
async fn a_rejected_batch_is_dropped_with_its_reason_and_not_resent() {
    let collector = Collector::start();
    collector.plan([Plan::Reject("over a limit"), Plan::Ack]);
    let mut agent = Agent::start(collector.address);
    agent.submit(3, 100);
    agent.submit(4, 100);
    let ledger = agent.until_delivered(4).await;
    assert_eq!(ledger.dropped_for("rejected"), 3);
    assert_eq!(collector.look(|books| books.received.len()), 2);
    eventually("files deleted", || (agent.spooled_files() == 0).then_some(())).await;
}

#[tokio::test]
async fn no_more_than_the_window_is_unanswered() {
    let collector = Collector::start();
    collector.plan((0..100).map(|_| Plan::Hold));
    let mut agent = Agent::start(collector.address);
    for _ in 0..20 {
        agent.submit(1, 100);
    }
    eventually("window full", || (collector.held() == 4).then_some(())).await;
    // Everything goes to the spool, and the window stays what it is.
    agent.until("spooled", |ledger| ledger.pending.in_spool == 20).await;
    assert_eq!(collector.held(), 4);
    assert_eq!(agent.handle.status().in_flight_batches, 4);
    collector.look(|books| books.plans.clear());
    collector.answer_held();
    agent.until_delivered(20).await;
    assert_eq!(collector.stored_samples(), 20);
}
