//! Sums by function, from functions files where there are some.
//!
//! A functions file says of whole hours what reading the stacks would say, see `docs/adr/008-storage.md`.
//! It takes the place of the pairs it was made from; should it turn out to be damaged, they are read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fleetprof_proto::{labels, selector::MatchOp, symbol::Reason, v1};
use fleetprof_store::{
    Amounts, FunctionFile, FunctionId, FunctionKey, FunctionPiece, FunctionPlace, FunctionSum,
    OriginFilter, StoreError, split_functions,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts,
    reader::{self, Source},
};

/// Functions files that are read at the same time.
const AT_A_TIME: usize = 4;

/// What all functions take.
#[derive(Debug, Default)]
pub(super) struct Totals {
    by_id: HashMap<FunctionId, Total>,
    files: Vec<Arc<FunctionFile>>,
}

#[derive(Debug)]
struct Total {
    amounts: Amounts,
    name: Name,
    unnamed: Option<Reason>,
}

/// A function's name, or where it stands.
#[derive(Debug)]
enum Name {
    Known(FunctionKey),
    In(usize, FunctionPlace),
}

/// Takes out of a source what functions files say: they are given to the caller, and noted as read when
/// [`read`] succeeds.
pub(super) fn take(plan: &Plan, step: i64, source: &mut Source) -> Vec<FunctionPiece> {
    let is_kept = |name: &str| matches!(name, labels::SERVICE | labels::VERSION);
    if !plan.selector.matchers().iter().all(|matcher| is_kept(matcher.name())) {
        return Vec::new();
    }
    let (functions, others) = split_functions(std::mem::take(&mut source.pieces), step);
    source.pieces = others;
    functions
}

/// Which origins a plan wants, where it does not want all of its pairs.
pub(super) fn origins(plan: &Plan) -> Option<OriginFilter> {
    // Pairs are of one service each, and chosen by it.
    let is_chosen = |name: &str, op| name == labels::SERVICE && op == MatchOp::Equal;
    let matchers = plan.selector.matchers();
    if matchers.len() <= 1 && matchers.iter().all(|it| is_chosen(it.name(), it.op())) {
        return None;
    }
    let selector = plan.selector.clone();
    Some(OriginFilter::new(move |service, version| {
        selector.matches(|name| match name {
            labels::SERVICE => Some(service),
            labels::VERSION => version,
            _ => None,
        })
    }))
}

/// Reads functions files, some at a time, and hands what they say to `visit`, which answers how many
/// samples that is. Pairs of those that cannot be read go back into the source.
pub(super) fn read<T: Send + 'static, F>(
    parts: &QueryParts,
    functions: &[FunctionPiece],
    cancel: &CancellationToken,
    source: &mut Source,
    ask: impl Fn(FunctionPiece) -> F,
    mut visit: impl FnMut(&FunctionPiece, T) -> u64,
) -> Result<(), QueryError>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    for some in functions.chunks(AT_A_TIME) {
        reader::check_memory(parts.memory_limit)?;
        let answers = reader::wait(parts, cancel, async {
            let mut tasks = JoinSet::new();
            for (number, piece) in some.iter().enumerate() {
                let work = ask(piece.clone());
                tasks.spawn(async move { (number, work.await) });
            }
            let mut answers = Vec::with_capacity(some.len());
            while let Some(joined) = tasks.join_next().await {
                answers.push(joined.map_err(|_| StoreError::Panicked)?);
            }
            answers.sort_by_key(|(number, _)| *number);
            Ok(answers)
        })?;
        for ((_, answer), piece) in answers.into_iter().zip(some) {
            match answer {
                Ok(answer) => {
                    let samples = visit(piece, answer);
                    let coverage = &mut source.coverage;
                    piece.pieces.iter().for_each(|piece| coverage.read(&piece.file.file));
                    coverage.samples = coverage.samples.saturating_add(samples);
                }
                // The store has said why; the pairs say the same.
                Err(_) => source.pieces.extend(piece.pieces.iter().cloned()),
            }
        }
    }
    Ok(())
}

// === impl Totals ===

impl Totals {
    /// Takes out of a source what functions files say of all functions.
    pub(super) fn read(
        parts: &QueryParts,
        plan: &Plan,
        cancel: &CancellationToken,
        source: &mut Source,
    ) -> Result<Self, QueryError> {
        let mut totals = Self::default();
        let functions = take(plan, 0, source);
        let (store, filter) = (parts.store.clone(), origins(plan));
        let ask = move |piece: FunctionPiece| {
            let (store, wanted) = (store.clone(), piece.wanted(filter.clone()));
            async move { store.function_sums(&piece.file, wanted).await }
        };
        read(parts, &functions, cancel, source, ask, |piece, sums: Vec<FunctionSum>| {
            let file = totals.files.len();
            totals.files.push(piece.file.clone());
            let mut samples: u64 = 0;
            for sum in sums {
                samples = samples.saturating_add(sum.amounts.self_samples);
                totals.add(sum.id, sum.amounts, sum.unnamed, || Name::In(file, sum.place));
            }
            samples
        })?;
        Ok(totals)
    }

    /// Adds what a function takes.
    pub(super) fn count(&mut self, key: &FunctionKey, amounts: Amounts) {
        self.add(key.id(), amounts, key.unnamed, || Name::Known(key.clone()));
    }

    fn add(
        &mut self,
        id: FunctionId,
        amounts: Amounts,
        unnamed: Option<Reason>,
        name: impl FnOnce() -> Name,
    ) {
        let empty = || Total { amounts: Amounts::default(), name: name(), unnamed };
        self.by_id.entry(id).or_insert_with(empty).amounts.add(amounts);
    }

    /// CPU time of everything.
    pub(super) fn nanos(&self) -> u64 {
        let nanos = self.by_id.values().map(|total| total.amounts.self_nanos);
        nanos.fold(0, u64::saturating_add)
    }

    /// CPU of samples whose innermost frame has no name, by the reason why, most first.
    pub(super) fn unnamed(&self) -> Vec<v1::UnnamedUsage> {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for total in self.by_id.values().filter(|total| total.amounts.self_samples > 0) {
            if let Some(reason) = total.unnamed {
                let sum = sums.entry(reason.as_str()).or_default();
                *sum = sum.saturating_add(total.amounts.self_nanos);
            }
        }
        let usage = |(reason, self_nanos): (&str, u64)| v1::UnnamedUsage {
            reason: reason.to_owned(),
            self_nanos,
        };
        let mut unnamed: Vec<_> = sums.into_iter().map(usage).collect();
        unnamed.sort_by_key(|usage| std::cmp::Reverse(usage.self_nanos));
        unnamed
    }

    /// The functions with the most of `key`, all that have as much as the last one included; 0: all.
    /// `None` when a functions file turned out to be damaged.
    pub(super) fn most(
        self,
        parts: &QueryParts,
        cancel: &CancellationToken,
        limit: usize,
        key: impl Fn(&Amounts) -> (u64, u64),
    ) -> Result<Option<Vec<(FunctionKey, Amounts)>>, QueryError> {
        let mut totals: Vec<Total> = self.by_id.into_values().collect();
        if limit > 0 && totals.len() > limit {
            let mut keys: Vec<_> = totals.iter().map(|total| key(&total.amounts)).collect();
            let (_, least, _) = keys.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
            let least = *least;
            totals.retain(|total| key(&total.amounts) >= least);
        }
        let mut known = Vec::with_capacity(totals.len());
        let mut wanted: BTreeMap<usize, Vec<(FunctionPlace, Amounts)>> = BTreeMap::new();
        for total in totals {
            match total.name {
                Name::Known(key) => known.push((key, total.amounts)),
                Name::In(file, place) => {
                    wanted.entry(file).or_default().push((place, total.amounts));
                }
            }
        }
        for (file, mut rows) in wanted {
            rows.sort_by_key(|(place, _)| *place);
            let places = rows.iter().map(|(place, _)| *place).collect();
            let names = async { Ok(parts.store.function_names(&self.files[file], places).await) };
            match reader::wait(parts, cancel, names)? {
                Ok(names) => known.extend(names.into_iter().zip(rows.iter().map(|row| row.1))),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(known))
    }
}
