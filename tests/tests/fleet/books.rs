//! The simulator's own books, against a collector to which nothing happens.

use std::{sync::Arc, time::Duration};

use fleetprof_tests::{
    machine::{machine, unix_nanos},
    sim::{Config, Fleet, Kill, Pace, Plan, PlanConfig, Usage},
};
use tokio::{runtime::Runtime, time::sleep};

use crate::{library, stack::Stack};

const DRAIN: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000_000_000;

fn plan(hosts: usize, roles: usize) -> Arc<Plan> {
    let config = PlanConfig { hosts, roles, services: 10, ..PlanConfig::default() };
    Arc::new(Plan::new(config, &library()))
}

/// Check that history is delivered as fast as it is taken: every window of every host, once; also when hosts
/// have in common what they did.
#[test]
fn history_arrives_whole() {
    let _machine = machine();
    let mut stack = Stack::single();
    let until = unix_nanos() - MINUTE;
    let pace = Pace::backfill(until - 10 * MINUTE, until);
    let config = Config { hosts_per_connection: 10, reuse: 8, ..Config::new(stack.urls(), pace) };
    let report = Runtime::new().expect("a runtime").block_on(async {
        let mut fleet = Fleet::start(config, library(), plan(20, 4)).expect("agents start");
        fleet.finished().await;
        fleet.drain(DRAIN).await
    });
    assert_eq!((report.batches, report.acknowledged_batches), (20 * 60, 20 * 60), "{report}");
    assert!(report.wall_seconds < 300.0, "{report}");
    let services: Vec<_> = report.services.into_iter().collect();
    stack.check_holds(&services, report.from_unix_nanos);
}

/// Check that of agents that lose what they had, the report says between which numbers the truth lies.
#[test]
fn what_killed_agents_lose_is_bounded() {
    let _machine = machine();
    let stack = Stack::single();
    let config =
        Config { window: Duration::from_millis(200), ..Config::new(stack.urls(), Pace::now(None)) };
    let report = Runtime::new().expect("a runtime").block_on(async {
        let fleet = Fleet::start(config, library(), plan(30, 0)).expect("agents start");
        for round in 0..60 {
            sleep(Duration::from_millis(100)).await;
            fleet.kill(round % fleet.hosts(), Kill::LoseAll);
        }
        fleet.drain(DRAIN).await
    });
    assert_eq!((report.kills, report.rejected_batches), (60, 0), "{report}");
    assert!(report.unknown_batches > 0, "nobody lost anything: {report}");
    let lost = |service: &str| report.unknown.get(service).map_or(0, |usage| usage.samples);
    for (service, held) in stack.held(report.from_unix_nanos) {
        let Usage { samples, .. } = report.services[&service];
        let most = samples + lost(&service);
        assert!((samples..=most).contains(&held.samples), "{service}: {held:?}\n{report}");
    }
}
