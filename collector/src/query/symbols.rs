//! How much of the code of each service has names.
//!
//! Every frame of every sample counts: what is seen often matters often. Inlined functions are part of
//! the frame they were inlined into.

use std::collections::{BTreeMap, HashMap};

use fleetprof_proto::{
    batch::{Batch, BatchBuilder, StackIndex},
    labels,
    symbol::Symbol,
    v1,
};
use fleetprof_store::{Piece, Row, Stacks, Table};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, Queries, QueryError, QueryParts, missing,
    named::{self, Late},
    reader::{self, Need},
};
use crate::metrics::Method;

/// What services are split by.
const KEPT: [&str; 2] = [labels::SERVICE, labels::VERSION];
/// Rows of samples, and files with a service, that are enough to know shares.
const ENOUGH_ROWS: u64 = 200_000;
const ENOUGH_FILES: u32 = 2;

// === impl Queries ===

impl Queries {
    /// How much of the code of each service has names now, symbol tables that are still being made left
    /// out; of as many files of the range as it takes to tell.
    ///
    /// # Errors
    /// When time is up.
    pub async fn symbol_quality(&self, plan: Plan) -> Result<Vec<v1::SymbolQuality>, QueryError> {
        let query = move |parts: &_, cancel: &_| run(parts, &plan, cancel, Late::Leave, Look::Some);
        Ok(self.run(Method::Symbols, query).await?.services)
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    All,
    /// As many files as it takes to know shares. Nobody will ask for the same again.
    Some,
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
    late: Late,
    look: Look,
) -> Result<v1::SymbolsResponse, QueryError> {
    let once = look == Look::Some;
    let need = Need { labels: KEPT.to_vec(), stacks: Stacks::Frames, once, ..Need::default() };
    let mut source = reader::begin(parts, plan, &need, cancel)?;
    if look == Look::Some {
        fastrand::shuffle(&mut source.pieces);
        source.pieces = enough(source.pieces);
    }
    let mut merged = BatchBuilder::new();
    let coverage = reader::visit_all(parts, plan, &need, cancel, source, |table| {
        table.add_to(&mut merged, |labels| {
            plan.selector.matches(|name| labels.get(name).copied()).then(|| {
                let kept = KEPT.iter().filter_map(|name| Some((*name, *labels.get(name)?)));
                kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
            })
        });
        Ok(samples(table, plan))
    })?;
    missing::require_service(parts, plan, &coverage, cancel)?;
    let named = named::name(parts, cancel, merged, coverage, late)?;
    let mut services: Vec<_> = quality(&named.batch, &named.symbols);
    services.sort_by(|a, b| {
        let key = |it: &v1::SymbolQuality| (it.service.clone(), it.version.clone());
        b.frames.cmp(&a.frames).then_with(|| key(a).cmp(&key(b)))
    });
    Ok(v1::SymbolsResponse { services, coverage: Some(named.coverage.into_wire()) })
}

/// All files while they are small, and each service in two of them.
fn enough(pieces: Vec<Piece>) -> Vec<Piece> {
    let (mut rows, mut seen) = (0_u64, HashMap::<String, u32>::new());
    let mut is_needed = |piece: &Piece| {
        let file = &piece.file.file;
        let few = |name| seen.get(name).is_none_or(|count| *count < ENOUGH_FILES);
        let is_needed = rows < ENOUGH_ROWS || file.services.iter().any(|it| few(&it.service));
        if is_needed {
            rows = rows.saturating_add(file.rows);
            for it in &file.services {
                *seen.entry(it.service.clone()).or_default() += 1;
            }
        }
        is_needed
    };
    pieces.into_iter().filter(|piece| is_needed(piece)).collect()
}

/// How many samples of a table of frames match: those without a stack, the others are frames.
fn samples(table: &Table, plan: &Plan) -> u64 {
    let matches: Vec<bool> = (0..table.code.origin_count())
        .map(|origin| {
            let labels: BTreeMap<_, _> = table.code.origin_labels(origin).collect();
            plan.selector.matches(|name| labels.get(name).copied())
        })
        .collect();
    let is_sample =
        |row: &&Row| row.stack == StackIndex::EMPTY.row() && matches[row.origin as usize];
    table.rows.iter().filter(is_sample).fold(0, |sum, row| sum.saturating_add(row.samples))
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
