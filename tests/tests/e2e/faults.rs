//! Crashes, absence and full disks: at the end the store holds what the agents took and did not drop,
//! no sample more and none less.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use fleetprof_proto::v1;
use fleetprof_tests::{
    agent::Agent,
    http,
    machine::{hold_port, machine, require_root},
    programs::{Burning, Program},
    tmpfs::Tmpfs,
    wait,
};

use crate::fixture::{Lab, SOON, deliver, watch};

/// Something to sample on every core.
fn load() -> Burning {
    Burning::start(Program::C, 2)
}

// Check that a collector which is killed while agents stream loses nothing that it acknowledged, and
// stores nothing twice that is sent again.
#[test]
fn a_collector_killed_five_times_loses_and_doubles_nothing() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let mut collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    for _ in 0..5 {
        deliver(&mut agent, 300);
        collector.kill();
        collector = lab.collector();
    }
    deliver(&mut agent, 300);
    agent.stop();
    let books = lab.books("");
    assert_eq!(books.check_complete(), 0, "an agent whose collector comes back drops nothing");
    collector.check_unharmed();
    collector.stop();
}

// Check that a restarted agent starts new books and that the old ones are complete.
#[test]
fn an_agent_stopped_and_restarted_loses_nothing() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let collector = lab.collector();
    for _ in 0..2 {
        let mut agent = Agent::start(&lab.nameless());
        deliver(&mut agent, 300);
        agent.stop();
    }
    let books = lab.books("");
    assert_eq!(books.agents().len(), 2, "two starts are two instances: {:#?}", books.status);
    assert_eq!(books.check_complete(), 0);
    let unaccounted = |agent: &&v1::AgentStatus| agent.unaccounted_samples != Some(0);
    assert_eq!(books.agents().into_iter().find(unaccounted), None, "all of it is accounted for");
    collector.stop();
}

// Check that an agent which is stopped while its collector is away leaves its samples in the spool, and
// that the next one delivers them.
#[test]
fn an_agent_stopped_without_a_collector_leaves_its_samples_to_the_next() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 300);
    collector.kill();
    let taken = agent.ledger().taken;
    agent.wait_ledger("a second of samples", SOON, |ledger| ledger.taken > taken + 400);
    agent.stop();
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 300);
    agent.stop();
    let books = lab.books("");
    assert_eq!(books.agents().len(), 2);
    assert_eq!(books.check_complete(), 0);
    collector.stop();
}

// Check that SIGKILL of an agent whose collector is away loses nothing that was in its spool, and that what
// its successor delivers of it is stored once.
#[test]
fn an_agent_killed_without_a_collector_leaves_its_spool_to_the_next() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 300);
    collector.stop();
    let (delivered, spooled) = wait::until("samples in the spool", SOON, || {
        agent.process().check_alive();
        let metrics = agent.try_metrics()?;
        let spooled = metrics.value("fleetprof_agent_samples_pending_by_stage{stage=\"spool\"}")?;
        (spooled > 300).then_some((metrics.ledger().delivered, spooled))
    });
    agent.kill();
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 300);
    let metrics = wait::until("the spool of the killed agent to be delivered", SOON, || {
        agent.process().check_alive();
        let metrics = agent.try_metrics()?;
        let left = metrics.value("fleetprof_agent_recovered_samples_pending")?;
        (left == 0).then_some(metrics)
    });
    let recovered = metrics.value("fleetprof_agent_recovered_samples_delivered_total");
    let lost = metrics.sum("fleetprof_agent_recovered_samples_dropped_total");
    agent.stop();
    let books = lab.books("");
    let agents = books.agents();
    assert_eq!(agents.len(), 2, "{:#?}", books.status);
    let killed = agents[0];
    println!("delivered {delivered}, in the spool {spooled}, delivered by the next {recovered:?}");
    assert!(recovered >= Some(spooled) && lost == Some(0.0), "{metrics:?}");
    let taken = killed.accounting.as_ref().expect("an accounting").taken;
    assert!(killed.stored_samples >= delivered + spooled, "spooled samples are gone: {killed:#?}");
    // What it had not yet written when it was killed is lost, and not silently.
    assert_eq!(killed.unaccounted_samples, Some(taken - killed.stored_samples), "{killed:#?}");
    assert!(killed.stored_samples <= taken, "more samples than were taken: {killed:#?}");
    collector.stop();
}

// Check that SIGKILL of an agent loses no sample that it had delivered and doubles none.
#[test]
fn an_agent_killed_and_restarted_doubles_nothing() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    let delivered = deliver(&mut agent, 500);
    agent.kill();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 300);
    agent.stop();
    let books = lab.books("");
    let agents = books.agents();
    assert_eq!(agents.len(), 2, "{:#?}", books.status);
    let killed = agents[0];
    let accounting = killed.accounting.as_ref().expect("an accounting");
    println!("killed: delivered {delivered}, stored {}, {accounting:?}", killed.stored_samples);
    assert!(killed.stored_samples >= delivered, "acknowledged samples are gone: {killed:#?}");
    assert!(killed.stored_samples <= accounting.taken, "more samples than were taken: {killed:#?}");
    assert_eq!(
        killed.stored_samples, accounting.sealed,
        "a batch before the last one is missing: {killed:#?}"
    );
    collector.stop();
}

// Check that a collector that is away for two minutes costs nothing. Beside the other tests, which would
// else wait for it: it counts what the machine does anyway, seldom enough to disturb nobody.
#[test]
fn a_collector_that_is_away_gets_everything_when_it_is_back() {
    require_root();
    let lab = Lab::new();
    // Other tests ask for free ports meanwhile.
    let _port = hold_port(lab.port());
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless().at(97));
    deliver(&mut agent, 20);
    collector.stop();
    let away = Duration::from_secs(120);
    let end = Instant::now() + away;
    while Instant::now() < end {
        agent.ledger();
        thread::sleep(Duration::from_millis(500));
    }
    let waiting = agent.ledger();
    assert_eq!(waiting.dropped_total(), 0, "{waiting:?}");
    let spooled =
        agent.try_metrics().and_then(|it| it.value("fleetprof_agent_batches{state=\"spool\"}"));
    assert!(spooled >= Some(30), "{spooled:?} batches wait after {away:?}: {waiting:?}");
    let collector = lab.collector();
    agent.wait_ledger("what waited to be delivered", SOON, |ledger| {
        ledger.delivered >= waiting.taken
    });
    agent.stop();
    assert_eq!(lab.books("").check_complete(), 0);
    collector.stop();
}

// Check that a full disk under the collector stops acknowledgement, not the collector, and that what
// waited is delivered when there is room again.
#[test]
fn a_full_disk_under_the_collector_delays_and_loses_nothing() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let disk = Tmpfs::mount(&lab.path().join("data"), 32 << 20);
    let mut collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 300);
    let filler = disk.fill();
    wait::until("the collector to say that it cannot store", SOON, || {
        agent.ledger();
        (http::status(lab.port(), "/readyz") == Some(503)).then_some(())
    });
    let stuck = agent.ledger().delivered;
    watch(&mut agent, Duration::from_secs(5));
    let full = agent.ledger();
    assert_eq!(full.delivered, stuck, "batches were acknowledged that cannot have been stored");
    collector.process().check_alive();
    assert_eq!(
        http::status(lab.port(), "/healthz"),
        Some(200),
        "a full disk is no reason to be restarted"
    );
    fs::remove_file(filler).expect("the filler is ours to delete");
    agent.wait_ledger("what waited to be delivered", SOON, |ledger| ledger.delivered >= full.taken);
    collector.wait_ready();
    agent.stop();
    assert_eq!(lab.books("").check_complete(), 0);
    collector.check_unharmed();
    collector.stop();
}

// Check that a full disk under the spool, with no collector and little memory, loses samples only into
// the books.
#[test]
fn a_full_disk_under_the_spool_is_counted_to_the_sample() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let disk = Tmpfs::mount(&lab.path().join("spool"), 1 << 20);
    let collector = lab.collector();
    // Memory for a few batches only.
    let options = lab.nameless().with(&["--buffer-bytes", "64KiB"]);
    let mut agent = Agent::start(&options);
    deliver(&mut agent, 300);
    collector.stop();
    disk.fill();
    let lost = agent.wait_ledger("samples to be dropped", Duration::from_secs(120), |ledger| {
        ledger.dropped_total() > 0
    });
    println!("dropped: {:?}", lost.dropped);
    watch(&mut agent, Duration::from_secs(3));
    let collector = lab.collector();
    deliver(&mut agent, 300);
    agent.stop();
    let dropped = lab.books("").check_complete();
    assert!(dropped >= lost.dropped_total(), "the books forgot drops: {dropped}");
    collector.stop();
}

// Check promise 1 on every scrape under load: high rate, many short processes, a kill in between.
#[test]
fn the_books_balance_on_every_scrape_under_load() {
    let _machine = machine();
    let (lab, _load) = (Lab::new(), load());
    let _storm = Burning::start(Program::Storm, 1);
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless().at(997));
    let mut scrapes = 0;
    watch_each(&mut agent, Duration::from_secs(5), &mut scrapes);
    collector.kill();
    watch_each(&mut agent, Duration::from_secs(3), &mut scrapes);
    let collector = lab.collector();
    watch_each(&mut agent, Duration::from_secs(3), &mut scrapes);
    println!("{scrapes} scrapes");
    assert!(scrapes > 50, "too few scrapes to mean something: {scrapes}");
    agent.stop();
    lab.books("").check_complete();
    collector.stop();
}

/// Scrapes without a pause.
fn watch_each(agent: &mut Agent, span: Duration, scrapes: &mut u32) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        agent.ledger();
        *scrapes += 1;
    }
}
