//! What is stored of an hour and of a day: it should depend on services and their code, not on the number of
//! hosts.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use fleetprof_tests::{
    collector::Collector,
    cpu,
    sim::{Library, PlanConfig},
    wait,
};

use super::{DAY, HOUR, MINUTE, Past, SECOND, backfill, collector, level, library, midnight};
use crate::report::Report;

/// Services, each on every host.
const SERVICES: usize = 5;
/// Hosts of which an hour is stored, sampled as they are by default.
const HOURS: [usize; 2] = [10, 30];
/// Hosts of which a day is stored, and samples per second and CPU of it: enough that all have nearly all stacks of
/// their services. At 19 Hz there are many times as many samples in nearly the same rows.
const DAYS: [(usize, f64); 3] = [(10, 0.5), (100, 0.5), (1000, 0.05)];
/// How long all merging may take.
const MERGE: Duration = Duration::from_secs(1800);
/// Longer than the time between two looks for something to merge.
const IDLE: Duration = Duration::from_secs(35);

pub(crate) fn measure(report: &mut Report, captures: &[PathBuf]) {
    let library = library(captures);
    for hosts in HOURS {
        hour(report, &library, hosts);
    }
    let days = DAYS.map(|(hosts, hz)| day(report, &library, hosts, hz));
    let (least, most) = (DAYS[0].0, DAYS[DAYS.len() - 1].0);
    report.add(
        format!("storage: a service-day of {most} hosts / of {least} hosts, daily level"),
        "times",
        vec![days[days.len() - 1] / days[0]],
    );
}

/// Stores an hour of yesterday as agents send it.
fn hour(report: &mut Report, library: &Arc<Library>, hosts: usize) {
    let from = midnight(1) + 12 * HOUR;
    let past = Past { from, until: from + HOUR, window: span(10 * SECOND), reuse: 1 };
    store(
        report,
        library,
        (hosts, 19.0),
        past,
        &format!("an hour of {hosts} hosts"),
        &["fine", "hourly"],
    );
}

/// Stores yesterday, in windows of ten minutes; gives the bytes of a service in the daily level.
fn day(report: &mut Report, library: &Arc<Library>, hosts: usize, hz: f64) -> f64 {
    let from = midnight(1);
    let past = Past { from, until: from + DAY, window: span(10 * MINUTE), reuse: 1 };
    store(report, library, (hosts, hz), past, &format!("a day of {hosts} hosts"), &["daily"])
}

fn span(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

/// Stores what hosts send, sampled so many times per second, and reports these levels; gives the bytes of a
/// service in the last of them.
fn store(
    report: &mut Report,
    library: &Arc<Library>,
    (hosts, hz): (usize, f64),
    past: Past,
    what: &str,
    levels: &[&str],
) -> f64 {
    eprintln!("storage: {what}");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut collector = collector(dir.path());
    let plan = PlanConfig {
        hosts,
        services: SERVICES,
        services_per_host: SERVICES,
        roles: hosts,
        frequency: hz,
        ..PlanConfig::default()
    };
    let told = backfill(&collector, library, plan, past);
    let samples = told.acknowledged().samples as f64;
    wait_merged(&mut collector, samples);
    let mut per_service = f64::NAN;
    for name in levels {
        let (bytes, held) = level(&collector, name);
        assert_eq!(held, samples, "the {name} level has other samples");
        per_service = bytes / SERVICES as f64;
        let title = format!("storage: {what} at {hz} Hz, {name} level");
        report.add(format!("{title}, per sample"), "B", vec![bytes / samples]);
        report.add(format!("{title}, per service"), "MB", vec![per_service / 1e6]);
    }
    collector.stop();
    per_service
}

/// Waits until so many samples are in the last level, and the collector has nothing to do any more: sums by
/// function are made last.
pub(super) fn wait_merged(collector: &mut Collector, samples: f64) {
    wait::until("all files to be merged", MERGE, || {
        (level(collector, "daily").1 >= samples).then_some(())
    });
    let pid = collector.process().pid();
    let used = || cpu::process_seconds(pid).unwrap_or(f64::NAN);
    wait::until("the collector to have nothing to do", MERGE, || {
        let before = used();
        thread::sleep(IDLE);
        (used() - before < 0.02 * IDLE.as_secs_f64()).then_some(())
    });
}
