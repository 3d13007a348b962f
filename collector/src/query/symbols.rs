//! How much of the code of each service has names.
//!
//! Every frame of every sample counts: what is seen often matters often. Inlined functions are part of
//! the frame they were inlined into.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleetprof_proto::{
    batch::{Batch, BatchBuilder, StackIndex},
    labels,
    symbol::Symbol,
    v1,
};
use fleetprof_store::{NewFile, Piece, Row, ServiceSum, Stacks, Table};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, Queries, QueryError, QueryParts, missing,
    named::{self, Late},
    reader::{self, Need, Source},
};
use crate::metrics::Method;

/// What services are split by.
const KEPT: [&str; 2] = [labels::SERVICE, labels::VERSION];
/// Rows of samples, and files with a service, that are enough to know shares.
const ENOUGH_ROWS: u64 = 200_000;
const ENOUGH_FILES: u32 = 2;
/// About how many rows are looked at at a time: a busy collector has better use for memory than what nobody
/// waits for.
const ROWS_AT_A_TIME: u64 = 40_000;

// === impl Queries ===

impl Queries {
    /// How much of the code of each service has names now, symbol tables that are still being made left
    /// out; of as many files of the range as it takes to tell.
    ///
    /// # Errors
    /// When time is up.
    pub async fn symbol_quality(&self, plan: Plan) -> Result<Vec<v1::SymbolQuality>, QueryError> {
        let query = move |parts: &_, cancel: &_| look(parts, &plan, cancel, ROWS_AT_A_TIME);
        self.run(Method::Symbols, query).await
    }
}

/// How much of the code of each service has names, of all samples that match.
pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<v1::SymbolsResponse, QueryError> {
    let need = Need { labels: KEPT.to_vec(), stacks: Stacks::Frames, ..Need::default() };
    let mut merged = BatchBuilder::new();
    let coverage =
        reader::for_each(parts, plan, &need, cancel, |table| Ok(merge(&mut merged, table, plan)))?;
    missing::require_service(parts, plan, &coverage, cancel)?;
    let named = named::name(parts, cancel, merged, coverage, Late::Wait)?;
    let mut qualities = Qualities::default();
    qualities.add(&named.batch, &named.symbols);
    Ok(v1::SymbolsResponse {
        services: qualities.finish(),
        coverage: Some(named.coverage.into_wire()),
    })
}

/// The same of some files, services of about so many rows at a time, and of what has names now. Nothing is
/// remembered for it.
pub(super) fn look(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
    rows: u64,
) -> Result<Vec<v1::SymbolQuality>, QueryError> {
    let need =
        Need { labels: KEPT.to_vec(), stacks: Stacks::Frames, once: true, ..Need::default() };
    let Source { mut pieces, mut coverage } = reader::begin(parts, plan, &need, cancel)?;
    fastrand::shuffle(&mut pieces);
    let mut qualities = Qualities::default();
    for piece in enough(pieces) {
        for services in portions(&piece.file.file, rows) {
            let need = Need { services: Some(services), ..need.clone() };
            let source = Source { pieces: vec![piece.clone()], coverage };
            let mut merged = BatchBuilder::new();
            let read = reader::visit_all(parts, plan, &need, cancel, source, |table| {
                Ok(merge(&mut merged, table, plan))
            })?;
            let named = named::name(parts, cancel, merged, read, Late::Leave)?;
            qualities.add(&named.batch, &named.symbols);
            coverage = named.coverage;
        }
    }
    Ok(qualities.finish())
}

/// Adds the frames of what matches, by the labels that are kept. Returns how many samples match.
fn merge(merged: &mut BatchBuilder, table: &Table, plan: &Plan) -> u64 {
    table.add_to(merged, |labels| {
        plan.selector.matches(|name| labels.get(name).copied()).then(|| {
            let kept = KEPT.iter().filter_map(|name| Some((*name, *labels.get(name)?)));
            kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        })
    });
    samples(table, plan)
}

/// The services of a file, in portions of about so many rows: what a service has of the samples, it has of the
/// rows.
fn portions(file: &NewFile, most: u64) -> Vec<BTreeSet<String>> {
    let samples = file.services.iter().fold(0_u64, |sum, it| sum.saturating_add(it.samples));
    let rows = |it: &ServiceSum| {
        let rows = u128::from(file.rows) * u128::from(it.samples) / u128::from(samples.max(1));
        u64::try_from(rows).unwrap_or(u64::MAX)
    };
    let (mut portions, mut of_last) = (Vec::<BTreeSet<String>>::new(), 0_u64);
    for it in &file.services {
        of_last = of_last.saturating_add(rows(it));
        match portions.last_mut().filter(|_| of_last <= most) {
            Some(portion) => {
                portion.insert(it.service.clone());
            }
            None => {
                portions.push(BTreeSet::from([it.service.clone()]));
                of_last = rows(it);
            }
        }
    }
    portions
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

/// Sums up frames by service and version.
#[derive(Default)]
struct Qualities(BTreeMap<(String, String), Quality>);

#[derive(Default)]
struct Quality {
    frames: u64,
    named: u64,
    with_lines: u64,
    /// By the reason why.
    unresolved: BTreeMap<&'static str, u64>,
}

// === impl Qualities ===

impl Qualities {
    /// Adds the samples of a batch; `symbols` is parallel to its frame rows.
    fn add(&mut self, batch: &Batch, symbols: &[Symbol]) {
        let mut of_origins: Vec<Quality> = Vec::new();
        of_origins.resize_with(batch.origin_count(), Quality::default);
        for sample in batch.samples() {
            let quality = &mut of_origins[sample.origin];
            for frame in batch.stack_frames(sample.stack) {
                if let Some(symbol) = symbols.get(frame) {
                    quality.add(symbol, sample.count);
                }
            }
        }
        for (origin, of_origin) in of_origins.into_iter().enumerate() {
            let labels: BTreeMap<_, _> =
                batch.labels().chain(batch.origin_labels(origin)).collect();
            let value = |name| labels.get(name).copied().unwrap_or_default().to_owned();
            let key = (value(labels::SERVICE), value(labels::VERSION));
            self.0.entry(key).or_default().add_all(of_origin);
        }
    }

    /// Those with most frames first.
    fn finish(self) -> Vec<v1::SymbolQuality> {
        let mut services: Vec<_> = self.0.into_iter().map(|it| it.1.into_wire(it.0)).collect();
        services.sort_by_key(|it| std::cmp::Reverse(it.frames));
        services
    }
}

// === impl Quality ===

impl Quality {
    fn add(&mut self, symbol: &Symbol, count: u64) {
        self.frames = self.frames.saturating_add(count);
        match symbol {
            Symbol::Named(lines) => {
                self.named = self.named.saturating_add(count);
                if lines.first().is_some_and(|line| line.line > 0) {
                    self.with_lines = self.with_lines.saturating_add(count);
                }
            }
            Symbol::Unknown(reason) => self.add_unresolved(reason.as_str(), count),
        }
    }

    fn add_unresolved(&mut self, reason: &'static str, count: u64) {
        let sum = self.unresolved.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }

    fn add_all(&mut self, other: Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.named = self.named.saturating_add(other.named);
        self.with_lines = self.with_lines.saturating_add(other.with_lines);
        other.unresolved.into_iter().for_each(|(reason, count)| self.add_unresolved(reason, count));
    }

    fn into_wire(self, (service, version): (String, String)) -> v1::SymbolQuality {
        let counter =
            |(name, value): (&str, u64)| v1::CounterByName { name: name.to_owned(), value };
        let mut unresolved: Vec<_> = self.unresolved.into_iter().map(counter).collect();
        unresolved.sort_by_key(|counter| std::cmp::Reverse(counter.value));
        let Self { frames, named, with_lines, .. } = self;
        v1::SymbolQuality { service, version, frames, named, with_lines, unresolved }
    }
}

#[cfg(test)]
mod tests;
