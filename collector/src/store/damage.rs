//! A bounded list of what cannot be read, and which ranges of time miss something by it. Pure.

use std::collections::BTreeMap;

use fleetprof_proto::{batch::Window, ids::BatchId, time_range::TimeRange};

use super::{in_range, midpoint};

/// Most pieces that are named; the rest is counted. Below what one answer names, so that the count
/// is part of it.
const MAX_NAMED: usize = 32;

/// Damaged places, each named once.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// By segment number and offset.
    named: BTreeMap<(u64, u64), Place>,
    unnamed: Unnamed,
}

/// What a damaged place held, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing that a query reads.
    Nothing,
    /// One batch, of which only the payload is gone.
    Batch(BatchId, Window),
    /// Any number of batches. An agent may deliver late, so they can be of any time up to this
    /// instant, Unix nanoseconds.
    Until(i64),
}

#[derive(Debug)]
struct Place {
    sentence: String,
    lost: Lost,
}

/// The places beyond [`MAX_NAMED`].
#[derive(Debug, Default)]
struct Unnamed {
    places: u64,
    /// First and last instant at which something may be missing.
    span: Option<(i64, i64)>,
}

// === impl Damage ===

impl Damage {
    /// Notes damage; `false` when it was known.
    pub(super) fn add(&mut self, segment: u64, offset: u64, lost: Lost, sentence: String) -> bool {
        if self.named.contains_key(&(segment, offset)) {
            return false;
        }
        if self.named.len() < MAX_NAMED {
            self.named.insert((segment, offset), Place { sentence, lost });
        } else {
            self.unnamed.add(lost);
        }
        true
    }

    /// One sentence each, and how many more there are.
    pub(super) fn sentences(&self) -> Vec<String> {
        let named = self.named.values().map(|place| place.sentence.clone());
        named.chain(self.unnamed.sentence()).collect()
    }

    /// The same for the places by which an answer over `range` may miss something. A batch that
    /// `is_kept` elsewhere is not missing.
    pub(super) fn concerning(
        &self,
        range: TimeRange,
        is_kept: impl Fn(BatchId) -> bool,
    ) -> Vec<String> {
        let concerns = |place: &&Place| match place.lost {
            Lost::Nothing => false,
            Lost::Batch(id, window) => in_range(window, range) && !is_kept(id),
            Lost::Until(last) => range.start_unix_nanos() <= last,
        };
        let named = self.named.values().filter(concerns).map(|place| place.sentence.clone());
        let (start, end) = (range.start_unix_nanos(), range.end_unix_nanos());
        let rest = self.unnamed.span.is_some_and(|(first, last)| first < end && last >= start);
        named.chain(rest.then(|| self.unnamed.sentence()).flatten()).collect()
    }
}

// === impl Unnamed ===

impl Unnamed {
    fn add(&mut self, lost: Lost) {
        self.places += 1;
        let (first, last) = match lost {
            Lost::Nothing => return,
            Lost::Batch(_, window) => (midpoint(window), midpoint(window)),
            Lost::Until(last) => (i64::MIN, last),
        };
        let known = self.span.unwrap_or((first, last));
        self.span = Some((known.0.min(first), known.1.max(last)));
    }

    fn sentence(&self) -> Option<String> {
        (self.places > 0).then(|| format!("and {} more damaged places", self.places))
    }
}

#[cfg(test)]
mod tests;
