//! Results that need a broken or unusual kernel side.

use std::{io::Write as _, path::Path, time::Duration};

use fleetprof_abi::{ResultCode, Settings, Unwinder};

use super::{Collected, Patience, Programs, check_accounts, config_for, start};
use crate::sampler::{
    Sampler, SamplerConfig,
    programs::{OUTPUT, UNWINDERS},
    tests::collect::Sample,
};

/// Makes threads of the kernel work: they write what is written here to the disk.
pub(super) fn write_through(dir: &Path) {
    let mut file = std::fs::File::create(dir.join("written")).unwrap();
    file.write_all(&vec![0x5a; 8 << 20]).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn without_an_unwinder_the_kernel_stack_is_kept() {
    let programs = Programs::build();
    let busy = programs.start(&["kernel"]);
    let mut sampler = start(&config_for(busy.id()));
    sampler.programs.clear(UNWINDERS, Unwinder::CopyStack as u32);
    let collected = Collected::until(&mut sampler, |collected| {
        collected.with(ResultCode::NoUnwinder).count() >= 50
    });
    let mut samples = collected.with(ResultCode::NoUnwinder);
    assert!(samples.all(|sample| sample.user.is_empty()));
    assert!(collected.with(ResultCode::NoUnwinder).any(|sample| !sample.kernel.is_empty()));
}

#[test]
fn without_the_last_program_samples_are_counted_as_dropped() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let mut sampler = start(&config_for(busy.id()));
    sampler.programs.clear(OUTPUT, 0);
    let mut collected = Collected::default();
    let patience = Patience::new();
    while sampler.counters().unwrap().result(ResultCode::NoOutput) < 50 {
        patience.check(&sampler);
        sampler.wait(Duration::from_millis(50)).unwrap();
        collected.poll(&mut sampler);
    }
    sampler.stop_sampling();
    collected.poll(&mut sampler);
    check_accounts(&sampler, collected.samples.len());
}

#[test]
fn a_kernel_stack_deeper_than_the_limit_is_flagged() {
    let programs = Programs::build();
    let bare = programs.start_bare();
    let settings = |settings: &mut Settings| settings.max_stack = 2;
    let mut sampler = Sampler::start_with(&config_for(bare.id()), settings).unwrap();
    let truncated = |collected: &Collected| {
        let samples = collected.samples.iter();
        let is_truncated = |sample: &&Sample| sample.kernel_result == ResultCode::KernelTruncated;
        samples.filter(is_truncated).cloned().collect::<Vec<_>>()
    };
    let collected = Collected::until(&mut sampler, |collected| truncated(collected).len() >= 50);
    for sample in truncated(&collected) {
        // Its own result waits for the user stack.
        assert_eq!(sample.kernel.len(), 2, "{sample:x?}");
        assert_eq!(sample.result, ResultCode::StackCopied, "{sample:x?}");
    }
}

#[test]
fn a_thread_without_user_registers_keeps_its_kernel_frames() {
    // Where the type information does not tell which tasks have user memory, threads of the kernel
    // are asked for their user stack, too, and have none.
    let dir = tempfile::tempdir().unwrap();
    let settings = |settings: &mut Settings| settings.task.mm = 0;
    let config = SamplerConfig { frequency_hz: 4999, ..SamplerConfig::default() };
    let mut sampler = Sampler::start_with(&config, settings).unwrap();
    let collected = Collected::until(&mut sampler, |collected| {
        write_through(dir.path());
        collected.with(ResultCode::NoRegisters).count() >= 1
    });
    for sample in collected.with(ResultCode::NoRegisters) {
        assert!(sample.user.is_empty() && !sample.kernel.is_empty(), "{sample:x?}");
    }
}

#[test]
fn a_process_without_a_known_start_time_says_zero() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let settings = |settings: &mut Settings| settings.task.start_boottime = 0;
    let mut sampler = Sampler::start_with(&config_for(busy.id()), settings).unwrap();
    let collected = Collected::until(&mut sampler, |collected| collected.samples.len() >= 10);
    assert!(collected.samples.iter().all(|sample| sample.start_boottime_ns == 0));
}
