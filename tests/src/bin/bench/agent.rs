//! What the agent costs while every core is busy: its own CPU, and all its memory.

use std::{
    thread,
    time::{Duration, Instant},
};

use fleetprof_tests::{
    agent::{Agent, Options},
    collector::Collector,
    cpu::Meter,
    grpc::Grpc,
    machine,
    programs::{Burning, Program},
    wait,
};

use crate::{Effort, memory, report::Report};

/// Windows of production: what a batch costs counts once per ten seconds.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// Longest wait for the upload of this machine's binaries.
const UPLOADS: Duration = Duration::from_secs(180);

/// Measures one rate.
pub(crate) fn measure(report: &mut Report, rate: u32, effort: Effort) {
    eprintln!("agent at {rate} Hz");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(dir.path());
    let threads = u32::try_from(machine::cpus()).expect("few cores");
    let load = Burning::start(Program::C, threads);
    let options = Options::new(&collector.url(), dir.path()).at(rate);
    let mut options = options.with(&["--upload-rate", "512MiB"]);
    options.window = WINDOW;
    let mut agent = Agent::start(&options);
    // The first windows contain the start: reading /proc and every binary once. The steady state is what costs.
    pass(WINDOW * 2 + Duration::from_secs(3), &mut |_| {});
    wait_for_uploads(report, rate, &collector);
    let label = format!("agent, {rate} Hz");
    steady(report, &label, agent.process().pid(), effort);
    memory::report(report, &label, &mut agent);
    let ledger = agent.ledger();
    let (taken, dropped) = (ledger.taken, ledger.dropped_total());
    report.note(format!("{label}: {taken} samples taken, {dropped} dropped"));
    drop(load);
    agent.stop();
    collector.stop();
}

/// Adds CPU and memory of some spans.
pub(crate) fn steady(report: &mut Report, label: &str, pid: u32, effort: Effort) {
    let mut meter = Meter::new(pid);
    let (mut busy, mut rss, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        busy.push(cpu_share(&mut meter, effort.span));
        rss.push(memory::rss(pid));
        all.push(memory::rss(pid) + memory::in_kernel(pid));
    }
    report.add(format!("{label}: CPU"), "% of a core", busy);
    report.add(format!("{label}: memory (RSS)"), "MB", rss);
    report.add(format!("{label}: memory, RSS and kernel"), "MB", all);
}

/// CPU of a process in a span that begins now, percent of a core.
pub(crate) fn cpu_share(meter: &mut Meter, span: Duration) -> f64 {
    let before = meter.look();
    let took = pass(span, &mut |_| {
        meter.look();
    });
    100.0 * (meter.look() - before) / took
}

/// Binaries are uploaded once per fleet, not per second: they are no part of the steady state. A machine
/// that makes new ones all the time has none.
fn wait_for_uploads(report: &mut Report, rate: u32, collector: &Collector) {
    let grpc = Grpc::connect(collector.port());
    let done = || grpc.status().objects.is_none_or(|objects| objects.wanted == 0).then_some(());
    if wait::within(UPLOADS, done).is_none() {
        report.note(format!(
            "agent, {rate} Hz: measured while it uploaded binaries; its CPU is too high"
        ));
    }
}

/// Lets time pass; gives how much it was, in seconds.
pub(crate) fn pass(span: Duration, each: &mut dyn FnMut(Duration)) -> f64 {
    let start = Instant::now();
    while start.elapsed() < span {
        each(start.elapsed());
        thread::sleep(Duration::from_millis(100).min(span.saturating_sub(start.elapsed())));
    }
    start.elapsed().as_secs_f64()
}
