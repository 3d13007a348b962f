//! A whole fleet at one collector: what it takes in, what that costs on disk, and how fast it answers.
//!
//! The agents are simulated ([`fleetprof_tests::sim`]): they replay real captured stacks through the real
//! wire. Without `--capture` the stacks are those of some real services on this host.

mod history;
mod ingest;
mod stored;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fleetprof_tests::{
    collector::Collector,
    machine,
    sim::{
        self, Config, Fleet, Frames, Library, Pace, Plan, PlanConfig, read_captures,
        record_services,
    },
};
use tokio::runtime::Runtime;

pub(crate) use history::{History, measure as history};
pub(crate) use ingest::measure as ingest;
pub(crate) use stored::measure as stored;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How long services are recorded.
const RECORD: Duration = Duration::from_secs(60);
/// How long the last batches may take.
const DRAIN: Duration = Duration::from_secs(120);

/// The stacks that are replayed.
pub(crate) fn library(captures: &[PathBuf]) -> Arc<Library> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut files = captures.to_vec();
    if files.is_empty() {
        eprintln!("recording PostgreSQL, SeaweedFS, DuckDB and the C++ compiler for {RECORD:?}");
        files = vec![dir.path().join("services")];
        record_services(RECORD, &files[0]);
    }
    let library = Library::new(&read_captures(&files).expect("captures"), Frames::Addresses);
    for (program, stacks) in library.programs() {
        eprintln!("captured: {program}, {stacks} distinct stacks");
    }
    Arc::new(library)
}

/// Which part of the past a fleet lives through, and in which steps.
#[derive(Clone, Copy, Debug)]
struct Past {
    from: i64,
    until: i64,
    window: Duration,
    /// Batches that have a drawing in common.
    reuse: u32,
}

/// Delivers the past of a fleet to a collector as fast as it takes it.
fn backfill(
    collector: &Collector,
    library: &Arc<Library>,
    config: PlanConfig,
    past: Past,
) -> sim::Report {
    let plan = Arc::new(Plan::new(config, library));
    let config = Config {
        window: past.window,
        reuse: past.reuse,
        hosts_per_connection: 10,
        ..Config::new(vec![collector.url()], Pace::backfill(past.from, past.until))
    };
    let report = Runtime::new().expect("a runtime").block_on(async {
        let mut fleet = Fleet::start(config, Arc::clone(library), plan).expect("agents start");
        fleet.finished().await;
        fleet.drain(DRAIN).await
    });
    assert_eq!(report.batches, report.acknowledged_batches, "not everything arrived: {report}");
    report
}

/// What the collector holds of a level: (bytes, samples).
fn level(collector: &Collector, level: &str) -> (f64, f64) {
    let metrics = collector.metrics();
    let of = |name: &str| {
        metrics.with_label(&format!("fleetprof_collector_store_level_{name}"), "level", level)
    };
    (of("bytes").unwrap_or(0.0), of("samples").unwrap_or(0.0))
}

/// A collector with its data in a folder; everything in it is kept.
fn collector(dir: &Path) -> Collector {
    let setup = fleetprof_tests::collector::Setup {
        arguments: ["--keep-fine", "1000d", "--keep-hourly", "1000d", "--keep-daily", "1000d"]
            .map(str::to_owned)
            .to_vec(),
        ..Default::default()
    };
    let mut collector = Collector::launch_with(machine::free_port(), dir, &setup);
    collector.wait_ready();
    collector
}

/// Start of the day (UTC) so many days ago.
fn midnight(days_ago: i64) -> i64 {
    machine::unix_nanos() / DAY * DAY - days_ago * DAY
}
