//! What a day costs on disk: it should depend on services and their code, not on the number of hosts.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use fleetprof_tests::{
    collector::Collector,
    cpu,
    sim::{Library, PlanConfig},
    wait,
};

use super::{DAY, MINUTE, Past, backfill, collector, level, library, midnight};
use crate::report::Report;

/// Services, each on every host.
const SERVICES: usize = 5;
const FLEETS: [usize; 3] = [10, 100, 1000];
/// Windows of an agent are of 10 s; these make the day take minutes.
const WINDOW: i64 = 10 * MINUTE;
/// Samples per second and CPU: enough that ten hosts have nearly all stacks of their services in a day. At 19 Hz
/// there are hundreds of times as many samples in nearly the same rows, so bytes per sample are upper bounds.
const HZ: f64 = 0.05;
/// How long all merging of a day may take.
const MERGE: Duration = Duration::from_secs(1800);
/// Longer than the time between two looks for something to merge.
const IDLE: Duration = Duration::from_secs(35);

pub(crate) fn measure(report: &mut Report, captures: &[PathBuf]) {
    let library = library(captures);
    let days: Vec<_> = FLEETS.iter().map(|hosts| (*hosts, day(report, &library, *hosts))).collect();
    if let (Some((_, small)), Some((_, large))) = (days.first(), days.last()) {
        let (least, most) = (FLEETS[0], FLEETS[FLEETS.len() - 1]);
        report.add(
            format!("storage: a service-day of {most} hosts / of {least} hosts, by the hour"),
            "times",
            vec![large / small],
        );
    }
}

/// Stores yesterday of so many hosts; gives the bytes of a service in the daily level.
fn day(report: &mut Report, library: &Arc<Library>, hosts: usize) -> f64 {
    eprintln!("storage: a day of {hosts} hosts");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut collector = collector(dir.path());
    let plan = PlanConfig {
        hosts,
        services: SERVICES,
        services_per_host: SERVICES,
        roles: hosts,
        frequency: HZ,
        ..PlanConfig::default()
    };
    let from = midnight(1);
    let past = Past {
        from,
        until: from + DAY,
        window: Duration::from_nanos(WINDOW.unsigned_abs()),
        reuse: 1,
    };
    let told = backfill(&collector, library, plan, past);
    let samples = told.acknowledged().samples as f64;
    wait_merged(&mut collector, samples);
    let mut service_day = f64::NAN;
    for name in ["fine", "hourly", "daily"] {
        let (bytes, held) = level(&collector, name);
        assert_eq!(held, samples, "the {name} level has other samples");
        service_day = bytes / SERVICES as f64;
        report.add(
            format!("storage: {hosts} hosts, {name}, per sample"),
            "B",
            vec![bytes / samples],
        );
        report.add(
            format!("storage: {hosts} hosts, {name}, per service and day"),
            "MB",
            vec![service_day / 1e6],
        );
    }
    collector.stop();
    service_day
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
