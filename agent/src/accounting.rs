//! The ledger: where every sample taken since the agent's start is now.
//!
//! In: cumulative counters of the kernel side, and what each stage reports as it hands samples on.
//! Out: a [`Snapshot`] in which taken = delivered + dropped + pending, and the
//! [`v1::Accounting`] that travels with each batch. Each place a sample can be in is counted on its
//! own, never computed from the total: a stage that forgets or repeats a sample shows as an
//! [`imbalance`](Snapshot::imbalance) and is not hidden.
//!
//! What an earlier instance of the agent left in the spool is counted apart: this instance never
//! took those samples.
//!
//! No I/O and no clock here; one mutex makes every snapshot consistent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fleetprof_abi::{Fate, ResultCode};
use fleetprof_proto::v1;

mod reason;

pub use reason::DropReason;

/// Number of reasons.
const REASONS: usize = DropReason::ALL.len();
/// Number of result codes.
const RESULTS: usize = ResultCode::ALL.len();

/// Cumulative counters of the kernel side, since the sampler's start.
///
/// Read `taken` last: a sample taken between two reads then counts as on its way, not as lost twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCounts {
    /// Samples taken.
    pub taken: u64,
    /// Samples by how they ended, indexed by [`ResultCode::number`].
    pub results: [u64; RESULTS],
}

/// Who sealed a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// This start of the agent.
    This,
    /// An earlier one, found in the spool.
    Earlier,
}

/// Where a sealed batch is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In memory only.
    Memory,
    /// In the spool.
    Spool,
}

/// Samples on their way, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Taken, but not read from the ring buffer yet.
    pub in_kernel: u64,
    /// Read, but in no sealed batch yet.
    pub in_window: u64,
    /// In sealed batches held in memory.
    pub in_memory: u64,
    /// In sealed batches held in the spool.
    pub in_spool: u64,
}

/// What became of batches that an earlier instance left in the spool, in samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Found at start and not delivered yet.
    pub pending: u64,
    /// Acknowledged by a collector.
    pub delivered: u64,
    /// Lost, by reason.
    pub dropped: Vec<(&'static str, u64)>,
}

/// The ledger at one moment, in samples since the agent's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Taken by the kernel side.
    pub taken: u64,
    /// In batches that a collector acknowledged.
    pub delivered: u64,
    /// Lost, by reason; every reason is listed, kernel-side ones first.
    pub dropped: Vec<(&'static str, u64)>,
    /// On their way.
    pub pending: Pending,
    /// In sealed batches, whatever became of those.
    pub sealed: u64,
    /// Taken, by the sampler's result; every result is listed.
    pub results: Vec<(&'static str, u64)>,
    /// What earlier instances left.
    pub recovered: Recovered,
    /// Samples read or dropped beyond what the kernel counters said were taken. Passes by when the
    /// counters are older than the samples; stays when samples were counted twice.
    pub ahead: u64,
}

/// Counts samples as they move. Shared by all threads of the agent.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kernel: KernelCounts,
    received: u64,
    in_window: u64,
    in_memory: u64,
    in_spool: u64,
    sealed: u64,
    delivered: u64,
    dropped: [u64; REASONS],
    recovered_pending: u64,
    recovered_delivered: u64,
    recovered_dropped: [u64; REASONS],
}

// === impl KernelCounts ===

impl Default for KernelCounts {
    fn default() -> Self {
        Self { taken: 0, results: [0; RESULTS] }
    }
}

impl KernelCounts {
    /// Samples with this result.
    #[must_use]
    pub fn result(&self, code: ResultCode) -> u64 {
        self.results[usize::from(code.number())]
    }

    /// Samples lost inside the kernel.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        dropped_codes().fold(0, |sum: u64, code| sum.saturating_add(self.result(code)))
    }

    /// Cumulative counters only grow: an older reading that comes late changes nothing.
    fn advance(&mut self, newer: &Self) {
        self.taken = self.taken.max(newer.taken);
        for (old, new) in self.results.iter_mut().zip(newer.results) {
            *old = (*old).max(new);
        }
    }
}

fn dropped_codes() -> impl Iterator<Item = ResultCode> {
    ResultCode::ALL.iter().copied().filter(|code| code.fate() == Fate::Dropped)
}

// === impl Pending ===

impl Pending {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let sealed = self.in_memory.saturating_add(self.in_spool);
        self.in_kernel.saturating_add(self.in_window).saturating_add(sealed)
    }
}

// === impl Recovered ===

impl Recovered {
    /// Lost for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        sum(&self.dropped)
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Lost for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        sum(&self.dropped)
    }

    /// Lost for the reason with this name.
    #[must_use]
    pub fn dropped_for(&self, name: &str) -> u64 {
        self.dropped.iter().find(|(reason, _)| *reason == name).map_or(0, |(_, count)| *count)
    }

    /// taken − (delivered + dropped + pending): 0 unless a stage forgot samples (positive) or
    /// counted some twice (negative).
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        let known = [self.delivered, self.dropped_total(), self.pending.total()];
        i128::from(self.taken) - known.map(i128::from).iter().sum::<i128>()
    }

    /// As it travels in a batch.
    #[must_use]
    pub fn to_wire(&self) -> v1::Accounting {
        let counters = |counts: &[(&'static str, u64)]| {
            let some = counts.iter().filter(|(_, value)| *value > 0);
            some.map(|(name, value)| v1::CounterByName { name: (*name).into(), value: *value })
                .collect()
        };
        v1::Accounting {
            taken: self.taken,
            delivered: self.delivered,
            pending: self.pending.total(),
            dropped: counters(&self.dropped),
            sealed: self.sealed,
            results: counters(&self.results),
            recovered_dropped: counters(&self.recovered.dropped),
        }
    }
}

fn sum(counts: &[(&'static str, u64)]) -> u64 {
    counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

// === impl Ledger ===

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over a newer reading of the kernel counters.
    pub fn update_kernel(&self, counts: &KernelCounts) {
        self.lock().kernel.advance(counts);
    }

    /// `count` samples were read from the ring buffer and are now in the window's stage. A record
    /// that cannot be read is received, too, and then [dropped](Self::dropped).
    pub fn received(&self, count: u64) {
        let mut state = self.lock();
        state.received = state.received.saturating_add(count);
        state.in_window = state.in_window.saturating_add(count);
    }

    /// `count` received samples were lost before they got into a sealed batch.
    pub fn dropped(&self, reason: DropReason, count: u64) {
        let mut state = self.lock();
        take(&mut state.in_window, count);
        add(&mut state.dropped, reason, count);
    }

    /// `count` samples leave the window in one batch. Returns the accounting to put into that batch,
    /// at the moment it is sealed; `kernel` reads fresh kernel counters, `None` keeps the last ones.
    pub fn seal(
        &self,
        count: u64,
        kernel: impl FnOnce() -> Option<KernelCounts>,
    ) -> v1::Accounting {
        let mut state = self.lock();
        take(&mut state.in_window, count);
        state.in_memory = state.in_memory.saturating_add(count);
        state.sealed = state.sealed.saturating_add(count);
        state.refresh(kernel);
        state.snapshot().to_wire()
    }

    /// A batch of this instance is in the spool now, no longer in memory.
    pub fn spooled(&self, count: u64) {
        let mut state = self.lock();
        take(&mut state.in_memory, count);
        state.in_spool = state.in_spool.saturating_add(count);
    }

    /// A batch of an earlier instance was found in the spool.
    pub fn recovered(&self, count: u64) {
        let mut state = self.lock();
        state.recovered_pending = state.recovered_pending.saturating_add(count);
    }

    /// A batch was acknowledged.
    pub fn delivered(&self, owner: Owner, place: Place, count: u64) {
        let mut state = self.lock();
        state.release(owner, place, count);
        let delivered = match owner {
            Owner::This => &mut state.delivered,
            Owner::Earlier => &mut state.recovered_delivered,
        };
        *delivered = delivered.saturating_add(count);
    }

    /// A sealed batch was lost.
    pub fn lost(&self, owner: Owner, place: Place, reason: DropReason, count: u64) {
        let mut state = self.lock();
        state.release(owner, place, count);
        match owner {
            Owner::This => add(&mut state.dropped, reason, count),
            Owner::Earlier => add(&mut state.recovered_dropped, reason, count),
        }
    }

    /// The ledger now, with the kernel counters as of their last update.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }

    /// The ledger now, with kernel counters read while nothing else moves: no sample can be read
    /// from the ring buffer between the two. `None` keeps the last counters.
    pub fn snapshot_with(&self, kernel: impl FnOnce() -> Option<KernelCounts>) -> Snapshot {
        let mut state = self.lock();
        state.refresh(kernel);
        state.snapshot()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers that are valid after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn refresh(&mut self, kernel: impl FnOnce() -> Option<KernelCounts>) {
        if let Some(counts) = kernel() {
            self.kernel.advance(&counts);
        }
    }

    fn release(&mut self, owner: Owner, place: Place, count: u64) {
        let held = match (owner, place) {
            (Owner::Earlier, _) => &mut self.recovered_pending,
            (Owner::This, Place::Memory) => &mut self.in_memory,
            (Owner::This, Place::Spool) => &mut self.in_spool,
        };
        take(held, count);
    }

    fn snapshot(&self) -> Snapshot {
        // What was read or dropped was taken, even if the kernel counters at hand are older.
        let left_kernel = self.received.saturating_add(self.kernel.dropped());
        let taken = self.kernel.taken.max(left_kernel);
        let result = |code: &ResultCode| (code.name(), self.kernel.result(*code));
        let kernel_drops = dropped_codes().map(|code| result(&code));
        Snapshot {
            taken,
            delivered: self.delivered,
            dropped: kernel_drops.chain(by_reason(&self.dropped)).collect(),
            pending: Pending {
                in_kernel: taken - left_kernel,
                in_window: self.in_window,
                in_memory: self.in_memory,
                in_spool: self.in_spool,
            },
            sealed: self.sealed,
            results: ResultCode::ALL.iter().map(result).collect(),
            recovered: Recovered {
                pending: self.recovered_pending,
                delivered: self.recovered_delivered,
                dropped: by_reason(&self.recovered_dropped).collect(),
            },
            ahead: left_kernel.saturating_sub(self.kernel.taken),
        }
    }
}

fn by_reason(counts: &[u64; REASONS]) -> impl Iterator<Item = (&'static str, u64)> {
    DropReason::ALL.iter().map(|reason| (reason.name(), counts[*reason as usize]))
}

fn add(counts: &mut [u64; REASONS], reason: DropReason, count: u64) {
    let counter = &mut counts[reason as usize];
    *counter = counter.saturating_add(count);
}

/// A place that gives more than it holds is a bug of the caller. It stays at zero, so the sum of all
/// places is then too large and [`Snapshot::imbalance`] shows it.
fn take(held: &mut u64, count: u64) {
    *held = held.saturating_sub(count);
}

#[cfg(test)]
mod tests;
