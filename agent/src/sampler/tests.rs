//! The kernel side on the running kernel: needs root, a C compiler and binutils.

mod collect;
mod counters;
mod limits;
mod process_events;
pub(crate) mod programs;
mod stacks;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fleetprof_abi::ResultCode;

use self::{
    collect::{Collected, Patience},
    programs::Programs,
};
use super::{Sampler, SamplerConfig, SamplerError};

fn start(config: &SamplerConfig) -> Sampler {
    Sampler::start(config).unwrap()
}

/// Fast, and only one process: other tests run beside this one.
fn config_for(pid: u32) -> SamplerConfig {
    SamplerConfig { frequency_hz: 997, pid: Some(pid), ..SamplerConfig::default() }
}

/// Checks that every sample ended in exactly one way, and that all of them were handed out or
/// counted as dropped.
fn check_accounts(sampler: &Sampler, received: usize) {
    let counters = sampler.counters().unwrap();
    let ended: u64 = counters.results().map(|(_, count)| count).sum();
    assert_eq!(counters.taken, ended, "{counters:?}");
    assert_eq!(counters.taken, received as u64 + counters.dropped(), "{counters:?}");
}

#[test]
fn every_program_verifies_in_few_instructions() {
    let sampler = start(&SamplerConfig::default());
    for (program, instructions) in sampler.programs.verified_instructions() {
        println!("{program}: {instructions} instructions verified");
        assert!((1..200_000).contains(&instructions), "{program}: {instructions}");
    }
}

/// Check that signals, which break off the kernel's verification of a program, do not end the start, and
/// that they are taken after it.
#[test]
#[expect(unsafe_code, reason = "a signal is sent to one thread")]
fn signals_do_not_end_the_start() {
    let seen = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&seen)).unwrap();
    // SAFETY: names the calling thread.
    let this = unsafe { libc::pthread_self() };
    let started = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !started.load(Ordering::SeqCst) {
                // SAFETY: that thread waits for this one, and the signal has a handler.
                assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGUSR1) }, 0);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let sampler = Sampler::start(&SamplerConfig::default());
        // Before it is looked at: the other thread waits for it.
        started.store(true, Ordering::SeqCst);
        sampler.unwrap();
    });
    assert!(seen.load(Ordering::SeqCst));
}

#[test]
fn every_sample_is_handed_out_or_counted_as_dropped() {
    let programs = Programs::build();
    let _busy = programs.start(&["kernel"]);
    let mut sampler = start(&SamplerConfig { frequency_hz: 997, ..SamplerConfig::default() });
    let mut collected = Collected::until(&mut sampler, |collected| collected.samples.len() >= 500);
    sampler.stop_sampling();
    collected.poll(&mut sampler);
    check_accounts(&sampler, collected.samples.len());
    // Once stopped, nothing comes any more.
    let before = sampler.counters().unwrap();
    collected.poll(&mut sampler);
    assert_eq!(sampler.counters().unwrap(), before);
}

#[test]
fn a_full_ring_is_counted_while_nobody_reads() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let mut sampler = start(&SamplerConfig { ring_bytes: Some(4096), ..config_for(busy.id()) });
    let ring_full = |sampler: &Sampler| sampler.counters().unwrap().result(ResultCode::RingFull);
    let patience = Patience::new();
    while ring_full(&sampler) < 10 {
        patience.check(&sampler);
        // Returns at once each time the ring says that it is half full.
        sampler.wait(Duration::from_millis(50)).unwrap();
    }
    sampler.stop_sampling();
    let mut collected = Collected::default();
    collected.poll(&mut sampler);
    assert!(!collected.samples.is_empty());
    assert!(ring_full(&sampler) >= 10);
    check_accounts(&sampler, collected.samples.len());
}

#[test]
fn a_ring_that_fills_wakes_the_reader() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let sampler = start(&SamplerConfig { ring_bytes: Some(4096), ..config_for(busy.id()) });
    // Half of 4 KiB is filled by some twenty samples; without a wakeup this test waits an hour.
    sampler.wait(Duration::from_secs(3600)).unwrap();
    assert!(sampler.counters().unwrap().delivered() > 0);
}

#[test]
fn only_the_process_asked_for_is_sampled() {
    let programs = Programs::build();
    let (wanted, _other) = (programs.start(&["user"]), programs.start(&["user"]));
    let mut sampler = start(&config_for(wanted.id()));
    let collected = Collected::until(&mut sampler, |collected| collected.samples.len() >= 100);
    assert!(collected.samples.iter().all(|sample| sample.pid == wanted.id()));
}

#[test]
fn a_thread_without_rights_is_told_which_are_missing() {
    let error = without_capabilities(|| Sampler::start(&SamplerConfig::default()).err());
    let error = error.unwrap();
    assert!(matches!(error, SamplerError::NotPermitted { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("CAP_BPF and CAP_PERFMON") && message.contains("root"), "{message}");
}

#[test]
fn a_kernel_that_refuses_gives_an_error_with_a_remedy() {
    let errors = without_capabilities(|| {
        let programs = super::probe::programs().unwrap_err();
        let timer = super::probe::cpu_clock().unwrap_err();
        [programs.to_string(), timer.to_string()]
    });
    assert!(errors[0].contains("doctor"), "{}", errors[0]);
    assert!(errors[1].contains("CAP_PERFMON"), "{}", errors[1]);
}

#[test]
fn missing_and_damaged_type_information_are_named() {
    let missing = SamplerConfig { btf: "/nonexistent/vmlinux".into(), ..SamplerConfig::default() };
    let message = Sampler::start(&missing).err().unwrap().to_string();
    assert!(message.contains("/nonexistent/vmlinux"), "{message}");
    assert!(message.contains("CONFIG_DEBUG_INFO_BTF"), "{message}");
    let damaged = SamplerConfig { btf: "/proc/self/exe".into(), ..SamplerConfig::default() };
    let message = Sampler::start(&damaged).err().unwrap().to_string();
    assert!(message.contains("unusable"), "{message}");
}

/// Runs something in a thread that has given up all its capabilities.
fn without_capabilities<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    // aya probes the kernel once per process; from here it would conclude that nothing is supported.
    aya::features();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_capabilities(None, none).unwrap();
            run()
        });
        thread.join().unwrap()
    })
}
