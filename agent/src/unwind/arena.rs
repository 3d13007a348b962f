//! Who has which entries of a large array: runs of neighbouring ones, given and taken back.
//!
//! Pure. Used for the pages of tables and for the mappings of processes. What is taken back may
//! still be read by a walk that is under way, so it is given again only after the next
//! [`settle`](Arena::settle).

use std::collections::BTreeMap;

/// Neighbouring entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First entry.
    pub(super) first: u32,
    /// How many.
    pub(super) count: u32,
}

/// The entries of an array.
#[derive(Debug)]
pub(super) struct Arena {
    /// Free runs by their first entry; neighbours are joined.
    free: BTreeMap<u32, u32>,
    /// Taken back, but perhaps still read.
    released: Vec<Run>,
    capacity: u32,
    used: u32,
}

// === impl Arena ===

impl Arena {
    /// An array of `capacity` entries, all free.
    pub(super) fn new(capacity: u32) -> Self {
        let free = BTreeMap::from_iter((capacity > 0).then_some((0, capacity)));
        Self { free, released: Vec::new(), capacity, used: 0 }
    }

    /// Gives the first free run that is long enough; `None` when there is none.
    pub(super) fn take(&mut self, count: u32) -> Option<Run> {
        if count == 0 {
            return Some(Run { first: 0, count: 0 });
        }
        let (first, room) = self
            .free
            .iter()
            .find(|(_, room)| **room >= count)
            .map(|(first, room)| (*first, *room))?;
        self.free.remove(&first);
        if room > count {
            self.free.insert(first + count, room - count);
        }
        self.used += count;
        Some(Run { first, count })
    }

    /// Takes a run back.
    pub(super) fn release(&mut self, run: Run) {
        if run.count > 0 {
            self.released.push(run);
        }
    }

    /// Says that no walk is under way any more that was when the runs were released.
    pub(super) fn settle(&mut self) {
        for run in std::mem::take(&mut self.released) {
            self.used -= run.count;
            self.join(run);
        }
    }

    /// Entries that are given, or not yet free again.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Entries that will be free after the next [`settle`](Self::settle).
    pub(super) fn released(&self) -> u32 {
        self.released.iter().map(|run| run.count).sum()
    }

    /// All entries.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    fn join(&mut self, run: Run) {
        let (mut first, mut count) = (run.first, run.count);
        if let Some(after) = self.free.remove(&(first + count)) {
            count += after;
        }
        let before = self.free.range(..first).next_back().map(|(first, count)| (*first, *count));
        if let Some((start, room)) = before
            && start + room == first
        {
            self.free.remove(&start);
            first = start;
            count += room;
        }
        self.free.insert(first, count);
    }
}

#[cfg(test)]
mod tests;
