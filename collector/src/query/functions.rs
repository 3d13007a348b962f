//! Sums by function, from functions files where there are some.
//!
//! A functions file says of whole hours what reading the stacks would say, see `docs/adr/008-storage.md`.
//! It takes the place of the pairs it was made from; should it turn out to be damaged, they are read.

mod known;
mod totals;

use fleetprof_proto::{labels, selector::MatchOp};
use fleetprof_store::{FunctionPiece, OriginFilter, StoreError, split_functions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts,
    reader::{self, Source},
};

pub(super) use known::KnownFunctions;
pub(super) use totals::Totals;

/// Functions files that are read at the same time.
const AT_A_TIME: usize = 4;

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
