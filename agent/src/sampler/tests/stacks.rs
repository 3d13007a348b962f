//! Are the stacks those of the program?

use std::ops::Range;

use fleetprof_abi::ResultCode;

use super::{Collected, Programs, config_for, start};
use crate::sampler::{SamplerConfig, tests::collect::Sample};

/// Kernel addresses have the highest bit set on every architecture we run on.
fn in_kernel(address: u64) -> bool {
    address >> 63 == 1
}

/// Checks that the registers are those of the innermost function, and that the stack has the return
/// addresses of its callers, in this order. Nothing of the process is known to the kernel side here,
/// so the stacks are all copied.
fn check_copied(chain: &[Range<u64>], sample: &Sample, exact: bool) {
    assert_eq!(sample.result, ResultCode::StackCopied, "{sample:x?}");
    assert!(sample.user.is_empty());
    let (walk, words) = sample.copied.as_ref().unwrap();
    assert!(chain[0].contains(&walk.lookup()), "{chain:x?} {sample:x?}");
    assert_eq!(walk.exact != 0, exact, "{sample:x?}");
    let mut words = words.iter();
    for function in &chain[1..] {
        // The one behind its call, which may be the last instruction of a function.
        let is_return = |word: &u64| function.contains(&word.wrapping_sub(1));
        assert!(words.any(is_return), "no caller in {function:x?}: {sample:x?}");
    }
}

#[test]
fn a_stack_that_nobody_knows_is_copied_with_its_registers() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let mut sampler = start(&config_for(busy.id()));
    let collected = Collected::until(&mut sampler, |collected| {
        collected.samples.iter().filter(|sample| sample.kernel.is_empty()).count() >= 300
    });
    let chain = ["inner", "middle", "outer", "main"].map(|name| programs.function(&busy, name));
    collected.samples.iter().for_each(|sample| check_copied(&chain, sample, true));
}

#[test]
fn samples_in_the_kernel_have_the_registers_of_the_system_call() {
    let programs = Programs::build();
    let busy = programs.start(&["kernel"]);
    let mut sampler = start(&config_for(busy.id()));
    let in_kernel_count = |collected: &Collected| {
        collected.samples.iter().filter(|sample| !sample.kernel.is_empty()).count()
    };
    let collected = Collected::until(&mut sampler, |collected| in_kernel_count(collected) >= 300);

    let chain = ["inner", "middle", "outer", "main"].map(|name| programs.function(&busy, name));
    let mut in_calls = 0;
    for sample in collected.samples.iter().filter(|sample| !sample.kernel.is_empty()) {
        assert!(sample.kernel.iter().all(|address| in_kernel(*address)), "{sample:x?}");
        // The rest: interrupts in user code.
        let in_call = sample.copied.as_ref().is_some_and(|(walk, _)| walk.exact == 0);
        check_copied(&chain, sample, !in_call);
        in_calls += usize::from(in_call);
    }
    assert!(in_calls >= 200, "{in_calls}");
}

#[test]
fn the_header_says_who_when_and_how_much() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let config = config_for(busy.id());
    let before_ns = crate::sampler::boottime_ns();
    let mut sampler = start(&config);
    let collected = Collected::until(&mut sampler, |collected| collected.samples.len() >= 100);
    let after_ns = crate::sampler::boottime_ns();

    let stat = std::fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let start_ticks: u64 = fields.split_whitespace().nth(19).unwrap().parse().unwrap();
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let cpus = crate::sampler::cpus::online().unwrap();
    for sample in &collected.samples {
        assert_eq!(sample.start_boottime_ns / tick_ns, start_ticks, "{sample:?}");
        assert_eq!(sample.weight_ns, config.weight_ns());
        assert_eq!(&sample.comm[..5], b"busy\0");
        assert!((before_ns..=after_ns).contains(&sample.time_ns), "{sample:?}");
        assert!(cpus.contains(&sample.cpu));
    }
}

#[test]
fn a_busy_thread_is_sampled_once_per_weight_of_its_cpu_time() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let config = config_for(busy.id());
    let mut sampler = start(&config);
    let cpu_ns = |pid: u32| {
        // Nanoseconds on a CPU, nanoseconds waiting for one, times run.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let (cpu_before, taken_before) = (cpu_ns(busy.id()), sampler.counters().unwrap().taken);
    Collected::until(&mut sampler, |collected| collected.samples.len() >= 3000);
    let (cpu_after, taken_after) = (cpu_ns(busy.id()), sampler.counters().unwrap().taken);
    let sampled = (taken_after - taken_before) as f64 * config.weight_ns() as f64;
    let ratio = sampled / (cpu_after - cpu_before) as f64;
    assert!((0.98..1.02).contains(&ratio), "sampled / measured CPU time = {ratio}");
}

#[test]
fn threads_of_the_kernel_have_only_a_kernel_stack() {
    let dir = tempfile::tempdir().unwrap();
    let mut sampler = start(&SamplerConfig { frequency_hz: 4999, ..SamplerConfig::default() });
    let collected = Collected::until(&mut sampler, |collected| {
        // Makes kernel threads write to the disk.
        super::limits::write_through(dir.path());
        collected.with(ResultCode::KernelOnly).count() >= 1
    });
    for sample in collected.with(ResultCode::KernelOnly) {
        assert!(sample.user.is_empty() && !sample.kernel.is_empty(), "{sample:x?}");
        assert!(sample.kernel.iter().all(|address| in_kernel(*address)), "{sample:x?}");
    }
}
