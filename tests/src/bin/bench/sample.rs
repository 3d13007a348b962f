//! What a sample costs inside of eBPF, all its programs together: by depth of the stack, with warm and
//! with cold caches, and on the load on which another profiler was measured.

use std::{
    thread,
    time::{Duration, Instant},
};

use fleetprof_tests::{
    agent::{Agent, Options},
    collector::Collector,
    cpu, machine,
    programs::{self, Burning},
    record, wait,
};

use crate::{
    Effort,
    agent::pass,
    kernel::{Runs, Timing},
    load, memory,
    report::{Report, quantile},
};

/// Frames of the stack that shows what every sample costs, and of the one whose frames count.
const SHALLOW: u32 = 3;
const DEEP: u32 = 30;

/// At the first the programs' code and data stay in the caches, at the second everything is cold.
const RATES: [u32; 2] = [997, 19];

/// Of the load that lightswitch was measured on, and how long it took.
const HOST_RATES: [u32; 2] = [19, 97];
const HOST_SPAN: Duration = Duration::from_secs(25);
/// Of that, the start: reading `/proc`, first samples copied, tables built.
const HOST_START: Duration = Duration::from_secs(5);

/// Longest wait for tables and mappings to be in the kernel.
const READY: Duration = Duration::from_secs(30);

/// A part of the samples larger than this must not have had its stack copied: that is the start.
const MOST_COPIED: f64 = 0.01;

/// An agent under measurement.
struct Watched {
    agent: Agent,
    collector: Collector,
    _dir: tempfile::TempDir,
}

/// Measures everything.
pub(crate) fn measure(report: &mut Report, effort: Effort) {
    check_depths(report);
    for rate in RATES {
        by_depth(report, rate, effort);
    }
    for rate in HOST_RATES {
        on_busy_host(report, rate, effort.rounds);
    }
    let here = "bpf_stats on this kind of machine";
    report.cite("lightswitch, 45 frames + Python, 19 Hz, in eBPF", "36.8 µs per sample", here);
    report.cite("lightswitch, 45 frames + Python, 97 Hz, in eBPF", "34.6 µs per sample", here);
    report.cite("lightswitch, whole process over these 25 s, 19 and 97 Hz", "1.7 %, 2.3 %", here);
    report.cite("lightswitch, peak RSS", "57 to 59 MB", here);
    report.cite(
        "OpenTelemetry, native unwinding, mean per sample, arm64",
        "some 3 µs",
        "its design document 00003",
    );
}

/// Says how deep the stacks really are that the figures are about.
fn check_depths(report: &mut Report) {
    for count in programs::FRAMES {
        let load = load::frames(count, 1);
        let pid = load.pid().to_string();
        let recorded =
            record::record(Duration::from_secs(1), &["--frequency", "199", "--pid", &pid]);
        let samples = &recorded.profile.samples;
        let mut depths: Vec<f64> = samples
            .iter()
            .flat_map(|sample| {
                let count = usize::try_from(sample.count).expect("few samples");
                std::iter::repeat_n(sample.locations.len() as f64, count)
            })
            .collect();
        depths.sort_by(f64::total_cmp);
        let median = quantile(&depths, 0.5);
        #[expect(clippy::float_cmp, reason = "a count")]
        if median != f64::from(count) {
            report.note(format!(
                "WRONG: frames-{count} should have {count} frames, recorded were {median}"
            ));
        }
        eprintln!("  frames-{count}: {median} frames in the median of {} samples", depths.len());
    }
}

/// Two stacks in turn under one agent, so that the difference is the frames' alone.
fn by_depth(report: &mut Report, rate: u32, effort: Effort) {
    let cores = u32::try_from(machine::cpus()).expect("few cores");
    let mut loads = [SHALLOW, DEEP].map(|count| load::frames(count, cores));
    loads.iter_mut().for_each(Burning::pause);
    let _timing = Timing::start();
    let mut watched = Watched::start(rate);
    wait::until("the agent's metrics", READY, || watched.agent.try_metrics());
    for load in &mut loads {
        load.resume();
        watched.wait_known();
        load.pause();
    }
    // As many samples of a high rate are had sooner.
    let span = if rate > 100 { effort.span / 4 } else { effort.span };
    let copied = watched.copied();
    let mut all = Runs::default();
    let (mut shallow, mut deep, mut frame, mut fixed) = (vec![], vec![], vec![], vec![]);
    for _ in 0..effort.rounds {
        let [a, b] = [0, 1].map(|index: usize| {
            loads[index].resume();
            thread::sleep(Duration::from_millis(200));
            let runs = watched.runs_in(span);
            loads[index].pause();
            all.count += runs.count;
            runs.mean_ns()
        });
        let each = (b - a) / f64::from(DEEP - SHALLOW);
        shallow.push(a);
        deep.push(b);
        frame.push(each);
        fixed.push(a - each * f64::from(SHALLOW));
    }
    watched.check_copied(report, &format!("{rate} Hz"), copied, all.count);
    let cold = if rate > 100 { "warm" } else { "caches cold" };
    report.add(format!("eBPF, {rate} Hz ({cold}): sample of {SHALLOW} frames"), "ns", shallow);
    report.add(format!("eBPF, {rate} Hz ({cold}): sample of {DEEP} frames"), "ns", deep);
    report.add(format!("eBPF, {rate} Hz ({cold}): each further frame"), "ns", frame);
    report.add(format!("eBPF, {rate} Hz ({cold}): without any frame"), "ns", fixed);
    watched.stop();
}

/// All of the first 25 s, the start included, and what follows the start.
fn on_busy_host(report: &mut Report, rate: u32, rounds: u32) {
    let loads = load::busy_host(report);
    let label = format!("busy host ({} frames, Python), {rate} Hz", load::FRAMES);
    let _timing = Timing::start();
    let started = Instant::now();
    let mut watched = Watched::start(rate);
    pass(HOST_START.saturating_sub(started.elapsed()), &mut |_| {});
    let pid = watched.agent.process().pid();
    let (mut steady, mut share) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let span = (HOST_SPAN - HOST_START) / rounds;
        let runs = watched.runs_in(span);
        steady.push(runs.mean_ns());
        share.push(100.0 * runs.ns / 1e9 / span.as_secs_f64());
    }
    let took = started.elapsed().as_secs_f64();
    let all = Runs::of(pid);
    let seconds = cpu::process_seconds(pid).unwrap_or(f64::NAN);
    report.add(format!("eBPF, {label}: sample, start included"), "ns", vec![all.mean_ns()]);
    report.add(format!("eBPF, {label}: sample after the start"), "ns", steady);
    report.add(format!("eBPF, {label}: CPU"), "% of a core", share);
    let busy = 100.0 * seconds / took;
    report.add(format!("agent, {label}: CPU, start included"), "% of a core", vec![busy]);
    report.add(format!("agent, {label}: memory, peak of RSS"), "MB", vec![memory::peak(pid)]);
    drop(loads);
    watched.stop();
}

// === impl Watched ===

impl Watched {
    /// An agent that does not wait, and uploads nothing.
    fn start(rate: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let collector = Collector::start(dir.path());
        let mut options = Options::new(&collector.url(), dir.path()).at(rate).without_uploads();
        options.window = Duration::from_secs(10);
        let agent = Agent::launch(&options);
        Self { agent, collector, _dir: dir }
    }

    /// What the programs ran in a span that begins now.
    fn runs_in(&mut self, span: Duration) -> Runs {
        let pid = self.agent.process().pid();
        let before = Runs::of(pid);
        pass(span, &mut |_| {});
        Runs::of(pid).since(before)
    }

    /// Stacks copied so far, because the kernel side did not know the process or its code.
    fn copied(&self) -> f64 {
        let metrics = self.agent.try_metrics().expect("the agent answers");
        metrics
            .with_label("fleetprof_agent_unwind_events_total", "event", "stack_copied")
            .expect("the agent counts copied stacks")
    }

    /// Waits until the kernel side knows what runs now: some samples in a row were walked there.
    fn wait_known(&mut self) {
        const ENOUGH: u64 = 60;
        let (mut copied, mut since) = (f64::NAN, 0);
        wait::until("no stack to be copied any more", READY, || {
            let (now, taken) = (self.copied(), self.agent.ledger().taken);
            if now.to_bits() != copied.to_bits() {
                (copied, since) = (now, taken);
            }
            (taken - since >= ENOUGH).then_some(())
        });
    }

    /// A figure with the start in it is no figure of a sample.
    fn check_copied(&self, report: &mut Report, label: &str, before: f64, samples: f64) {
        let share = (self.copied() - before) / samples;
        if share > MOST_COPIED {
            let share = 100.0 * share;
            report.note(format!("eBPF, {label}: {share:.1} % of the stacks were copied"));
        }
    }

    fn stop(self) {
        self.agent.stop();
        self.collector.stop();
    }
}
