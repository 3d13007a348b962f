//! What an answer was made from. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleetprof_proto::{
    batch::{Batch, Window},
    ids::{BatchId, InstanceId},
    time_range::TimeRange,
    v1,
};

/// Services that are named when one is not found.
const MAX_SERVICES: usize = 10_000;
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
    /// Latest counters of each agent instance in the range.
    dropped: HashMap<InstanceId, (u64, Vec<v1::CounterByName>)>,
    damaged: Vec<String>,
    more_damaged: u64,
    /// Services in the range, matching or not.
    pub services: BTreeSet<String>,
}

// === impl Coverage ===

impl Coverage {
    pub(super) fn new(range: TimeRange) -> Self {
        Self {
            range,
            batches: 0,
            samples: 0,
            spans: BTreeMap::new(),
            dropped: HashMap::new(),
            damaged: Vec::new(),
            more_damaged: 0,
            services: BTreeSet::new(),
        }
    }

    /// Notes a batch that was read.
    pub(super) fn read(&mut self, id: BatchId, batch: &Batch) {
        self.batches += 1;
        self.cover(batch.window());
        let latest = self.dropped.entry(id.instance).or_default();
        if id.sequence >= latest.0 {
            let accounting = batch.wire().accounting.iter();
            let dropped = accounting.flat_map(|it| it.dropped.iter().chain(&it.recovered_dropped));
            *latest = (id.sequence, dropped.cloned().collect());
        }
    }

    /// Notes a service that has samples in the range.
    pub(super) fn service(&mut self, service: &str) {
        if self.services.len() < MAX_SERVICES && !self.services.contains(service) {
            self.services.insert(service.to_owned());
        }
    }

    /// Notes something that could not be read.
    pub(super) fn damage(&mut self, sentence: String) {
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(sentence);
        } else {
            self.more_damaged += 1;
        }
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
        let first = self.spans.keys().next().copied().unwrap_or(0);
        let last = self.spans.values().next_back().copied().unwrap_or(0);
        let inside = |instant: i64| match self.spans.is_empty() {
            true => 0,
            false => instant.clamp(self.range.start_unix_nanos(), self.range.end_unix_nanos()),
        };
        let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
        for counter in self.dropped.into_values().flat_map(|(_, dropped)| dropped) {
            let sum = by_reason.entry(counter.name).or_default();
            *sum = sum.saturating_add(counter.value);
        }
        let more = (self.more_damaged > 0)
            .then(|| format!("and {} more places that cannot be read", self.more_damaged));
        v1::Coverage {
            batches: self.batches,
            samples: self.samples,
            first_unix_nanos: inside(first),
            last_unix_nanos: inside(last),
            dropped: by_reason
                .into_iter()
                .filter(|(_, value)| *value > 0)
                .map(|(name, value)| v1::CounterByName { name, value })
                .collect(),
            damaged: self.damaged.into_iter().chain(more).collect(),
            covered_nanos,
        }
    }

    /// Adds a window to the spans, joining those it touches.
    fn cover(&mut self, window: Window) {
        let (mut start, mut end) = (window.start_unix_nanos, window.end_unix_nanos);
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
