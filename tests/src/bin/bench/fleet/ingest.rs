//! How many hosts one collector takes on one core, and what one costs on the wire.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fleetprof_proto::v1;
use fleetprof_tests::{
    collector::Collector,
    cpu,
    grpc::Grpc,
    machine,
    pprof::Profile,
    sim::{Config, Fleet, Library, Pace, Plan, PlanConfig},
};
use tokio::{runtime::Runtime, time::sleep};

use super::{DRAIN, MINUTE, Past, SECOND, backfill, collector, library};
use crate::report::Report;

const HOSTS: usize = 200;
/// All of their 16 CPUs are.
const BUSY: Option<f64> = Some(1.0);
/// Length of the past that is delivered.
const SPAN: i64 = 10 * MINUTE;
const WINDOW: Duration = Duration::from_secs(10);
/// Hosts of the load in real time: what this machine makes beside a collector.
const LIVE_HOSTS: usize = 500;
/// How long it lasts; most of it after files were merged for the first time.
const LIVE: Duration = Duration::from_secs(150);

pub(crate) fn measure(report: &mut Report, captures: &[PathBuf], rounds: u32) {
    let library = library(captures);
    let (mut hosts, mut samples, mut wire, mut stored, mut sealed) =
        (vec![], vec![], vec![], vec![], vec![]);
    let mut pprof = Vec::new();
    for round in 0..rounds {
        eprintln!("fleet: ingest, round {}", round + 1);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut collector = collector(dir.path());
        let pid = collector.process().pid();
        let before = cpu::process_seconds(pid).unwrap_or(f64::NAN);
        let until = machine::unix_nanos() / MINUTE * MINUTE - MINUTE;
        let past = Past { from: until - SPAN, until, window: WINDOW, reuse: 1 };
        let plan = PlanConfig { hosts: HOSTS, busy: BUSY, ..PlanConfig::default() };
        let told = backfill(&collector, &library, plan, past);
        let busy = cpu::process_seconds(pid).unwrap_or(f64::NAN) - before;
        let count = told.acknowledged().samples as f64;
        let host_seconds = told.batches as f64 * WINDOW.as_secs_f64();
        hosts.push(host_seconds / busy);
        samples.push(count / busy);
        wire.push(told.wire_bytes as f64 / host_seconds);
        sealed.push(count / told.wire_bytes as f64);
        let store = Grpc::connect(collector.port()).status().store.expect("a store");
        stored.push(store.bytes as f64 / store.samples as f64);
        pprof.push(pprof_bytes_per_sample(&collector, until));
        collector.stop();
    }
    let equivalent = |of: fn(&PprofSize) -> f64| {
        let both = samples.iter().zip(&pprof);
        both.map(|(rate, size)| rate * of(size) / 1e6).collect()
    };
    let (plain, gz) = (equivalent(|size| size.plain), equivalent(|size| size.gz));
    report.add("fleet: hosts (16 CPUs, all busy, 19 Hz) per core of the collector", "hosts", hosts);
    report.add("fleet: samples per second of the collector's CPU", "1/core-s", samples);
    report.add("fleet: the same as pprof of each host and 10 s, uncompressed", "MB/core-s", plain);
    report.add("fleet: the same, gzip", "MB/core-s", gz);
    report.add("fleet: wire, per host and second", "B/s", wire);
    report.add("fleet: samples per byte on the wire", "1/B", sealed);
    report.add("fleet: stored bytes per sample, as it arrived", "B", stored);
    report.cite(
        "Pyroscope, ingest per core",
        "8 MB/s",
        "its documentation on sizing; which form of pprof is not said",
    );
    live(report, &library);
}

/// Bytes of a pprof of one host and some seconds, per sample. Its frames have addresses and no names, so that
/// one of the real thing is larger.
struct PprofSize {
    plain: f64,
    gz: f64,
}

fn pprof_bytes_per_sample(collector: &Collector, until: i64) -> PprofSize {
    let grpc = Grpc::connect(collector.port());
    let query = v1::Query {
        start_unix_nanos: until - MINUTE,
        end_unix_nanos: until - MINUTE + 10 * SECOND,
        selector: "{host=\"host-00001\"}".to_owned(),
    };
    let bytes = grpc.profile(query).expect("a profile");
    let profile = Profile::read(&bytes);
    let samples: u64 = profile.samples.iter().map(|sample| sample.count).sum();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut plain)
        .expect("gzip");
    let per_sample = |bytes: usize| bytes as f64 / samples as f64;
    PprofSize { plain: per_sample(plain.len()), gz: per_sample(bytes.len()) }
}

/// Hosts in real time: does it keep up, and does its memory stay where it is?
fn live(report: &mut Report, library: &Arc<Library>) {
    eprintln!("fleet: {LIVE_HOSTS} hosts in real time for {LIVE:?}");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut collector = collector(dir.path());
    let pid = collector.process().pid();
    let plan = PlanConfig { hosts: LIVE_HOSTS, roles: 100, busy: BUSY, ..PlanConfig::default() };
    let plan = Arc::new(Plan::new(plan, library));
    let config = Config {
        hosts_per_connection: 10,
        reuse: 20,
        ..Config::new(vec![collector.url()], Pace::now(None))
    };
    let resident = || cpu::status_kb(pid, "VmRSS").map_or(f64::NAN, |kb| kb as f64 / 1024.0);
    let used = || cpu::process_seconds(pid).unwrap_or(f64::NAN);
    let (mut middle, mut end) = ((0.0, 0.0), (0.0, 0.0));
    let told = Runtime::new().expect("a runtime").block_on(async {
        let fleet = Fleet::start(config, Arc::clone(library), plan).expect("agents start");
        sleep(LIVE / 3).await;
        middle = (used(), resident());
        sleep(LIVE - LIVE / 3).await;
        end = (used(), resident());
        fleet.drain(DRAIN).await
    });
    let late = 100.0 * (1.0 - told.acknowledged_batches as f64 / told.batches as f64);
    report.add(
        format!("fleet: {LIVE_HOSTS} hosts, batches not taken {DRAIN:?} after the end"),
        "%",
        vec![late],
    );
    let share = 100.0 * (end.0 - middle.0) / (LIVE - LIVE / 3).as_secs_f64();
    report.add(format!("fleet: {LIVE_HOSTS} hosts, collector CPU of one core"), "%", vec![share]);
    report.add(
        format!("fleet: {LIVE_HOSTS} hosts, collector memory after {:?}", LIVE / 3),
        "MB",
        vec![middle.1],
    );
    report.add(
        format!("fleet: {LIVE_HOSTS} hosts, collector memory after {LIVE:?}"),
        "MB",
        vec![end.1],
    );
    let peak = cpu::status_kb(pid, "VmHWM").map_or(f64::NAN, |kb| kb as f64 / 1024.0);
    report.add(format!("fleet: {LIVE_HOSTS} hosts, collector memory, peak"), "MB", vec![peak]);
    collector.stop();
}
