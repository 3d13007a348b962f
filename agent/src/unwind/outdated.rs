//! Code that was mapped where other code may have been: until the kernel side hears of it, its walks go by the tables
//! of the other.
//!
//! In: new mappings of the processes that the kernel side knows, and samples, by rising time. Out: how many frames of a
//! sample are certain.

use std::ops::Range;

use fleetprof_walk::frame_address;

use crate::sampler::{Mapping, RawSample};

/// The mappings whose news may have come too late for a sample.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    /// `None`: any.
    pid: Option<u32>,
    addresses: Range<u64>,
    /// From the mapping until the kernel side had forgotten the process.
    times_ns: Range<u64>,
}

/// With more of them, all frames of all processes are doubted until the next reading of the ring.
const MAX_CHANGES: usize = 1024;

// === impl Outdated ===

impl Outdated {
    /// Notes a mapping, of which the kernel side knows since `now_ns`.
    pub(super) fn add(&mut self, mapping: &Mapping, now_ns: u64) {
        let times_ns = mapping.time_ns..now_ns;
        let is_full = self.changes.len() >= MAX_CHANGES;
        match self.changes.last_mut() {
            Some(last) if is_full => {
                let since = last.times_ns.start.min(times_ns.start);
                *last = Change { pid: None, addresses: 0..u64::MAX, times_ns: since..now_ns };
            }
            _ => {
                let addresses = mapping.start..mapping.start.saturating_add(mapping.len);
                self.changes.push(Change { pid: Some(mapping.pid), addresses, times_ns });
            }
        }
    }

    /// Forgets what ended before `time_ns`: no sample from before will come any more.
    pub(super) fn forget(&mut self, time_ns: u64) {
        self.changes.retain(|change| change.times_ns.end > time_ns);
    }

    /// How many of the user frames of a sample are certain. Where the code of a frame is new, the frame itself is, but not
    /// its callers.
    pub(super) fn certain(&self, sample: &RawSample<'_>) -> usize {
        let concerned = self.changes.iter().filter(|change| {
            change.pid.is_none_or(|pid| pid == sample.pid)
                && change.times_ns.contains(&sample.time_ns)
        });
        let first = |change: &Change| {
            let is_new = |frame: &u64| change.addresses.contains(&frame_address(*frame));
            sample.user.iter().position(is_new)
        };
        concerned.filter_map(first).min().map_or(sample.user.len(), |new| new + 1)
    }

    /// Memory held here, bytes.
    pub(super) fn approx_bytes(&self) -> usize {
        self.changes.capacity() * size_of::<Change>()
    }
}

#[cfg(test)]
mod tests;
