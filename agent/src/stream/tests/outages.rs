//! Collectors that are away, agents that end or are killed, and disks that fill up.

use std::sync::Mutex;

use super::{mount::Tmpfs, port::Port, *};

#[tokio::test]
async fn batches_wait_in_the_spool_until_the_collector_is_there() {
    let port = Port::reserve();
    let mut agent = Agent::start(port.address);
    for _ in 0..30 {
        agent.submit(2, 1000);
    }
    agent.until("spooled", |ledger| ledger.pending.in_spool == 60).await;
    assert_eq!(agent.spooled_files(), 30);
    let collector = Collector::start_at(&port, Arc::default());
    agent.until_delivered(60).await;
    assert_eq!(collector.stored_samples(), 60);
    eventually("files deleted", || (agent.spooled_files() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_collector_killed_again_and_again_loses_and_repeats_nothing() {
    let port = Port::reserve();
    let books = Arc::new(Mutex::new(collector::Books::default()));
    let mut agent = Agent::start(port.address);
    let mut taken = 0;
    for round in 1..=5 {
        let collector = Collector::start_at(&port, Arc::clone(&books));
        collector.plan([Plan::Ack, Plan::Forget, Plan::Ack]);
        for _ in 0..5 {
            agent.submit(round, 200);
            taken += round;
        }
        let before = agent.snapshot().delivered;
        agent.until("some delivered", |ledger| ledger.delivered > before).await;
        collector.kill().await;
    }
    let collector = Collector::start_at(&port, Arc::clone(&books));
    collector.look(|books| books.plans.clear());
    let ledger = agent.until_delivered(taken).await;
    assert_eq!((ledger.taken, ledger.dropped_total()), (taken, 0));
    assert_eq!(collector.stored_samples(), taken);
}

/// Check that connections are renewed now and then, that nothing is lost or sent twice by that, and that it
/// is no fault.
#[tokio::test]
async fn old_connections_are_renewed() {
    let collector = Collector::start();
    let brief = |config: &mut DeliveryConfig| {
        config.tuning.connection_age = Duration::from_millis(20);
    };
    let mut agent = Agent::start_with(TempDir::new().unwrap(), collector.address, brief);
    let began = std::time::Instant::now();
    let mut taken = 0;
    while agent.handle.status().connections_total < 5 {
        assert!(began.elapsed() < PATIENCE, "no new connection");
        agent.submit(3, 200);
        taken += 3;
        agent.until_delivered(taken).await;
    }
    let status = agent.handle.status();
    assert_eq!((status.connection_faults_total, status.batches_duplicate_total), (0, 0));
    assert_eq!(status.batches_sent_total, taken / 3);
    assert_eq!(collector.stored_samples(), taken);
}

/// Check that no mixture of misbehaviour loses or repeats a sample, and that all of it ends.
#[tokio::test]
async fn chaos_loses_and_repeats_nothing() {
    let collector = Collector::start();
    let mut random = fastrand::Rng::with_seed(7);
    let plans = std::iter::repeat_with(|| match random.u8(0..12) {
        0 => Plan::Hold,
        1 => Plan::Forget,
        2 => Plan::StoreAndFail(Code::Unavailable),
        3 => Plan::Fail(Code::Internal),
        4 => Plan::End,
        5 => Plan::Babble,
        _ => Plan::Ack,
    });
    collector.plan(plans.take(150));
    let quick = |config: &mut DeliveryConfig| {
        config.tuning.ack_timeout = Duration::from_millis(50);
        config.buffer_bytes = 20_000;
    };
    let mut agent = Agent::start_with(TempDir::new().unwrap(), collector.address, quick);
    let mut taken = 0;
    for round in 1..=60 {
        agent.submit(round, 2000);
        taken += round;
        collector.answer_held();
        let room = |ledger: &Snapshot| ledger.pending.in_memory < 500;
        agent.until("room in memory", room).await;
    }
    let ledger = agent.until_delivered(taken).await;
    assert_eq!(ledger.dropped_total(), 0);
    assert_eq!(collector.stored_samples(), taken);
    eventually("files deleted", || (agent.spooled_files() == 0).then_some(())).await;
}

#[tokio::test]
async fn what_a_killed_agent_had_spooled_is_delivered_by_the_next() {
    let port = Port::reserve();
    let mut first = Agent::start(port.address);
    for _ in 0..3 {
        first.submit(5, 100);
    }
    first.until("spooled", |ledger| ledger.pending.in_spool == 15).await;
    let instance = first.handle.instance();
    let dir = first.kill().await;

    let collector = Collector::start_at(&port, Arc::default());
    let mut second = Agent::start_with(dir, port.address, |_| {});
    second.submit(1, 100);
    let ledger = second.until("all", |l| l.delivered == 1 && l.recovered.delivered == 15).await;
    assert_eq!((ledger.taken, ledger.recovered.pending), (1, 0), "apart from its own");
    let old = collector.look(|books| {
        books
            .stored
            .keys()
            .filter(|id| id.instance == instance)
            .map(|id| id.sequence)
            .collect::<Vec<_>>()
    });
    assert_eq!(old, [1, 2, 3], "under their own ids");
    eventually("files deleted", || (second.spooled_files() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_shutdown_without_a_collector_leaves_everything_in_the_spool() {
    let port = Port::reserve();
    let slow = |config: &mut DeliveryConfig| config.tuning.spool_after = PATIENCE;
    let mut agent = Agent::start_with(TempDir::new().unwrap(), port.address, slow);
    for _ in 0..4 {
        agent.submit(3, 100);
    }
    assert_eq!(agent.snapshot().pending.in_memory, 12);
    let Agent { delivery, ledger, dir, .. } = agent;
    // The deadline is far: a collector that is away ends the wait.
    let summary = delivery.shutdown(PATIENCE * 10).await;
    let expected = Summary { spooled_batches: 4, spooled_samples: 12, ..Summary::default() };
    assert_eq!(summary, expected);
    assert_eq!(ledger.snapshot().imbalance(), 0);
    assert_eq!(files(dir.path()), 4);
}

#[tokio::test]
async fn a_shutdown_ends_at_its_deadline_with_what_is_in_flight_in_the_spool() {
    let collector = Collector::start();
    collector.plan([Plan::Ack, Plan::Hold, Plan::Hold]);
    let slow = |config: &mut DeliveryConfig| config.tuning.spool_after = PATIENCE;
    let mut agent = Agent::start_with(TempDir::new().unwrap(), collector.address, slow);
    for _ in 0..3 {
        agent.submit(3, 100);
    }
    eventually("in flight", || (collector.held() == 2).then_some(())).await;
    let Agent { delivery, dir, .. } = agent;
    let summary = delivery.shutdown(Duration::from_millis(50)).await;
    let expected = Summary {
        delivered_samples: 3,
        spooled_batches: 2,
        spooled_samples: 6,
        ..Summary::default()
    };
    assert_eq!(summary, expected);

    let next = Agent::start_with(dir, collector.address, |_| {});
    next.until("recovered", |ledger| ledger.recovered.delivered == 6).await;
    assert_eq!(collector.stored_samples(), 9);
    assert_eq!(next.handle.status().batches_duplicate_total, 2);
}

#[tokio::test]
async fn a_shutdown_delivers_the_last_batch() {
    let collector = Collector::start();
    let mut agent = Agent::start(collector.address);
    agent.submit(1, 100);
    agent.submit(7, 100);
    let Agent { delivery, dir, .. } = agent;
    let summary = delivery.shutdown(PATIENCE).await;
    assert_eq!(summary, Summary { delivered_samples: 8, ..Summary::default() });
    assert_eq!(collector.stored_samples(), 8);
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test]
async fn without_a_spool_memory_is_bounded_and_the_rest_is_counted() {
    let no_spool = |config: &mut DeliveryConfig| {
        config.spool_bytes = 0;
        config.spool_dir = "/nonexistent".into();
        config.buffer_bytes = 10_000;
    };
    let port = Port::reserve();
    let mut agent = Agent::start_with(TempDir::new().unwrap(), port.address, no_spool);
    for _ in 0..20 {
        agent.submit(1, 2000);
    }
    let ledger = agent.snapshot();
    assert!(ledger.dropped_for("buffer_full") > 10, "{ledger:?}");
    assert!(ledger.pending.in_memory > 0);
    let kept = ledger.pending.in_memory;
    let Agent { delivery, ledger, .. } = agent;
    let summary = delivery.shutdown(PATIENCE).await;
    assert_eq!(summary.lost_samples, kept);
    let ledger = ledger.snapshot();
    assert_eq!(ledger.dropped_for("shutdown"), kept);
    assert_eq!((ledger.imbalance(), ledger.pending.total()), (0, 0));
}

#[tokio::test]
async fn a_full_spool_drops_its_oldest_batches_and_delivers_the_rest() {
    let port = Port::reserve();
    let small = |config: &mut DeliveryConfig| config.spool_bytes = 5 * 4096;
    let mut agent = Agent::start_with(TempDir::new().unwrap(), port.address, small);
    for _ in 0..12 {
        agent.submit(1, 100);
    }
    let ledger = agent.until("all moved", |ledger| ledger.pending.in_memory == 0).await;
    assert_eq!((ledger.dropped_for("spool_full"), ledger.pending.in_spool), (7, 5));
    assert_eq!(agent.spooled_files(), 5);
    let collector = Collector::start_at(&port, Arc::default());
    agent.until_delivered(5).await;
    let sequences: Vec<_> =
        collector.look(|books| books.stored.keys().map(|id| id.sequence).collect());
    assert_eq!(sequences, [8, 9, 10, 11, 12]);
}

#[tokio::test]
async fn a_full_disk_keeps_what_memory_holds_and_counts_the_rest() {
    let mounted = Tmpfs::new("size=64k");
    let port = Port::reserve();
    let tight = |config: &mut DeliveryConfig| {
        config.spool_dir = mounted.path().to_owned();
        config.buffer_bytes = 40_000;
    };
    let mut agent = Agent::start_with(TempDir::new().unwrap(), port.address, tight);
    // Some 15 KiB each after compression: three or four fit the disk, two the memory.
    for batch in 1..=3 {
        agent.submit(1, 20_000);
        agent.until("spooled", |ledger| ledger.pending.in_spool == batch).await;
    }
    let mut taken = 3;
    while agent.handle.status().spool_errors_total == 0 {
        agent.submit(1, 20_000);
        taken += 1;
        let settled = |ledger: &Snapshot| {
            ledger.pending.in_memory == 0 || agent.handle.status().spool_errors_total > 0
        };
        agent.until("settled", settled).await;
    }
    assert_eq!(agent.snapshot().dropped_total(), 0, "memory still holds it");
    for _ in 0..5 {
        agent.submit(1, 20_000);
    }
    let ledger = agent.snapshot();
    assert!(ledger.dropped_for("spool_error") >= 3, "{ledger:?}");
    assert_eq!(ledger.pending.total() + ledger.dropped_total(), taken + 5);
    assert!(agent.handle.status().memory_bytes <= 40_000);

    let collector = Collector::start_at(&port, Arc::default());
    let ledger = agent.until("all delivered", |ledger| ledger.pending.total() == 0).await;
    assert_eq!(collector.stored_samples(), ledger.taken - ledger.dropped_total());
    assert_eq!(
        ledger.dropped_total(),
        ledger.dropped_for("spool_error") + ledger.dropped_for("buffer_full")
    );
    agent.kill().await;
}

#[tokio::test]
async fn a_damaged_file_is_counted_and_holds_nothing_up() {
    let port = Port::reserve();
    let mut agent = Agent::start(port.address);
    for _ in 0..3 {
        agent.submit(5, 100);
    }
    agent.until("spooled", |ledger| ledger.pending.in_spool == 15).await;
    let damage = |sequence| {
        let name = format!("{}-{sequence}.batch", agent.handle.instance());
        let path = agent.dir.path().join(name);
        let mut content = std::fs::read(&path).unwrap();
        *content.last_mut().unwrap() ^= 1;
        std::fs::write(path, content).unwrap();
    };
    damage(1);
    let collector = Collector::start_at(&port, Arc::default());
    let ledger = agent.until_delivered(10).await;
    assert_eq!(ledger.dropped_for("spool_damaged"), 5);
    assert_eq!(collector.stored_samples(), 10);
    assert_eq!(agent.handle.status().spool_damaged_total, 1);
}

#[tokio::test]
async fn what_a_file_that_was_cut_off_held_is_counted_at_the_start() {
    let port = Port::reserve();
    let mut first = Agent::start(port.address);
    for _ in 0..3 {
        first.submit(5, 100);
    }
    first.until("spooled", |ledger| ledger.pending.in_spool == 15).await;
    let name = format!("{}-2.batch", first.handle.instance());
    let dir = first.kill().await;
    let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let collector = Collector::start_at(&port, Arc::default());
    let second = Agent::start_with(dir, collector.address, |_| {});
    let ledger = second.until("recovered", |ledger| ledger.recovered.delivered == 10).await;
    assert_eq!(ledger.recovered.dropped_total(), 5, "{ledger:?}");
    assert_eq!(ledger.recovered.pending, 0);
    assert_eq!(ledger.to_wire().recovered_dropped[0].name, "spool_damaged");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_for_a_while_is_delivered_after_it() {
    let port = Port::reserve();
    let mut agent = Agent::start(port.address);
    for _ in 0..3 {
        agent.submit(5, 100);
    }
    agent.until("spooled", |ledger| ledger.pending.in_spool == 15).await;
    // A directory in its place can be opened and not read.
    let path = agent.dir.path().join(format!("{}-1.batch", agent.handle.instance()));
    let hidden = path.with_extension("hidden");
    std::fs::rename(&path, &hidden).unwrap();
    std::fs::create_dir(&path).unwrap();
    let collector = Collector::start_at(&port, Arc::default());
    agent.until_delivered(10).await;
    eventually("tried", || (agent.handle.status().spool_errors_total > 0).then_some(())).await;
    assert_eq!(agent.snapshot().pending.in_spool, 5);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&hidden, &path).unwrap();
    let ledger = agent.until_delivered(15).await;
    assert_eq!((ledger.dropped_total(), collector.stored_samples()), (0, 15));
}

#[tokio::test]
async fn a_spool_that_cannot_be_used_fails_the_start() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let config = Agent::config(Port::reserve().address, file.join("spool"));
    let error = Delivery::start(config, Arc::default(), Arc::new(NoObjects)).unwrap_err();
    assert!(matches!(error, StartError::Spool(SpoolError::Create { .. })), "{error}");
    assert!(error.to_string().contains("file/spool"), "{error}");
}
