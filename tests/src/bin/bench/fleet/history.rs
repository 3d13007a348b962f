//! Questions about a month of a hundred services on a thousand hosts, each beside the same question answered
//! without sums by function.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use fleetprof_proto::v1;
use fleetprof_tests::{
    collector::Collector,
    cpu,
    grpc::Grpc,
    machine,
    sim::{Library, PlanConfig},
};

use super::{DAY, HOUR, MINUTE, Past, backfill, collector, library, stored::wait_merged};
use crate::report::{Report, quantile};

/// Questions per kind; of those that take seconds fewer.
const QUESTIONS: usize = 20;
const SLOW: f64 = 5_000.0;
const SLOW_QUESTIONS: usize = 2;

/// Samples per second and CPU of all hours but the last, and of the last: at 19 Hz a month would take days to
/// make here, and mostly raise the numbers in the rows.
const HZ: [f64; 2] = [0.005, 1.0];

/// How large the history is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct History {
    /// Days of history that the questions are about (part `history`)
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(2..))]
    history_days: i64,
    /// Hosts in it
    #[arg(long, default_value_t = 1000)]
    history_hosts: usize,
    /// Services in it
    #[arg(long, default_value_t = 100)]
    history_services: usize,
    /// Keep it in this folder, and use what is there from an earlier run instead of making it
    #[arg(long, value_name = "DIR")]
    history_data: Option<PathBuf>,
}

pub(crate) fn measure(report: &mut Report, captures: &[PathBuf], history: &History) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let dir = history.history_data.as_deref().unwrap_or(temporary.path());
    let is_there = dir.join("data").exists();
    std::fs::create_dir_all(dir).expect("a folder for the history");
    let mut collector = collector(dir);
    if !is_there {
        fill(report, &mut collector, &library(captures), history);
        let pid = collector.process().pid();
        let peak = cpu::status_kb(pid, "VmHWM").map_or(f64::NAN, |kb| kb as f64 / 1024.0);
        report.add("history: collector memory while it was filled, peak", "MB", vec![peak]);
    }
    size(report, dir, history);
    questions(report, &collector, history);
    let pid = collector.process().pid();
    let peak = cpu::status_kb(pid, "VmHWM").map_or(f64::NAN, |kb| kb as f64 / 1024.0);
    report.add("history: collector memory after all questions, peak", "MB", vec![peak]);
    collector.stop();
}

/// The month in windows of an hour, its last hour in windows of a minute.
fn fill(report: &mut Report, collector: &mut Collector, library: &Arc<Library>, history: &History) {
    let now = machine::unix_nanos() / MINUTE * MINUTE;
    let recent = now - HOUR;
    let plan = PlanConfig {
        hosts: history.history_hosts,
        services: history.history_services,
        roles: history.history_services * 2,
        frequency: HZ[0],
        deploy_every: 7.0 * 24.0 * 3600.0,
        ..PlanConfig::default()
    };
    let last = PlanConfig { frequency: HZ[1], ..plan.clone() };
    let old = Past {
        from: recent / HOUR * HOUR - history.history_days * DAY,
        until: recent,
        window: Duration::from_secs(3600),
        reuse: 10,
    };
    let new = Past { from: recent, until: now, window: Duration::from_secs(60), reuse: 10 };
    let started = Instant::now();
    let told =
        [(plan, old), (last, new)].map(|(plan, past)| backfill(collector, library, plan, past));
    let batches: u64 = told.iter().map(|told| told.batches).sum();
    let stacks = told[0].distinct_stacks.0;
    eprintln!("history: {batches} batches after {:.0} s", started.elapsed().as_secs_f64());
    report.note(format!(
        "history: {batches} batches of {:.0} M samples in {:.0} s, {stacks:.0} distinct stacks per host and \
         window; {} Hz, in the last hour {} Hz.",
        told.iter().map(|told| told.acknowledged().samples as f64).sum::<f64>() / 1e6,
        started.elapsed().as_secs_f64(),
        HZ[0],
        HZ[1],
    ));
    // The last hours and the day at hand are not over, so they are not there yet.
    let over = (machine::unix_nanos() / DAY * DAY - old.from) as f64;
    let share = (over / (old.until - old.from) as f64).min(1.0);
    wait_merged(collector, 0.95 * share * told[0].acknowledged().samples as f64);
}

fn size(report: &mut Report, dir: &Path, history: &History) {
    let bytes = below(&dir.join("data")) as f64;
    report.add(
        format!(
            "history: {} days of {} services on {} hosts, all levels",
            history.history_days, history.history_services, history.history_hosts
        ),
        "MB",
        vec![bytes / 1e6],
    );
}

fn below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => below(&entry.path()),
            _ => entry.metadata().map_or(0, |meta| meta.len()),
        })
        .sum()
}

fn questions(report: &mut Report, collector: &Collector, history: &History) {
    let grpc = Grpc::connect(collector.port());
    // Of the data: they may be of an earlier run.
    let now = grpc.status().store.expect("a store").last_unix_nanos;
    let query = |back: i64, selector: &str| v1::Query {
        start_unix_nanos: now - back,
        end_unix_nanos: now,
        selector: selector.to_owned(),
    };
    let month = history.history_days * DAY;
    let (service, function) = busiest(&grpc, query(month, ""));
    let one = format!("{{service=\"{service}\"}}");
    let by_stacks = format!("{{service=\"{service}\", comm!=\"none\"}}");
    type Question<'a> = (&'a str, &'a dyn Fn() -> u64);
    let asked: [Question<'_>; 9] = [
        ("flame graph of one service, 1 hour", &|| {
            grpc.flame_graph(query(HOUR, &one)).expect("an answer").len() as u64
        }),
        ("flame graph of one service, 7 days", &|| {
            grpc.flame_graph(query(7 * DAY, &one)).expect("an answer").len() as u64
        }),
        ("top functions of the fleet, all days", &|| {
            grpc.top(query(month, "")).expect("an answer").total_nanos
        }),
        ("history of one function, all days", &|| {
            grpc.series(query(month, ""), &function).expect("an answer").series.len() as u64
        }),
        ("services, all days", &|| {
            grpc.services(query(month, "")).expect("an answer").services.len() as u64
        }),
        ("values of the label service, all days", &|| {
            grpc.labels(query(month, ""), "service").expect("an answer").values.len() as u64
        }),
        ("values of the label host of one service, all days", &|| {
            grpc.labels(query(month, &one), "host").expect("an answer").values.len() as u64
        }),
        ("values of the label host of one service, 1 hour", &|| {
            grpc.labels(query(HOUR, &one), "host").expect("an answer").values.len() as u64
        }),
        ("top functions of one service without rollups, 7 days", &|| {
            grpc.top(query(7 * DAY, &by_stacks)).expect("an answer").total_nanos
        }),
    ];
    for (what, ask) in asked {
        let start = Instant::now();
        let size = ask();
        let first = start.elapsed().as_secs_f64() * 1e3;
        assert!(size > 0, "{what}: an empty answer");
        let questions = if first > SLOW { SLOW_QUESTIONS } else { QUESTIONS };
        let mut times: Vec<_> = (0..questions)
            .map(|_| {
                let start = Instant::now();
                ask();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        report.add(format!("history: {what}, p95"), "ms", vec![quantile(&times, 0.95)]);
        report.add(format!("history: {what}, first"), "ms", vec![first]);
    }
}

/// The service and the function with the most CPU.
fn busiest(grpc: &Grpc, query: v1::Query) -> (String, String) {
    let services = grpc.services(query.clone()).expect("an answer").services;
    let functions = grpc.top(query).expect("an answer").functions;
    let (service, function) = (services.first(), functions.first());
    (service.expect("services").service.clone(), function.expect("functions").function.clone())
}
