//! Functions with the most CPU.
//!
//! What a function is, and how its CPU is summed up, is the store's matter ([`FunctionSums`]): it sums up
//! what is merged beforehand.

use fleetprof_proto::{
    batch::Batch,
    symbol::{Reason, Symbol},
    v1,
};
use fleetprof_store::{Amounts, FunctionKey, FunctionSums, Functions, Stacks};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts,
    functions::Totals,
    missing,
    named::{self, Late, Naming},
    reader::{self, Need},
};

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    request: &v1::TopRequest,
    cancel: &CancellationToken,
) -> Result<v1::TopResponse, QueryError> {
    match attempt(parts, plan, request, cancel, true)? {
        Some(answer) => Ok(answer),
        // A functions file was damaged.
        None => attempt(parts, plan, request, cancel, false)?
            .ok_or_else(|| QueryError::Internal("functions without names".to_owned())),
    }
}

/// `None` when a functions file turned out to be damaged after it was read.
fn attempt(
    parts: &QueryParts,
    plan: &Plan,
    request: &v1::TopRequest,
    cancel: &CancellationToken,
    with_functions: bool,
) -> Result<Option<v1::TopResponse>, QueryError> {
    let need = Need { stacks: Stacks::Whole, ..Need::default() };
    let mut source = reader::begin(parts, plan, &need, cancel)?;
    let mut totals = Totals::default();
    if with_functions {
        totals = Totals::read(parts, plan, cancel, &mut source)?;
    }
    let require = |coverage: &_| missing::require_service(parts, plan, coverage, cancel);
    let naming = Naming { late: Late::Wait, keep: named::no_labels, require };
    let named = named::read_source(parts, plan, &need, cancel, source, naming)?;
    for (key, amounts) in usage(&named.batch, &named.symbols) {
        totals.count(key, amounts);
    }
    let (total_nanos, unnamed) = (totals.nanos(), totals.unnamed());
    let by_self = request.order() == v1::TopOrder::Self_;
    let key = |amounts: &Amounts| match by_self {
        true => (amounts.self_nanos, amounts.total_nanos),
        false => (amounts.total_nanos, amounts.self_nanos),
    };
    let limit = request.limit as usize;
    let Some(mut rows) = totals.most(parts, cancel, limit, key)? else { return Ok(None) };
    rows.sort_by(|(a, a_amounts), (b, b_amounts)| {
        let texts =
            |key: &FunctionKey| (key.function.clone(), key.file.clone(), key.module.clone());
        key(b_amounts).cmp(&key(a_amounts)).then_with(|| texts(a).cmp(&texts(b)))
    });
    if limit > 0 {
        rows.truncate(limit);
    }
    Ok(Some(v1::TopResponse {
        functions: rows.into_iter().map(wire).collect(),
        total_nanos,
        unnamed,
        coverage: Some(named.coverage.into_wire()),
    }))
}

/// Sums up every function of a batch; `symbols` is parallel to its frame rows.
fn usage(batch: &Batch, symbols: &[Symbol]) -> Vec<(FunctionKey, Amounts)> {
    let mut functions = Functions::default();
    let mut sums = FunctionSums::new(batch, symbols, &mut functions);
    for sample in batch.samples() {
        sums.count(sample.stack, sample.count, sample.nanos);
    }
    let sums = sums.take();
    let keys = functions.keys();
    sums.into_iter().map(|(number, amounts)| (keys[number].clone(), amounts)).collect()
}

fn wire((key, amounts): (FunctionKey, Amounts)) -> v1::FunctionUsage {
    v1::FunctionUsage {
        function: key.function,
        file: key.file,
        module: key.module,
        unnamed_reason: key.unnamed.map_or("", Reason::as_str).to_owned(),
        self_nanos: amounts.self_nanos,
        total_nanos: amounts.total_nanos,
    }
}

#[cfg(test)]
mod tests;
