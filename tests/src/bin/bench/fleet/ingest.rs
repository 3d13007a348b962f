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

use super::{DRAIN, MINUTE, Past, backfill, collector, library};
use crate::report::Report;

const HOSTS: usize = 200;
/// All of their 16 CPUs are.
const BUSY: Option<f64> = Some(1.0);
/// Length of the past that is delivered.
const SPAN: i64 = 10 * MINUTE;
/// How long agents gather for a batch: as they do by default, and as long as a large fleet may let them.
const WINDOWS: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(120)];
/// Loads in real time.
const LIVE: [Live; 2] = [
    Live { hosts: 500, window: Duration::from_secs(10), time: Duration::from_secs(150) },
    Live { hosts: 2000, window: Duration::from_secs(60), time: Duration::from_secs(480) },
];

/// A load in real time: what this machine makes beside a collector.
struct Live {
    hosts: usize,
    window: Duration,
    /// How long it lasts; most of it after files were merged for the first time.
    time: Duration,
}

pub(crate) fn measure(report: &mut Report, captures: &[PathBuf], rounds: u32) {
    let library = library(captures);
    for window in WINDOWS {
        ingest(report, &library, window, rounds);
    }
    report.cite(
        "Pyroscope, ingest per core",
        "8 MB/s",
        "its documentation on sizing; which form of pprof is not said",
    );
    for load in &LIVE {
        live(report, &library, load);
    }
}

/// Delivers some minutes of the past of hosts that are busy.
fn ingest(report: &mut Report, library: &Arc<Library>, window: Duration, rounds: u32) {
    let (mut hosts, mut samples, mut wire, mut sealed, mut stored) =
        (vec![], vec![], vec![], vec![], vec![]);
    let mut pprof = Vec::new();
    for round in 0..rounds {
        eprintln!("fleet: ingest, windows of {window:?}, round {}", round + 1);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut collector = collector(dir.path());
        let pid = collector.process().pid();
        let before = cpu::process_seconds(pid).unwrap_or(f64::NAN);
        let until = machine::unix_nanos() / MINUTE * MINUTE - MINUTE;
        let past = Past { from: until - SPAN, until, window, reuse: 1 };
        let plan = PlanConfig { hosts: HOSTS, busy: BUSY, ..PlanConfig::default() };
        let told = backfill(&collector, library, plan, past);
        let busy = cpu::process_seconds(pid).unwrap_or(f64::NAN) - before;
        let count = told.acknowledged().samples as f64;
        let host_seconds = told.batches as f64 * window.as_secs_f64();
        hosts.push(host_seconds / busy);
        samples.push(count / busy);
        wire.push(told.wire_bytes as f64 / host_seconds);
        sealed.push(told.wire_bytes as f64 / count);
        let store = Grpc::connect(collector.port()).status().store.expect("a store");
        stored.push(store.bytes as f64 / store.samples as f64);
        pprof.push(pprof_bytes_per_sample(&collector, until, window));
        collector.stop();
    }
    let equivalent = |of: fn(&PprofSize) -> f64| {
        let both = samples.iter().zip(&pprof);
        both.map(|(rate, size)| rate * of(size) / 1e6).collect()
    };
    let (plain, gz) = (equivalent(|size| size.plain), equivalent(|size| size.gz));
    let title = |what: &str| format!("fleet, windows of {window:?}: {what}");
    let hosts_title = title("hosts (16 CPUs, all busy, 19 Hz) per core of the collector");
    report.add(hosts_title, "hosts", hosts);
    report.add(title("samples per second of the collector's CPU"), "1/core-s", samples);
    report.add(title("the same as pprof per host and window, uncompressed"), "MB/core-s", plain);
    report.add(title("the same, gzip"), "MB/core-s", gz);
    report.add(title("wire, per host and second"), "B/s", wire);
    report.add(title("wire, per sample"), "B", sealed);
    report.add(title("stored per sample, as it arrived"), "B", stored);
}

/// Bytes of a pprof of one host and as long as a window, per sample. Its frames have addresses and no names, so that
/// one of the real thing is larger.
struct PprofSize {
    plain: f64,
    gz: f64,
}

fn pprof_bytes_per_sample(collector: &Collector, until: i64, window: Duration) -> PprofSize {
    let end = until - 2 * MINUTE;
    let grpc = Grpc::connect(collector.port());
    let query = v1::Query {
        start_unix_nanos: end - i64::try_from(window.as_nanos()).expect("short"),
        end_unix_nanos: end,
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
fn live(report: &mut Report, library: &Arc<Library>, load: &Live) {
    let Live { hosts, window, time } = *load;
    let title = |what: &str| format!("fleet: {hosts} hosts, windows of {window:?}, {what}");
    eprintln!("{}", title(&format!("in real time for {time:?}")));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut collector = collector(dir.path());
    let pid = collector.process().pid();
    let plan = PlanConfig { hosts, roles: 100, busy: BUSY, ..PlanConfig::default() };
    let plan = Arc::new(Plan::new(plan, library));
    let config = Config {
        hosts_per_connection: 10,
        reuse: 20,
        window,
        ..Config::new(vec![collector.url()], Pace::now(None))
    };
    let resident = || cpu::status_kb(pid, "VmRSS").map_or(f64::NAN, |kb| kb as f64 / 1024.0);
    let used = || cpu::process_seconds(pid).unwrap_or(f64::NAN);
    let (mut middle, mut end) = ((0.0, 0.0), (0.0, 0.0));
    let told = Runtime::new().expect("a runtime").block_on(async {
        let fleet = Fleet::start(config, Arc::clone(library), plan).expect("agents start");
        sleep(time / 3).await;
        middle = (used(), resident());
        sleep(time - time / 3).await;
        end = (used(), resident());
        fleet.drain(DRAIN).await
    });
    let late = 100.0 * (1.0 - told.acknowledged_batches as f64 / told.batches as f64);
    report.add(title(&format!("batches not taken {DRAIN:?} after the end")), "%", vec![late]);
    let made = told.acknowledged().samples as f64 / time.as_secs_f64();
    report.add(title("samples taken per second"), "1/s", vec![made]);
    let share = 100.0 * (end.0 - middle.0) / (time - time / 3).as_secs_f64();
    report.add(title("collector CPU of one core"), "%", vec![share]);
    report.add(title(&format!("collector memory after {:?}", time / 3)), "MB", vec![middle.1]);
    report.add(title(&format!("collector memory after {time:?}")), "MB", vec![end.1]);
    let peak = cpu::status_kb(pid, "VmHWM").map_or(f64::NAN, |kb| kb as f64 / 1024.0);
    report.add(title("collector memory, peak"), "MB", vec![peak]);
    collector.stop();
}
