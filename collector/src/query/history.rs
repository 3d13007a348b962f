//! One function over time.
//!
//! What functions files say of hours is taken from them; other pairs are read with their stacks. Several
//! functions of the name (in different files or modules) are added up, as the rows of `top` would be: a
//! sample with two of them on its stack counts for both.

use std::{collections::BTreeMap, sync::Arc};

use fleetprof_proto::{labels, symbol::Symbol, v1};
use fleetprof_store::{
    Amounts, FunctionHistory, FunctionPiece, FunctionSums, Functions, HOUR, Stacks, Table, midpoint,
};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts, functions, missing,
    reader::{self, Need, Source},
    series::{Builder, Sum, first_step},
};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub function: &'a str,
    /// Labels to split by.
    pub group_by: &'a [String],
    /// Width of a step, nanoseconds; 0: chosen here.
    pub step: i64,
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    asked: &Asked<'_>,
    cancel: &CancellationToken,
) -> Result<v1::SeriesResponse, QueryError> {
    let step = first_step(plan, asked.step)?;
    // Where points are of whole hours.
    let widened = (step % HOUR == 0).then(|| plan.clone().widened());
    let plan = widened.as_ref().unwrap_or(plan);
    let mut builder = Builder::new(step);
    let need = Need {
        labels: asked.group_by.iter().map(String::as_str).collect(),
        step,
        stacks: Stacks::Whole,
        ..Need::default()
    };
    let mut source = reader::begin(parts, plan, &need, cancel)?;
    read_functions(parts, plan, asked, cancel, &mut source, &mut builder)?;
    let mut problems = Vec::new();
    let mut coverage = reader::visit_all(parts, plan, &need, cancel, source, |table| {
        // Names are waited for once: tables of the same age lack the same ones.
        let resolved = match problems.is_empty() {
            true => parts.symbols.resolve(&table.code, cancel),
            false => parts.symbols.resolve_now(&table.code, cancel),
        };
        problems.extend(resolved.problems);
        if cancel.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        add_table(table, &resolved.symbols, plan, asked, &mut builder)
    })?;
    problems.into_iter().for_each(|problem| coverage.damage(problem));
    missing::require_service(parts, plan, &coverage, cancel)?;
    let step_nanos = builder.step;
    Ok(v1::SeriesResponse {
        series: builder.finish(),
        step_nanos,
        coverage: Some(coverage.into_wire()),
    })
}

/// Takes out of a source what functions files say.
fn read_functions(
    parts: &QueryParts,
    plan: &Plan,
    asked: &Asked<'_>,
    cancel: &CancellationToken,
    source: &mut Source,
    builder: &mut Builder,
) -> Result<(), QueryError> {
    let is_kept = |name: &String| matches!(name.as_str(), labels::SERVICE | labels::VERSION);
    if !asked.group_by.iter().all(is_kept) {
        return Ok(());
    }
    let functions = functions::take(plan, builder.step, source);
    let (store, known) = (parts.store.clone(), parts.known.clone());
    let (filter, function) = (functions::origins(plan), asked.function.to_owned());
    let ask = move |piece: FunctionPiece| {
        let is_whole = filter.is_none() && piece.is_whole();
        let (store, wanted) = (store.clone(), piece.wanted(filter.clone()));
        let (known, function) = (known.clone(), function.clone());
        async move {
            let id = piece.file.id;
            if let Some(found) = is_whole.then(|| known.functions.history(id, &function)).flatten()
            {
                return Ok(found);
            }
            let found = store.function_history(&piece.file, &function, wanted).await?;
            let found = Arc::new(found);
            if is_whole {
                known.functions.put_history(id, function, found.clone());
            }
            Ok(found)
        }
    };
    let mut failure = None;
    type Found = Arc<Vec<FunctionHistory>>;
    functions::read(parts, &functions, cancel, source, ask, |_, found: Found| {
        let mut samples: u64 = 0;
        for history in &*found {
            let value = |name: &String| match name.as_str() {
                labels::SERVICE => history.service.clone(),
                _ => history.version.clone().unwrap_or_default(),
            };
            let values: Vec<String> = asked.group_by.iter().map(value).collect();
            for (hour, amounts) in &history.hours {
                let amounts = *amounts;
                samples = samples.saturating_add(amounts.total_samples);
                let added = builder.add(&values, hour.saturating_add(HOUR / 2), amounts.into());
                failure = failure.take().or(added.err());
            }
        }
        samples
    })?;
    failure.map_or(Ok(()), Err)
}

/// Adds what a table has of the function; answers how many samples that is.
fn add_table(
    table: &Table,
    symbols: &[Symbol],
    plan: &Plan,
    asked: &Asked<'_>,
    builder: &mut Builder,
) -> Result<u64, QueryError> {
    let values: Vec<Option<Vec<String>>> = (0..table.code.origin_count())
        .map(|origin| {
            let labels: BTreeMap<_, _> = table.code.origin_labels(origin).collect();
            let value = |name: &String| labels.get(name.as_str()).copied().unwrap_or("");
            let matches = plan.selector.matches(|name| labels.get(name).copied());
            matches.then(|| asked.group_by.iter().map(value).map(str::to_owned).collect())
        })
        .collect();
    let mut rows: Vec<_> =
        table.rows.iter().filter(|row| values[row.origin as usize].is_some()).collect();
    let place = |row: &fleetprof_store::Row| {
        (row.origin, row.window.start_unix_nanos, row.window.end_unix_nanos)
    };
    rows.sort_by_key(|row| place(row));
    let mut functions = Functions::default();
    let mut matched: u64 = 0;
    let mut sums = FunctionSums::new(&table.code, symbols, &mut functions);
    for rows in rows.chunk_by(|a, b| place(a) == place(b)) {
        for row in rows {
            sums.count(row.stack as usize, row.samples, row.nanos);
        }
        let mut sum = Amounts::default();
        for (function, amounts) in sums.take() {
            if sums.key(function).function == asked.function {
                sum.add(amounts);
            }
        }
        let first = rows[0];
        if let (Some(values), true) = (&values[first.origin as usize], sum.total_samples > 0) {
            builder.widen(first.window.end_unix_nanos - first.window.start_unix_nanos);
            builder.add(values, midpoint(first.window), sum.into())?;
            matched = matched.saturating_add(sum.total_samples);
        }
    }
    Ok(matched)
}

// === impl Sum ===

impl From<Amounts> for Sum {
    fn from(amounts: Amounts) -> Self {
        Self {
            nanos: amounts.total_nanos,
            samples: amounts.total_samples,
            self_nanos: amounts.self_nanos,
        }
    }
}
