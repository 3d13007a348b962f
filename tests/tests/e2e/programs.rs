//! The yardstick itself: perf, which shares nothing with us, agrees with what the programs measure.

use std::time::Duration;

use fleetprof_tests::{
    machine::machine,
    perf::Recording,
    programs::{Burning, Program},
    shares, wait,
};

/// CPU time that is enough for shares within a point.
const CPU: Duration = Duration::from_secs(3);

fn burned(burning: &Burning) -> Option<()> {
    let ns = fleetprof_tests::cpu::process_ns(burning.pid())?;
    (u128::from(ns) >= CPU.as_nanos()).then_some(())
}

// Check that perf sees the split that the programs measure of themselves.
#[test]
fn programs_measure_the_split_that_perf_sees() {
    let _machine = machine();
    for program in [Program::C, Program::Cpp, Program::Rust, Program::Go, Program::Deep] {
        let recording = Recording::start(997);
        let mut burning = Burning::start(program, 1);
        wait::until("enough CPU time", CPU * 20, || burned(&burning));
        let report = burning.stop();
        let [seen] = recording.finish(&[program.name()]);
        for (function, expected) in report.shares() {
            let named = seen.iter().filter(|(name, _)| name.contains(function));
            let got: f64 = named.map(|(_, share)| share).sum();
            assert!(
                (got - expected).abs() <= shares::POINTS,
                "{program:?}: {function} measured {expected:.4}, perf saw {got:.4}: {seen:?}"
            );
        }
    }
}

// Check that the storm's children are counted by the kernel as they measure themselves.
#[test]
fn the_storm_knows_what_its_children_burned() {
    let _machine = machine();
    let mut burning = Burning::start(Program::Storm, 1);
    let mut looks = 0;
    wait::until("a while", Duration::from_secs(10), || {
        looks += 1;
        (looks > 50).then_some(())
    });
    let report = burning.stop();
    let share = report.shares()["storm_child_work"];
    assert!(report.cpu_ns() > 200_000_000, "too few children: {report:?}");
    assert!((0.85..=1.01).contains(&share), "children measured {share} of what the kernel counted");
}
