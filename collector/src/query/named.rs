//! The samples that a plan selects, merged, with names for their frames.

use std::collections::BTreeMap;

use fleetprof_proto::{
    batch::{Batch, BatchBuilder},
    symbol::{Reason, Symbol},
    v1,
};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts,
    coverage::Coverage,
    reader::{self, Need, Source},
};

/// Merged samples and their names.
pub(super) struct Named {
    pub batch: Batch,
    /// Parallel to the batch's frame rows.
    pub symbols: Vec<Symbol>,
    /// What it was made from, what has no names for now included.
    pub coverage: Coverage,
}

/// What is done about names that are not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// They are waited for, within limits.
    Wait,
    /// They are left out.
    Leave,
}

/// Labels that samples keep.
pub(super) type Kept = Vec<(String, String)>;

/// Leaves samples no labels.
pub(super) fn no_labels(_: &BTreeMap<&str, &str>) -> Kept {
    Vec::new()
}

/// Merges what matches, each sample with the labels that `keep` leaves it, and names it. `require`
/// says whether that is enough, before the names are looked up.
pub(super) fn read(
    parts: &QueryParts,
    plan: &Plan,
    need: &Need<'_>,
    cancel: &CancellationToken,
    late: Late,
    keep: impl Fn(&BTreeMap<&str, &str>) -> Kept,
    require: impl FnOnce(&Coverage) -> Result<(), QueryError>,
) -> Result<Named, QueryError> {
    let source = reader::begin(parts, plan, need, cancel)?;
    read_source(parts, plan, need, cancel, source, Naming { late, keep, require })
}

/// How samples are merged and named.
pub(super) struct Naming<K, R> {
    pub late: Late,
    /// The labels that they keep.
    pub keep: K,
    /// Says whether what was found is enough, before the names are looked up.
    pub require: R,
}

/// The same of what is left of a source.
pub(super) fn read_source(
    parts: &QueryParts,
    plan: &Plan,
    need: &Need<'_>,
    cancel: &CancellationToken,
    source: Source,
    naming: Naming<
        impl Fn(&BTreeMap<&str, &str>) -> Kept,
        impl FnOnce(&Coverage) -> Result<(), QueryError>,
    >,
) -> Result<Named, QueryError> {
    let Naming { late, keep, require } = naming;
    let mut merged = BatchBuilder::new();
    let coverage = reader::visit_all(parts, plan, need, cancel, source, |table| {
        Ok(table.add_to(&mut merged, |labels| {
            let matches = plan.selector.matches(|name| labels.get(name).copied());
            matches.then(|| keep(labels))
        }))
    })?;
    require(&coverage)?;
    name(parts, cancel, merged, coverage, late)
}

/// Looks up the names of what was merged.
pub(super) fn name(
    parts: &QueryParts,
    cancel: &CancellationToken,
    merged: BatchBuilder,
    mut coverage: Coverage,
    late: Late,
) -> Result<Named, QueryError> {
    let batch = merged.finish(coverage.window(), [], v1::Accounting::default());
    let resolved = match late {
        Late::Wait => parts.symbols.resolve(&batch, cancel),
        Late::Leave => parts.symbols.resolve_now(&batch, cancel),
    };
    resolved.problems.into_iter().for_each(|problem| coverage.damage(problem));
    if cancel.is_cancelled() {
        return Err(QueryError::Cancelled);
    }
    Ok(Named { batch, symbols: resolved.symbols, coverage })
}

// === impl Named ===

impl Named {
    /// CPU of samples whose innermost frame has no name, by the reason why, most first.
    pub(super) fn unnamed(&self) -> Vec<v1::UnnamedUsage> {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for sample in self.batch.samples() {
            let innermost = self.batch.stack_frames(sample.stack).next();
            let symbol = innermost.and_then(|frame| self.symbols.get(frame));
            if let Some(reason) = symbol.and_then(reason) {
                let sum = sums.entry(reason.as_str()).or_default();
                *sum = sum.saturating_add(sample.nanos);
            }
        }
        usages(sums)
    }
}

/// CPU time by reason, most first.
pub(super) fn usages(sums: BTreeMap<&'static str, u64>) -> Vec<v1::UnnamedUsage> {
    let usage = |(reason, self_nanos): (&str, u64)| v1::UnnamedUsage {
        reason: reason.to_owned(),
        self_nanos,
    };
    let mut unnamed: Vec<_> = sums.into_iter().map(usage).collect();
    unnamed.sort_by_key(|usage| std::cmp::Reverse(usage.self_nanos));
    unnamed
}

/// Why there is no name, if there is none.
pub(super) fn reason(symbol: &Symbol) -> Option<Reason> {
    match symbol {
        Symbol::Unknown(reason) => Some(*reason),
        Symbol::Named(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use fleetprof_proto::{
        batch::{BatchBuilder, StackIndex, Window},
        ids::ObjectKind,
        time_range::TimeRange,
        v1::{Accounting, UnresolvedReason},
    };

    use super::*;

    /// Check that the innermost frame alone decides, and that samples without frames are no addresses.
    #[test]
    fn unnamed_code_is_summed_up_by_reason() {
        let mut builder = BatchBuilder::new();
        let object = builder.object(ObjectKind::File, None, "/lib/libx.so");
        let mut frame = |offset| builder.frame(object, offset, UnresolvedReason::NoBuildId);
        let (named, lost, late) = (frame(1), frame(2), frame(3));
        let origin = builder.origin([("service", "s")]);
        for (frames, nanos) in [
            (vec![lost, named], 1),
            (vec![named, lost], 10),
            (vec![late], 5),
            (vec![late, lost], 20),
        ] {
            let stack = builder.stack(frames);
            builder.add(origin, stack, 0, 1, nanos);
        }
        builder.add(origin, StackIndex::EMPTY, 0, 1, 100);
        let window = Window { start_unix_nanos: 0, end_unix_nanos: 1 };
        let batch = builder.finish(window, [], Accounting::default());
        let range = TimeRange::new(0, 1).expect("valid");
        let symbols = vec![
            Symbol::Unknown(Reason::NoMapping),
            Symbol::Named(Vec::new()),
            Symbol::Unknown(Reason::NotCovered),
            Symbol::Unknown(Reason::NotReady),
        ];
        let unnamed = Named { batch, symbols, coverage: Coverage::new(range) }.unnamed();
        let unnamed: Vec<_> =
            unnamed.iter().map(|it| (it.reason.as_str(), it.self_nanos)).collect();
        assert_eq!(unnamed, [("not_covered", 30), ("not_ready", 5)]);
    }
}
