//! What happened, counted by all agents together.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{paint::Part, report::Usage};

/// Samples and their CPU time, by service.
#[derive(Debug)]
pub(super) struct ByService(Vec<(AtomicU64, AtomicU64)>);

/// Counters of the whole fleet.
#[derive(Debug)]
pub(super) struct Tally {
    /// Made.
    pub(super) generated: ByService,
    /// Acknowledged, each batch once.
    pub(super) acknowledged: ByService,
    /// Made, not acknowledged, and given up: in the store or not.
    pub(super) unknown: ByService,
    pub(super) generated_batches: AtomicU64,
    pub(super) acknowledged_batches: AtomicU64,
    pub(super) unknown_batches: AtomicU64,
    pub(super) rejected_batches: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) duplicates: AtomicU64,
    /// Answers to batches that were not waiting for one.
    pub(super) unexpected: AtomicU64,
    pub(super) wire_bytes: AtomicU64,
    pub(super) raw_bytes: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) wanted_objects: AtomicU64,
    /// CPU time of making and sealing batches.
    pub(super) generating_nanos: AtomicU64,
    pub(super) distinct_stacks: AtomicU64,
    pub(super) most_distinct_stacks: AtomicU64,
    last_fault: Mutex<Option<String>>,
}

// === impl ByService ===

impl ByService {
    fn new(services: usize) -> Self {
        Self((0..services).map(|_| <(AtomicU64, AtomicU64)>::default()).collect())
    }

    pub(super) fn add(&self, parts: &[Part]) {
        for part in parts {
            let (samples, nanos) = &self.0[part.service];
            add(samples, part.samples);
            add(nanos, part.nanos);
        }
    }

    pub(super) fn get(&self) -> impl Iterator<Item = Usage> {
        self.0.iter().map(|(samples, nanos)| Usage {
            samples: samples.load(Relaxed),
            nanos: nanos.load(Relaxed),
        })
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(services: usize) -> Self {
        Self {
            generated: ByService::new(services),
            acknowledged: ByService::new(services),
            unknown: ByService::new(services),
            generated_batches: AtomicU64::default(),
            acknowledged_batches: AtomicU64::default(),
            unknown_batches: AtomicU64::default(),
            rejected_batches: AtomicU64::default(),
            sent: AtomicU64::default(),
            resent: AtomicU64::default(),
            duplicates: AtomicU64::default(),
            unexpected: AtomicU64::default(),
            wire_bytes: AtomicU64::default(),
            raw_bytes: AtomicU64::default(),
            connected: AtomicU64::default(),
            faults: AtomicU64::default(),
            kills: AtomicU64::default(),
            wanted_objects: AtomicU64::default(),
            generating_nanos: AtomicU64::default(),
            distinct_stacks: AtomicU64::default(),
            most_distinct_stacks: AtomicU64::default(),
            last_fault: Mutex::default(),
        }
    }

    pub(super) fn fault(&self, text: String) {
        add(&self.faults, 1);
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(super) fn last_fault(&self) -> Option<String> {
        self.last_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
