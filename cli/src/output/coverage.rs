//! What an answer was made from, in the words that follow it on standard error.

use fleetprof_proto::v1::{CounterByName, Coverage};

use super::{text, units};

/// Most damaged items that are named; the rest is counted.
const MOST_NAMED: usize = 3;

/// One line about what an answer was made from: `1,234 samples in 12 batches, from … to …`.
pub(crate) fn summary(coverage: &Coverage) -> String {
    let mut line = units::counted(coverage.samples, "sample", "samples");
    // Files of single services do not say how many batches they are of.
    if coverage.batches > 0 || coverage.samples == 0 {
        line.push_str(&format!(" in {}", units::counted(coverage.batches, "batch", "batches")));
    }
    if coverage.samples > 0 {
        let (first, last) = (coverage.first_unix_nanos, coverage.last_unix_nanos);
        line.push_str(&format!(", from {} to {}", units::instant(first), units::instant(last)));
    }
    if let Some(dropped) = dropped(&coverage.dropped) {
        line.push_str(&format!("; dropped on the hosts since their agents started: {dropped}"));
    }
    line
}

/// Wall-clock time that the data covers, nanoseconds: what CPU time is divided by to give cores. A
/// collector that does not say it is older; gaps are part of it then.
pub(crate) fn covered_nanos(coverage: &Coverage) -> u64 {
    if coverage.covered_nanos > 0 {
        return coverage.covered_nanos;
    }
    let nanos = coverage.last_unix_nanos.saturating_sub(coverage.first_unix_nanos);
    u64::try_from(nanos).unwrap_or(0)
}

/// What the answer lacks because it could not be read; `None` when all could.
pub(crate) fn damage(coverage: &Coverage) -> Option<String> {
    if coverage.damaged.is_empty() {
        return None;
    }
    let names: Vec<_> =
        coverage.damaged.iter().take(MOST_NAMED).map(|name| text::clean(name)).collect();
    let more = match coverage.damaged.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("the answer is incomplete, not readable: {}{more}", names.join(", ")))
}

/// Loss by reason, largest first: `12 (ring_full 10, no_memory 2)`; `None` when nothing was lost.
pub(crate) fn dropped(counters: &[CounterByName]) -> Option<String> {
    let mut lost: Vec<_> = counters.iter().filter(|counter| counter.value > 0).collect();
    if lost.is_empty() {
        return None;
    }
    lost.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    let reasons: Vec<_> = lost
        .iter()
        .map(|counter| format!("{} {}", text::clean(&counter.name), units::count(counter.value)))
        .collect();
    let sum = sum(counters);
    Some(format!("{} ({})", units::count(sum), reasons.join(", ")))
}

/// Sum of counters, saturating: the numbers come from elsewhere.
pub(crate) fn sum(counters: &[CounterByName]) -> u64 {
    counters.iter().fold(0, |sum: u64, counter| sum.saturating_add(counter.value))
}

#[cfg(test)]
mod tests;
