//! What the kernel side counted.

use fleetprof_abi::{Fate, ResultCode};

/// Cumulative counts since the sampler started, summed over CPUs.
///
/// Results are read before `taken`, so `taken` is never less than their sum; the difference is
/// samples being taken at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Samples taken.
    pub taken: u64,
    /// Records that reached the ring but were not understood when read: a defect, counted so that
    /// it shows.
    pub unreadable: u64,
    results: [u64; ResultCode::ALL.len()],
}

impl KernelCounters {
    pub(super) fn new(taken: u64, unreadable: u64, results: [u64; ResultCode::ALL.len()]) -> Self {
        Self { taken, unreadable, results }
    }

    /// Samples that ended in `code`.
    #[must_use]
    pub fn result(&self, code: ResultCode) -> u64 {
        self.results[usize::from(code.number())]
    }

    /// Every result with its count, ordered by number.
    pub fn results(&self) -> impl Iterator<Item = (ResultCode, u64)> + '_ {
        ResultCode::ALL.iter().map(|code| (*code, self.result(*code)))
    }

    /// Samples lost in the kernel, by reason.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (ResultCode, u64)> + '_ {
        self.results().filter(|(code, _)| code.fate() == Fate::Dropped)
    }

    /// Samples lost before they could be handed out.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_by_reason().map(|(_, count)| count).sum::<u64>() + self.unreadable
    }

    /// Samples that reached the ring buffer, unreadable ones included.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.results()
            .filter(|(code, _)| code.fate() == Fate::Delivered)
            .map(|(_, count)| count)
            .sum()
    }
}
