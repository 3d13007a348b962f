//! Nothing was found: what there is instead.

use std::collections::BTreeSet;

use fleetprof_proto::{labels, time_range::format_instant};
use tokio_util::sync::CancellationToken;

use super::{Plan, QueryError, QueryParts, coverage::Coverage, reader};

/// Services that an error names.
const NAMED_SERVICES: usize = 10;

/// An error when a service was asked for by name and has no samples in the range.
pub(super) fn require_service(
    parts: &QueryParts,
    plan: &Plan,
    coverage: &Coverage,
    cancel: &CancellationToken,
) -> Result<(), QueryError> {
    let Some(service) = plan.selector.required(labels::SERVICE) else { return Ok(()) };
    if coverage.samples > 0 {
        return Ok(());
    }
    let services = services(parts, plan, cancel)?;
    if services.contains(service) {
        return Ok(());
    }
    Err(QueryError::NotFound(format!(
        "no service {service:?} between {}",
        describe(plan, &services, service)
    )))
}

/// An error when nothing matches.
pub(super) fn require_samples(
    parts: &QueryParts,
    plan: &Plan,
    coverage: &Coverage,
    cancel: &CancellationToken,
) -> Result<(), QueryError> {
    if coverage.samples > 0 {
        return Ok(());
    }
    let services = services(parts, plan, cancel)?;
    if services.is_empty() {
        let (from, to) = range_text(plan);
        let status = reader::wait(parts, cancel, parts.store.status())?;
        let held = match status.window {
            None => "the collector has no data at all yet".to_owned(),
            Some((start, end)) => format!(
                "the collector has data from {} to {}",
                format_instant(start),
                format_instant(end)
            ),
        };
        return Err(QueryError::NotFound(format!("no samples between {from} and {to}; {held}")));
    }
    require_service(parts, plan, coverage, cancel)?;
    Err(QueryError::NotFound(format!(
        "no samples match {} between {}",
        plan.selector,
        describe(plan, &services, "")
    )))
}

/// The services with data in the range.
fn services(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<BTreeSet<String>, QueryError> {
    let range = (plan.range.start_unix_nanos(), plan.range.end_unix_nanos());
    let files = reader::wait(parts, cancel, parts.store.files(None, range))?;
    let services = files.iter().flat_map(|row| &row.file.services);
    Ok(services.map(|sum| sum.service.clone()).collect())
}

fn range_text(plan: &Plan) -> (String, String) {
    (format_instant(plan.range.start_unix_nanos()), format_instant(plan.range.end_unix_nanos()))
}

/// The range, and the services in it, those most like `like` first.
fn describe(plan: &Plan, services: &BTreeSet<String>, like: &str) -> String {
    let (from, to) = range_text(plan);
    if services.is_empty() {
        return format!("{from} and {to}, nor any other service");
    }
    let mut services: Vec<&str> = services.iter().map(String::as_str).collect();
    if !like.is_empty() {
        services.sort_by_cached_key(|service| difference(service, like));
    }
    let named = services.iter().take(NAMED_SERVICES).copied().collect::<Vec<_>>().join(", ");
    let more = match services.len().saturating_sub(NAMED_SERVICES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{from} and {to}; services there: {named}{more}")
}

/// How little two names are alike: 0 when one contains the other, else the number of edits.
pub(super) fn difference(a: &str, b: &str) -> usize {
    if a.contains(b) || b.contains(a) {
        return 0;
    }
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
