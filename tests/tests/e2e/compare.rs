//! The same programs at the same time under `perf record` and `fleetprof-agent record`.

use std::{collections::HashMap, time::Duration};

use fleetprof_tests::{
    machine::machine,
    perf::Recording,
    pprof::Sample,
    programs::{Burning, Program},
    record::record,
    shares,
};

/// Functions that perf gives at least this share are compared.
const NOTEWORTHY: f64 = 0.02;

/// Shares by the name of the innermost function, inlined calls not told apart: as perf names them.
fn leaves(samples: &[&Sample]) -> HashMap<String, f64> {
    let total: u64 = samples.iter().map(|sample| sample.count).sum();
    let mut counts: HashMap<String, f64> = HashMap::new();
    for sample in samples {
        let line = sample.locations.first().and_then(|location| location.lines.last());
        let name = line.map_or("[unknown]", |line| &line.function);
        *counts.entry(name.to_owned()).or_default() += sample.count as f64 / total as f64;
    }
    counts
}

// Check that an independent profiler gives the top functions the same shares, in user and kernel.
#[test]
fn perf_gives_the_top_functions_the_same_shares() {
    let _machine = machine();
    let mut burning = [Program::C, Program::Syscalls].map(|program| Burning::start(program, 1));
    let recording = Recording::of_processes(&burning.each_ref().map(Burning::pid), 997);
    let recorded = record(Duration::from_secs(8), &["--frequency", "991"]);
    let seen = recording.finish(&burning.each_ref().map(Burning::name));
    burning.iter_mut().for_each(|it| {
        it.stop();
    });
    for (burning, seen) in burning.iter().zip(seen) {
        let ours = leaves(&shares::of(&recorded.profile, burning.name()));
        let mut compared = 0;
        for (function, expected) in seen.iter().filter(|(_, share)| **share >= NOTEWORTHY) {
            let got = ours.get(function).copied().unwrap_or_default();
            println!("{} {function}: perf {expected:.4}, ours {got:.4}", burning.name());
            assert!(
                (got - expected).abs() <= shares::POINTS,
                "{}: {function}: perf {expected:.4}, ours {got:.4}\nperf: {seen:?}\nours: {ours:?}",
                burning.name()
            );
            compared += 1;
        }
        assert!(compared >= 3, "only {compared} functions to compare: {seen:?}");
    }
}
