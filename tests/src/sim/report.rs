//! What a fleet did, as JSON and for people.

use std::{collections::BTreeMap, fmt, sync::atomic::Ordering::Relaxed, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    plan::Plan,
    tally::{ByService, Tally},
};

/// Samples and the CPU time they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Number of samples.
    pub samples: u64,
    /// Nanoseconds.
    pub nanos: u64,
}

/// Books of a whole fleet, to be compared with what collectors answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What everything was drawn from.
    pub seed: u64,
    /// Simulated hosts.
    pub hosts: usize,
    /// First instant of the simulated time, Unix nanoseconds.
    pub from_unix_nanos: i64,
    /// Acknowledged, each batch counted once. Without kills that lose memory, and after a complete drain, this
    /// is exactly what is stored.
    pub services: BTreeMap<String, Usage>,
    /// Given up without an answer: every such batch is either in the store or not. What is stored lies between
    /// `services` and `services` + `unknown`.
    pub unknown: BTreeMap<String, Usage>,
    /// Made; the difference to the two above is still on its way.
    pub generated: Usage,
    /// Batches made.
    pub batches: u64,
    /// Batches acknowledged.
    pub acknowledged_batches: u64,
    /// Batches given up without an answer.
    pub unknown_batches: u64,
    /// Batches that a collector will never take: always a defect.
    pub rejected_batches: u64,
    /// Batches sent more than once, each time counted.
    pub resends: u64,
    /// Acknowledged as being there already.
    pub duplicates: u64,
    /// Answers that nobody waited for.
    pub unexpected_answers: u64,
    /// Bytes of all sent batches, resends included.
    pub wire_bytes: u64,
    /// Bytes of all batches made, before compression.
    pub raw_bytes: u64,
    /// Agents that are connected.
    pub connected: u64,
    /// Streams that broke or could not be opened.
    pub faults: u64,
    /// What the last one was.
    pub last_fault: Option<String>,
    /// Agents killed.
    pub kills: u64,
    /// Objects that collectors asked for in vain: simulated agents have no files.
    pub wanted_objects: u64,
    /// CPU seconds of making and sealing batches.
    pub generating_seconds: f64,
    /// Distinct stacks per host and window: mean, and the most.
    pub distinct_stacks: (f64, u64),
    /// Seconds since the start.
    pub wall_seconds: f64,
}

// === impl Report ===

impl Report {
    pub(super) fn new(tally: &Tally, plan: &Plan, from_unix_nanos: i64, wall: Duration) -> Self {
        let by_name = |of: &ByService| {
            let used = plan.services.iter().zip(of.get()).filter(|(_, usage)| usage.samples > 0);
            used.map(|(service, usage)| (service.name.clone(), usage)).collect()
        };
        let batches = tally.generated_batches.load(Relaxed);
        Self {
            seed: plan.config.seed,
            hosts: plan.hosts.len(),
            from_unix_nanos,
            services: by_name(&tally.acknowledged),
            unknown: by_name(&tally.unknown),
            generated: tally.generated.get().sum(),
            batches,
            acknowledged_batches: tally.acknowledged_batches.load(Relaxed),
            unknown_batches: tally.unknown_batches.load(Relaxed),
            rejected_batches: tally.rejected_batches.load(Relaxed),
            resends: tally.resent.load(Relaxed),
            duplicates: tally.duplicates.load(Relaxed),
            unexpected_answers: tally.unexpected.load(Relaxed),
            wire_bytes: tally.wire_bytes.load(Relaxed),
            raw_bytes: tally.raw_bytes.load(Relaxed),
            connected: tally.connected.load(Relaxed),
            faults: tally.faults.load(Relaxed),
            last_fault: tally.last_fault(),
            kills: tally.kills.load(Relaxed),
            wanted_objects: tally.wanted_objects.load(Relaxed),
            generating_seconds: tally.generating_nanos.load(Relaxed) as f64 / 1e9,
            distinct_stacks: (
                tally.distinct_stacks.load(Relaxed) as f64 / batches.max(1) as f64,
                tally.most_distinct_stacks.load(Relaxed),
            ),
            wall_seconds: wall.as_secs_f64(),
        }
    }

    /// Acknowledged in all.
    pub fn acknowledged(&self) -> Usage {
        self.services.values().copied().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acknowledged = self.acknowledged();
        writeln!(f, "{:<32} {:>14} {:>14}", "SERVICE", "SAMPLES", "CPU SECONDS")?;
        let mut services: Vec<_> = self.services.iter().collect();
        services.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.nanos));
        for (name, usage) in services {
            writeln!(f, "{name:<32} {:>14} {:>14.1}", usage.samples, usage.nanos as f64 / 1e9)?;
        }
        writeln!(
            f,
            "\n{} samples acknowledged, in {} of {} batches of {} hosts, in {:.1} s ({:.0} samples/s)",
            acknowledged.samples,
            self.acknowledged_batches,
            self.batches,
            self.hosts,
            self.wall_seconds,
            acknowledged.samples as f64 / self.wall_seconds
        )?;
        writeln!(
            f,
            "{} resends, {} duplicates, {} rejected, {} unknown; {} faults, {} kills; {:.1} MB sent",
            self.resends,
            self.duplicates,
            self.rejected_batches,
            self.unknown_batches,
            self.faults,
            self.kills,
            self.wire_bytes as f64 / 1e6
        )?;
        writeln!(
            f,
            "making batches: {:.2} CPU-s, {:.0} samples per CPU-s; distinct stacks per host and window: \
             {:.0} (most: {})",
            self.generating_seconds,
            self.generated.samples as f64 / self.generating_seconds,
            self.distinct_stacks.0,
            self.distinct_stacks.1
        )?;
        match &self.last_fault {
            Some(fault) => writeln!(f, "the last fault: {fault}"),
            None => Ok(()),
        }
    }
}

// === impl Usage ===

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, usage| Self {
            samples: sum.samples + usage.samples,
            nanos: sum.nanos + usage.nanos,
        })
    }
}
