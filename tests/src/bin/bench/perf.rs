//! The anchor: `perf record` of the whole host with frame pointers, at the same rates and load.

use std::time::Duration;

use fleetprof_tests::{
    cpu::Meter,
    machine,
    perf::Recording,
    programs::{Burning, Program},
};

use crate::{
    Effort,
    agent::{cpu_share, pass},
    memory,
    report::Report,
};

/// Measures one rate on the load of `agent`.
pub(crate) fn measure(report: &mut Report, rate: u32, effort: Effort) {
    eprintln!("perf record at {rate} Hz");
    let threads = u32::try_from(machine::cpus()).expect("few cores");
    let _load = Burning::start(Program::C, threads);
    beside(report, &format!("perf record, {rate} Hz"), rate, effort);
}

/// Measures it on whatever runs now.
pub(crate) fn beside(report: &mut Report, label: &str, rate: u32, effort: Effort) {
    let mut recording = Recording::start(rate);
    pass(Duration::from_secs(3), &mut |_| {});
    recording.process().check_alive();
    let pid = recording.process().pid();
    let mut meter = Meter::new(pid);
    let (mut busy, mut rss) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        busy.push(cpu_share(&mut meter, effort.span));
        rss.push(memory::rss(pid));
    }
    report.add(format!("{label}: CPU"), "% of a core", busy);
    report.add(format!("{label}: memory (RSS)"), "MB", rss);
}
