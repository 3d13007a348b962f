//! What came out of a sampler.

use std::time::{Duration, Instant};

use fleetprof_abi::{COMM_LEN, ResultCode};
use fleetprof_walk::Walk;

use crate::sampler::{Event, ProcessEvent, RawSample, Sampler};

/// A sample that outlives the ring.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) pid: u32,
    pub(super) start_boottime_ns: u64,
    pub(super) time_ns: u64,
    pub(super) weight_ns: u64,
    pub(super) cpu: u32,
    pub(super) result: ResultCode,
    pub(super) comm: [u8; COMM_LEN],
    pub(super) kernel: Vec<u64>,
    pub(super) user: Vec<u64>,
    pub(super) kernel_result: ResultCode,
    /// Registers and words of a copied stack.
    pub(super) copied: Option<(Walk, Vec<u64>)>,
}

/// Everything handed out so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) samples: Vec<Sample>,
    pub(super) processes: Vec<ProcessEvent>,
}

/// A test that waits longer has failed: what it waits for takes a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends a loop that waits in vain.
pub(super) struct Patience(Instant);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn check(&self, sampler: &Sampler) {
        assert!(self.0.elapsed() < PATIENCE, "waited in vain: {:?}", sampler.counters());
    }
}

impl Collected {
    pub(super) fn poll(&mut self, sampler: &mut Sampler) {
        sampler
            .poll(&mut |event| match event {
                Event::Process(event) => self.processes.push(event),
                Event::Sample(sample) => self.samples.push(Sample::from(sample)),
            })
            .unwrap();
    }

    /// Polls until enough was handed out.
    pub(super) fn until(sampler: &mut Sampler, mut enough: impl FnMut(&Self) -> bool) -> Self {
        let mut collected = Self::default();
        let patience = Patience::new();
        while !enough(&collected) {
            patience.check(sampler);
            sampler.wait(Duration::from_millis(50)).unwrap();
            collected.poll(sampler);
        }
        collected
    }

    pub(super) fn with(&self, result: ResultCode) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.result == result)
    }
}

impl From<RawSample<'_>> for Sample {
    fn from(sample: RawSample<'_>) -> Self {
        Self {
            pid: sample.pid,
            start_boottime_ns: sample.start_boottime_ns,
            time_ns: sample.time_ns,
            weight_ns: sample.weight_ns,
            cpu: sample.cpu,
            result: sample.result,
            comm: sample.comm,
            kernel: sample.kernel.to_vec(),
            user: sample.user.to_vec(),
            kernel_result: sample.kernel_result,
            copied: sample.copied.map(|copied| (copied.walk(), copied.words.to_vec())),
        }
    }
}
