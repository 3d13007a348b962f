//! What an answer was made from. Pure.

use std::collections::BTreeMap;

use fleetprof_proto::{batch::Window, time_range::TimeRange, v1};
use fleetprof_store::NewFile;

/// Damaged places that are named.
const MAX_DAMAGED: usize = 64;

/// Collects what was read.
#[derive(Debug)]
pub(super) struct Coverage {
    range: TimeRange,
    batches: u64,
    pub samples: u64,
    /// Disjoint spans for which there is data: start to end.
    spans: BTreeMap<i64, i64>,
    /// Samples that agents lost, by reason.
    dropped: BTreeMap<String, u64>,
    damaged: Vec<String>,
    more_damaged: u64,
}

// === impl Coverage ===

impl Coverage {
    pub(super) fn new(range: TimeRange) -> Self {
        Self {
            range,
            batches: 0,
            samples: 0,
            spans: BTreeMap::new(),
            dropped: BTreeMap::new(),
            damaged: Vec::new(),
            more_damaged: 0,
        }
    }

    /// Notes a file that was read.
    pub(super) fn read(&mut self, file: &NewFile) {
        self.batches += file.batches;
        let (start, end) = (self.range.start_unix_nanos(), self.range.end_unix_nanos());
        for span in &file.spans {
            self.cover(span.0.max(start), span.1.min(end));
        }
    }

    /// Notes what an agent that delivered in the range has lost so far.
    pub(super) fn lost(&mut self, accounting: &v1::Accounting) {
        for counter in accounting.dropped.iter().chain(&accounting.recovered_dropped) {
            let sum = self.dropped.entry(counter.name.clone()).or_default();
            *sum = sum.saturating_add(counter.value);
        }
    }

    /// From the first to the last instant for which there is data in the range.
    pub(super) fn window(&self) -> Window {
        let first = self.spans.keys().next().copied().unwrap_or(0);
        let last = self.spans.values().next_back().copied().unwrap_or(0);
        Window { start_unix_nanos: first, end_unix_nanos: last }
    }

    /// Notes something that could not be read.
    pub(super) fn damage(&mut self, sentence: String) {
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(sentence);
        } else {
            self.more_damaged += 1;
        }
    }

    /// What could not be read, as far as it is named.
    pub(super) fn into_damaged(self) -> Vec<String> {
        self.damaged
    }

    /// Time for which there is data of any host, nanoseconds.
    pub(super) fn nanos(&self) -> u64 {
        let spans = self.spans.iter().map(|(start, end)| start.abs_diff(*end));
        spans.fold(0, u64::saturating_add)
    }

    /// CPU time per time covered.
    pub(super) fn cores(&self, cpu_nanos: u64) -> f64 {
        let nanos = self.nanos();
        if nanos > 0 { cpu_nanos as f64 / nanos as f64 } else { 0.0 }
    }

    pub(super) fn into_wire(self) -> v1::Coverage {
        let covered_nanos = self.nanos();
        let window = self.window();
        let more = (self.more_damaged > 0)
            .then(|| format!("and {} more places that cannot be read", self.more_damaged));
        v1::Coverage {
            batches: self.batches,
            samples: self.samples,
            first_unix_nanos: window.start_unix_nanos,
            last_unix_nanos: window.end_unix_nanos,
            dropped: self
                .dropped
                .into_iter()
                .filter(|(_, value)| *value > 0)
                .map(|(name, value)| v1::CounterByName { name, value })
                .collect(),
            damaged: self.damaged.into_iter().chain(more).collect(),
            covered_nanos,
        }
    }

    /// Adds a span to those there are, joining those it touches.
    fn cover(&mut self, mut start: i64, mut end: i64) {
        if start >= end {
            return;
        }
        // Spans are disjoint, so only the one before can reach in from the left.
        if let Some((before, until)) = self.spans.range(..=start).next_back()
            && *until >= start
        {
            (start, end) = (*before, end.max(*until));
        }
        let inside: Vec<i64> = self.spans.range(start..=end).map(|(start, _)| *start).collect();
        for span in inside {
            if let Some(until) = self.spans.remove(&span) {
                end = end.max(until);
            }
        }
        self.spans.insert(start, end);
    }
}

#[cfg(test)]
mod tests;
