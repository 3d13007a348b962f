//! How long after its start an agent gives whole stacks: with no unwind table built, and with all of
//! them on the disk from the start before.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use fleetprof_tests::{
    agent::{Agent, Options},
    collector::Collector,
    metrics::Metrics,
    programs::Burning,
};

use crate::{load, report::Report};

/// The rate of production.
const RATE: u32 = 19;
/// How long a start is watched: some 300 samples of two cores.
const WATCH: Duration = Duration::from_secs(8);
/// How often the agent is asked; it counts every 100 ms.
const STEP: Duration = Duration::from_millis(20);
/// Share of the samples that may be incomplete.
const INCOMPLETE: f64 = 0.01;

/// What the agent said at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// Since its start.
    seconds: f64,
    taken: f64,
    /// Walked to the root; kernel threads have none.
    complete: f64,
    /// Ended in another way.
    incomplete: f64,
    /// Stacks that were copied and are walked.
    copied: f64,
}

/// Measures starts with both caches.
pub(crate) fn measure(report: &mut Report, rounds: u32) {
    let loads = load::busy_host(report);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let collector = Collector::start(dir.path());
        cold.push(watch(dir.path(), &collector, &loads));
        warm.push(watch(dir.path(), &collector, &loads));
        collector.stop();
    }
    for (cache, starts) in [("empty", cold), ("warm", warm)] {
        let label = |what: &str| format!("start, {cache} table cache: {what}");
        let all = |read: fn(&[Look]) -> f64| starts.iter().map(|looks| read(looks)).collect();
        report.add(label("first sample"), "s", all(first_sample));
        report.add(label("first complete stack"), "s", all(first_complete));
        report.add(label("99 % complete from"), "s", all(complete_from));
        report.add(label("99 % walked in the kernel from"), "s", all(uncopied_from));
        report.add(label("complete of all in 8 s"), "%", all(share_complete));
    }
}

/// Starts an agent in a folder that has its tables' cache.
fn watch(dir: &Path, collector: &Collector, loads: &[Burning]) -> Vec<Look> {
    let options = Options::new(&collector.url(), dir).at(RATE).without_uploads();
    let started = Instant::now();
    let agent = Agent::launch(&options);
    let mut looks = vec![Look::default()];
    while started.elapsed() < WATCH {
        if let Some(metrics) = agent.try_metrics() {
            looks.push(Look::at(started.elapsed(), &metrics));
        }
        thread::sleep(STEP);
    }
    agent.stop();
    assert!(loads.iter().all(|load| load.pid() > 0));
    looks
}

fn first_sample(looks: &[Look]) -> f64 {
    first(looks, |look| look.taken > 0.0)
}

fn first_complete(looks: &[Look]) -> f64 {
    first(looks, |look| look.complete > 0.0)
}

fn first(looks: &[Look], holds: impl Fn(&Look) -> bool) -> f64 {
    looks.iter().find(|look| holds(look)).map_or(f64::NAN, |look| look.seconds)
}

/// The moment after which at most 1 % of the samples taken ended in an incomplete stack.
fn complete_from(looks: &[Look]) -> f64 {
    rare_from(looks, |look| look.incomplete)
}

/// The moment after which at most 1 % of the samples taken had their stack copied.
fn uncopied_from(looks: &[Look]) -> f64 {
    rare_from(looks, |look| look.copied)
}

/// The first moment from which on at most 1 % of the samples that were taken counted as `bad`. What was
/// taken before it and is counted after it counts against it.
fn rare_from(looks: &[Look], bad: impl Fn(&Look) -> f64) -> f64 {
    let Some(last) = looks.last() else { return f64::NAN };
    let is_rare = |look: &&Look| {
        let taken = last.taken - look.taken;
        taken > 0.0 && bad(last) - bad(look) <= INCOMPLETE * taken
    };
    looks.iter().skip(1).find(is_rare).map_or(f64::NAN, |look| look.seconds)
}

fn share_complete(looks: &[Look]) -> f64 {
    let Some(last) = looks.last() else { return f64::NAN };
    100.0 * last.complete / (last.complete + last.incomplete)
}

// === impl Look ===

impl Look {
    fn at(elapsed: Duration, metrics: &Metrics) -> Self {
        const RESULTS: &str = "fleetprof_agent_samples_results_total";
        let result = |name| metrics.with_label(RESULTS, "result", name).unwrap_or(0.0);
        let complete = result("complete") + result("kernel_only");
        let copied =
            metrics.with_label("fleetprof_agent_unwind_events_total", "event", "stack_copied");
        Self {
            seconds: elapsed.as_secs_f64(),
            taken: metrics.sum("fleetprof_agent_samples_taken_total").unwrap_or(0.0),
            complete,
            incomplete: metrics.sum(RESULTS).unwrap_or(0.0) - complete,
            copied: copied.unwrap_or(0.0),
        }
    }
}
