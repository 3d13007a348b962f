//! Agents that know one address: that of a plain load balancer before several collectors.

use std::{sync::Arc, thread, time::Duration};

use fleetprof_tests::{
    agent::{Agent, Options},
    machine::{self, machine},
    programs::{Burning, Program},
    servers::Balancer,
    sim::{Config, Fleet, Pace, Plan, PlanConfig},
    wait,
};
use tokio::runtime::Runtime;

use crate::{library, stack::Stack};

/// How long each collector is away.
const AWAY: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(120);

/// Check that agents behind a load balancer find another collector when theirs is killed, each in its turn,
/// that no sample is lost or counted twice by that, and that afterwards every collector has agents.
#[test]
fn agents_behind_a_load_balancer_move_on() {
    let _machine = machine();
    let mut stack = Stack::shared(3);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let balancer = Balancer::start(dir.path(), &stack.ports());
    let library = library();
    let plan = PlanConfig { hosts: 60, services: 12, ..PlanConfig::default() };
    let plan = Arc::new(Plan::new(plan, &library));
    let config = Config {
        window: Duration::from_millis(400),
        connect_timeout: Duration::from_secs(3),
        ack_timeout: Duration::from_secs(15),
        backoff: (Duration::from_millis(100), Duration::from_secs(1)),
        ..Config::new(vec![balancer.url()], Pace::now(None))
    };
    let runtime = Runtime::new().expect("a runtime");
    let fleet = runtime.block_on(async { Fleet::start(config, library, plan) });
    let fleet = fleet.expect("agents start");
    wait::until("all agents to be connected", DRAIN, || {
        (stack.agents().iter().sum::<u64>() == 60).then_some(())
    });
    let before = stack.agents();
    assert!(before.iter().all(|agents| *agents >= 10), "not shared out: {before:?}");
    for number in 0..stack.collectors() {
        stack.kill(number);
        thread::sleep(AWAY);
        stack.launch(number);
        stack.wait_ready();
        wait::until("all agents to be connected again", DRAIN, || {
            (stack.agents().iter().sum::<u64>() == 60).then_some(())
        });
    }
    let report = runtime.block_on(fleet.drain(DRAIN));
    assert_eq!((report.rejected_batches, report.unknown_batches), (0, 0), "{report}");
    assert!(report.resends > 0, "nobody lost its collector: {report}");
    let services: Vec<_> = report.services.into_iter().collect();
    stack.check_holds(&services, report.from_unix_nanos);
}

/// Check that a real agent's binaries, sent through a load balancer to whichever collector, give names at
/// every collector.
#[test]
fn names_arrive_through_a_load_balancer() {
    let _machine = machine();
    let stack = Stack::shared(3);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let balancer = Balancer::start(dir.path(), &stack.ports());
    let _load = Burning::start(Program::Cpp, 1);
    let agent = Agent::start(&Options::new(&balancer.url(), dir.path()));
    let from = machine::unix_nanos();
    for number in 0..stack.collectors() {
        wait::until("names at every collector", DRAIN, || {
            let names = stack.functions(number, from);
            names.iter().any(|name| name.contains("Codec<int>::encode")).then_some(())
        });
    }
    agent.stop();
}
