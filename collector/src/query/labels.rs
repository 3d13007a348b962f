//! Names of labels, or the values of one.

use fleetprof_proto::{labels, selector::MatchOp, time_range::format_instant, v1};
use fleetprof_store::{DAY, HOUR, Level, Piece, StoreError};
use hashbrown::HashSet;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Plan, QueryError, QueryParts,
    coverage::Coverage,
    missing,
    reader::{self, Need, Source},
};

/// Most values in one answer.
const MAX_VALUES: usize = 100_000;

/// Values of a label, or names of labels where its name is empty.
struct Values<'a> {
    name: &'a str,
    found: HashSet<String>,
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    name: &str,
    cancel: &CancellationToken,
) -> Result<v1::LabelsResponse, QueryError> {
    let mut values = Values { name, found: HashSet::new() };
    let coverage = match name {
        labels::SERVICE => {
            let add = |service: &str, _, _| values.add(service);
            let coverage = reader::for_each_service(parts, plan, cancel, add)?;
            values.check()?;
            coverage
        }
        _ => match indexed(plan, name) {
            Some(service) => of_days(parts, plan, &service, cancel, &mut values)?,
            None => of_origins(parts, plan, cancel, &mut values)?,
        },
    };
    missing::require_service(parts, plan, &coverage, cancel)?;
    let mut values: Vec<_> = values.found.into_iter().collect();
    values.sort_unstable();
    Ok(v1::LabelsResponse { values, coverage: Some(coverage.into_wire()) })
}

/// The service, or nothing for all of them, of a question that the catalog can answer: for a label that only fine
/// files keep, in days of which there may be thousands.
fn indexed(plan: &Plan, name: &str) -> Option<String> {
    let is_kept = Level::Hourly.labels().is_none_or(|kept| kept.contains(&name));
    if is_kept || name.is_empty() || plan.range.nanos() < DAY.unsigned_abs() {
        return None;
    }
    match plan.selector.matchers() {
        [] => Some(String::new()),
        [one] => {
            let service = plan.selector.required(labels::SERVICE)?;
            let is_one = one.op() == MatchOp::Equal && !service.is_empty();
            is_one.then(|| service.to_owned())
        }
        _ => None,
    }
}

/// The values of a label on the days of a range as the catalog has them.
fn of_days(
    parts: &QueryParts,
    plan: &Plan,
    service: &str,
    cancel: &CancellationToken,
    values: &mut Values<'_>,
) -> Result<Coverage, QueryError> {
    let range = (plan.range.start_unix_nanos(), plan.range.end_unix_nanos());
    let (store, service, name) = (parts.store.clone(), service.to_owned(), values.name.to_owned());
    let answer = async move { store.label_values(&service, &name, range).await };
    // Meanwhile:
    let answer = AbortOnDropHandle::new(parts.runtime.spawn(answer));
    let mut coverage = reader::for_each_service(parts, plan, cancel, |_, _, _| {})?;
    let answer = async { answer.await.unwrap_or(Err(StoreError::Panicked)) };
    let answer = reader::wait(parts, cancel, answer)?;
    answer.values.iter().for_each(|value| values.add(value));
    values.check()?;
    let first = answer.first.unwrap_or(range.1);
    // Windows may begin before the hour that they are of.
    let start = coverage.window().start_unix_nanos;
    if coverage.samples > 0 && start.saturating_add(HOUR) < first {
        coverage.damage(format!(
            "data from before {} have no label {}: finer data are not kept so long",
            format_instant(first),
            values.name
        ));
    }
    // Files that were written before the catalog had values, or imported, or that have too many.
    let mut pieces = Vec::new();
    for file in answer.unknown {
        match file.damage() {
            Some(damage) => coverage.damage(damage),
            None => pieces.push(Piece { file, range }),
        }
    }
    let need = Need { labels: vec![values.name], ..Need::default() };
    let source = Source { pieces, coverage: Coverage::new(plan.range) };
    let read = reader::visit_all(parts, plan, &need, cancel, source, |table| {
        for origin in reader::matching_origins(table, plan) {
            origin.label(values.name).into_iter().for_each(|value| values.add(value));
        }
        values.check()?;
        Ok(0)
    })?;
    // Their samples are counted, but not what could not be read.
    read.into_damaged().into_iter().for_each(|damage| coverage.damage(damage));
    Ok(coverage)
}

/// Reads the values of a label, or the names of all.
fn of_origins(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
    values: &mut Values<'_>,
) -> Result<Coverage, QueryError> {
    // The names are those of the level that is read: hosts are not kept for ever.
    let need = match values.name {
        "" => Need { all_labels: true, ..Need::default() },
        name => Need { labels: vec![name], ..Need::default() },
    };
    reader::for_each(parts, plan, &need, cancel, |table| {
        let mut matched = 0_u64;
        for origin in reader::matching_origins(table, plan) {
            matched = matched.saturating_add(origin.samples);
            for (label, value) in origin.labels {
                match values.name {
                    "" => values.add(label),
                    name if name == label => values.add(value),
                    _ => {}
                }
            }
        }
        values.check()?;
        Ok(matched)
    })
}

// === impl Values ===

impl Values<'_> {
    fn add(&mut self, value: &str) {
        if !self.found.contains(value) {
            self.found.insert(value.to_owned());
        }
    }

    fn check(&self) -> Result<(), QueryError> {
        if self.found.len() <= MAX_VALUES {
            return Ok(());
        }
        Err(QueryError::TooLarge(format!(
            "label {:?} has more than {MAX_VALUES} values: narrow the selector or the range",
            self.name
        )))
    }
}
