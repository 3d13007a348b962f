//! Hardware counters that are refused or taken away: this machine may have none, which is one way to
//! be refused.

use super::{Collected, Programs, check_accounts, config_for, start};
use crate::sampler::{
    CpuCounts, EventSource,
    perf::{PerfEvent, sampling_attr},
    timers::Timers,
};

/// A period that real hardware takes, too.
const CYCLES: u64 = 10_000_000;

#[test]
fn a_cpu_without_a_counter_is_sampled_by_the_clock() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let mut sampler = start(&config_for(busy.id()));
    let cpus: Vec<u32> = sampler.cpus().collect();
    // As on a host whose first calibration found a counter.
    sampler.timers = Timers::counting(1_003_009, Some(CYCLES));
    assert_eq!(sampler.event_source(), EventSource::HardwareCycles);
    sampler.follow_all(cpus.iter().copied()).unwrap();
    let has_counter = |cpu: &&u32| {
        PerfEvent::open(&sampling_attr(EventSource::HardwareCycles, CYCLES), **cpu).is_ok()
    };
    let hardware_cycles = cpus.iter().filter(has_counter).count();
    let cpu_clock = cpus.len() - hardware_cycles;
    let expected = CpuCounts { hardware_cycles, cpu_clock, ..CpuCounts::default() };
    assert_eq!(sampler.cpu_counts(), expected);
    let mut collected = Collected::until(&mut sampler, |collected| collected.samples.len() >= 50);
    sampler.stop_sampling();
    collected.poll(&mut sampler);
    check_accounts(&sampler, collected.samples.len());
}

#[test]
fn a_cpu_whose_counter_is_taken_away_goes_on_by_the_clock() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let mut sampler = start(&config_for(busy.id()));
    let cpus: Vec<u32> = sampler.cpus().collect();
    sampler.timers = Timers::counting(1_003_009, None);
    sampler.follow_all(cpus.iter().copied()).unwrap();
    cpus.iter().for_each(|cpu| sampler.timers.rob(*cpu));
    assert_eq!(sampler.cpu_counts().hardware_cycles, cpus.len());
    // The next poll looks at the CPUs and takes their pulse.
    (sampler.follow.cpus_checked_ns, sampler.follow.pulse_checked_ns) = (0, 0);
    let collected = Collected::until(&mut sampler, |collected| collected.samples.len() >= 50);
    let expected = CpuCounts { cpu_clock: cpus.len(), ..CpuCounts::default() };
    assert_eq!(sampler.cpu_counts(), expected);
    assert!(!collected.samples.is_empty());
}
