//! What is known of every agent instance: which sequences are kept, how many samples, the latest
//! counters. Pure: the index that makes resends harmless.

use std::collections::{BTreeMap, HashMap};

use fleetprof_proto::{
    ids::{BatchId, InstanceId},
    v1,
};

use super::InstanceStatus;

/// All instances.
#[derive(Debug, Default)]
pub(super) struct Instances {
    by_id: HashMap<InstanceId, Instance>,
}

#[derive(Debug, Default)]
struct Instance {
    /// First to last sequence of each gapless run; agents count up, so there are few.
    runs: BTreeMap<u64, u64>,
    samples: u64,
    /// Sequence that the fields below are of.
    latest: u64,
    host: String,
    agent_version: String,
    last_window_end: i64,
    accounting: v1::Accounting,
}

/// What a kept batch adds.
pub(super) struct Kept<'a> {
    pub id: BatchId,
    pub samples: u64,
    pub host: &'a str,
    pub agent_version: &'a str,
    pub window_end: i64,
    pub accounting: &'a v1::Accounting,
}

// === impl Instances ===

impl Instances {
    pub(super) fn contains(&self, id: BatchId) -> bool {
        self.by_id.get(&id.instance).is_some_and(|instance| instance.contains(id.sequence))
    }

    /// Notes a batch; `false` when it was there.
    pub(super) fn insert(&mut self, kept: &Kept<'_>) -> bool {
        let instance = self.by_id.entry(kept.id.instance).or_default();
        if !instance.insert(kept.id.sequence) {
            return false;
        }
        instance.samples = instance.samples.saturating_add(kept.samples);
        if kept.id.sequence >= instance.latest {
            instance.latest = kept.id.sequence;
            kept.host.clone_into(&mut instance.host);
            kept.agent_version.clone_into(&mut instance.agent_version);
            instance.last_window_end = kept.window_end;
            instance.accounting = kept.accounting.clone();
        }
        true
    }

    /// Forgets a batch that turned out to be unreadable, so that a resend of it is kept.
    pub(super) fn remove(&mut self, id: BatchId, samples: u64) {
        if let Some(instance) = self.by_id.get_mut(&id.instance)
            && instance.remove(id.sequence)
        {
            instance.samples = instance.samples.saturating_sub(samples);
        }
    }

    pub(super) fn status(&self) -> Vec<InstanceStatus> {
        let status = |(id, instance): (&InstanceId, &Instance)| InstanceStatus {
            instance: *id,
            samples: instance.samples,
            host: instance.host.clone(),
            agent_version: instance.agent_version.clone(),
            last_window_end: instance.last_window_end,
            accounting: instance.accounting.clone(),
        };
        self.by_id.iter().map(status).collect()
    }
}

// === impl Instance ===

impl Instance {
    fn run_of(&self, sequence: u64) -> Option<(u64, u64)> {
        let (first, last) = self.runs.range(..=sequence).next_back()?;
        (*last >= sequence).then_some((*first, *last))
    }

    fn contains(&self, sequence: u64) -> bool {
        self.run_of(sequence).is_some()
    }

    fn insert(&mut self, sequence: u64) -> bool {
        if self.contains(sequence) {
            return false;
        }
        let before = self.runs.range(..sequence).next_back();
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(sequence) => *first,
            _ => sequence,
        };
        let after = sequence.checked_add(1).and_then(|next| self.runs.remove(&next));
        self.runs.insert(first, after.unwrap_or(sequence));
        true
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let Some((first, last)) = self.run_of(sequence) else { return false };
        self.runs.remove(&first);
        if first < sequence {
            self.runs.insert(first, sequence - 1);
        }
        if sequence < last {
            self.runs.insert(sequence + 1, last);
        }
        true
    }
}
