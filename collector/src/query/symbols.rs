//! How much of the code of each service has names.
//!
//! Every frame of every sample counts: what is seen often matters often. Inlined functions are part of
//! the frame they were inlined into.

use std::collections::BTreeMap;

use fleetprof_proto::{batch::Batch, labels, symbol::Symbol, v1};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, Queries, QueryError, QueryParts, missing,
    named::{self, Late},
    reader::Need,
};
use crate::metrics::Method;

/// What services are split by.
const KEPT: [&str; 2] = [labels::SERVICE, labels::VERSION];

// === impl Queries ===

impl Queries {
    /// How much of the code of each service has names now, symbol tables that are still being made left
    /// out.
    ///
    /// # Errors
    /// When time is up.
    pub async fn symbol_quality(&self, plan: Plan) -> Result<Vec<v1::SymbolQuality>, QueryError> {
        let query = move |parts: &_, cancel: &_| run(parts, &plan, cancel, Late::Leave);
        Ok(self.run(Method::Symbols, query).await?.services)
    }
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
    late: Late,
) -> Result<v1::SymbolsResponse, QueryError> {
    let keep = |labels: &BTreeMap<&str, &str>| {
        let kept = KEPT.iter().filter_map(|name| Some((*name, *labels.get(name)?)));
        kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let need = Need { labels: KEPT.to_vec(), stacks: true, ..Need::default() };
    let require = |coverage: &_| missing::require_service(parts, plan, coverage, cancel);
    let named = named::read(parts, plan, &need, cancel, late, keep, require)?;
    let mut services: Vec<_> = quality(&named.batch, &named.symbols);
    services.sort_by(|a, b| {
        let key = |it: &v1::SymbolQuality| (it.service.clone(), it.version.clone());
        b.frames.cmp(&a.frames).then_with(|| key(a).cmp(&key(b)))
    });
    Ok(v1::SymbolsResponse { services, coverage: Some(named.coverage.into_wire()) })
}

/// Sums up the frames of each origin of a batch; `symbols` is parallel to its frame rows.
fn quality(batch: &Batch, symbols: &[Symbol]) -> Vec<v1::SymbolQuality> {
    let mut sums: BTreeMap<usize, (v1::SymbolQuality, BTreeMap<&'static str, u64>)> =
        BTreeMap::new();
    for sample in batch.samples() {
        let (sum, unresolved) = sums.entry(sample.origin).or_default();
        for frame in batch.stack_frames(sample.stack) {
            sum.frames = sum.frames.saturating_add(sample.count);
            match symbols.get(frame) {
                Some(Symbol::Named(lines)) => {
                    sum.named = sum.named.saturating_add(sample.count);
                    if lines.first().is_some_and(|line| line.line > 0) {
                        sum.with_lines = sum.with_lines.saturating_add(sample.count);
                    }
                }
                Some(Symbol::Unknown(reason)) => {
                    let count = unresolved.entry(reason.as_str()).or_default();
                    *count = count.saturating_add(sample.count);
                }
                None => {}
            }
        }
    }
    let finish = |(origin, (mut sum, unresolved)): (usize, (v1::SymbolQuality, BTreeMap<_, _>))| {
        for (name, value) in batch.labels().chain(batch.origin_labels(origin)) {
            match name {
                labels::SERVICE => sum.service = value.to_owned(),
                labels::VERSION => sum.version = value.to_owned(),
                _ => {}
            }
        }
        let counter =
            |(name, value): (&str, u64)| v1::CounterByName { name: name.to_owned(), value };
        sum.unresolved = unresolved.into_iter().map(counter).collect();
        sum.unresolved.sort_by_key(|counter| std::cmp::Reverse(counter.value));
        sum
    };
    sums.into_iter().map(finish).collect()
}

#[cfg(test)]
mod tests;
