//! Everybody dies at any moment, again and again, while agents deliver; in the end the books agree.
//!
//! `FLEETPROF_CRASH=10m` makes it last that long instead of half a minute, `FLEETPROF_SEED=7` repeats the
//! same sequence of deaths (not their timing to the millisecond).

use std::{
    env,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fleetprof_tests::{
    machine::{self, machine},
    sim::{Config, Fleet, Kill, Pace, Plan, PlanConfig},
};
use tokio::runtime::Runtime;

use crate::{library, stack::Stack};

/// How long everybody is in danger.
const DANGER: Duration = Duration::from_secs(30);
/// Mean time between two deaths.
const PAUSE: Duration = Duration::from_millis(1500);
/// How long the agents may take to deliver what they hold, with everybody up again.
const DRAIN: Duration = Duration::from_secs(120);

/// Deaths so far.
#[derive(Debug, Default)]
struct Deaths {
    collectors: u32,
    agents: u32,
    stores: u32,
    catalogs: u32,
    /// Collectors that ended by themselves.
    gave_up: u32,
}

/// Check that a collector that keeps its data in a folder loses and doubles no sample.
#[test]
fn one_collector_and_its_agents_die_and_the_books_agree() {
    let _machine = machine();
    endure(Stack::single());
}

/// Check the same of collectors that keep nothing themselves, with the object store and the catalog dying, too.
#[test]
fn collectors_agents_store_and_catalog_die_and_the_books_agree() {
    let _machine = machine();
    endure(Stack::shared(3));
}

fn endure(mut stack: Stack) {
    let (danger, seed) = (danger(), seed());
    println!("FLEETPROF_SEED={seed} FLEETPROF_CRASH={}s", danger.as_secs());
    let mut random = fastrand::Rng::with_seed(seed);
    let library = library();
    let plan =
        PlanConfig { hosts: 60, services: 12, deploy_every: 20.0, seed, ..PlanConfig::default() };
    let plan = Arc::new(Plan::new(plan, &library));
    let runtime = Runtime::new().expect("a runtime");
    let config = Config {
        window: Duration::from_millis(400),
        connect_timeout: Duration::from_secs(3),
        ack_timeout: Duration::from_secs(15),
        backoff: (Duration::from_millis(100), Duration::from_secs(2)),
        ..Config::new(stack.urls(), Pace::now(None))
    };
    let fleet = runtime.block_on(async { Fleet::start(config, library, plan) });
    let fleet = fleet.expect("agents start");

    let deaths = kill_for(danger, &mut stack, &fleet, &mut random);
    stack.wait_ready();
    let report = runtime.block_on(fleet.drain(DRAIN));
    println!("{deaths:?}\n{report}");
    assert_eq!(report.rejected_batches, 0, "{report}");
    assert_eq!(report.unknown_batches, 0, "not delivered within {DRAIN:?}: {report}");
    assert!(report.acknowledged().samples > 0 && report.resends > 0, "nothing was tried: {report}");
    let services: Vec<_> = report.services.into_iter().collect();
    stack.check_holds(&services, report.from_unix_nanos);
}

fn kill_for(
    danger: Duration,
    stack: &mut Stack,
    fleet: &Fleet,
    random: &mut fastrand::Rng,
) -> Deaths {
    let mut deaths = Deaths::default();
    let end = Instant::now() + danger;
    while Instant::now() < end {
        thread::sleep(PAUSE.mul_f64(2.0 * random.f64()));
        deaths.gave_up += stack.supervise();
        match random.u32(..10) {
            0..5 => {
                let number = random.usize(..stack.collectors());
                stack.kill(number);
                thread::sleep(PAUSE.mul_f64(random.f64() / 2.0));
                stack.launch(number);
                deaths.collectors += 1;
            }
            5..8 => {
                // A few at a time, as when a rack loses its power.
                for _ in 0..random.u32(1..=10) {
                    fleet.kill(random.usize(..fleet.hosts()), Kill::KeepSpool);
                    deaths.agents += 1;
                }
            }
            8 => deaths.stores += u32::from(stack.crash_store()),
            _ => deaths.catalogs += u32::from(stack.crash_catalog()),
        }
    }
    deaths
}

fn danger() -> Duration {
    let Ok(text) = env::var("FLEETPROF_CRASH") else { return DANGER };
    humantime::parse_duration(&text).unwrap_or_else(|error| {
        panic!("FLEETPROF_CRASH={text}: {error}; write for example 90s or 10m")
    })
}

fn seed() -> u64 {
    let Ok(text) = env::var("FLEETPROF_SEED") else {
        return machine::unix_nanos().unsigned_abs() % 1_000_000;
    };
    text.parse().unwrap_or_else(|error| panic!("FLEETPROF_SEED={text}: {error}"))
}
