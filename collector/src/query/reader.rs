//! Reads the batches of a plan, one at a time.

use std::collections::BTreeMap;

use fleetprof_proto::{
    batch::{self, Batch, Limits},
    labels,
    time_range::format_instant,
};
use tokio_util::sync::CancellationToken;

use super::{Plan, QueryError, QueryParts, coverage::Coverage};
use crate::{memory, store::Store};

/// What was stored passed the limits when it came in.
const NO_LIMITS: Limits = Limits { max_payload_bytes: usize::MAX, max_raw_bytes: u64::MAX - 1 };
/// Services that an error names.
const NAMED_SERVICES: usize = 10;

/// The samples of one origin.
pub(super) struct OriginSum<'a> {
    /// All labels, the batch's shared ones included.
    pub labels: BTreeMap<&'a str, &'a str>,
    pub samples: u64,
    pub nanos: u64,
}

/// Hands every batch of the range to `visit`, which answers how many samples matched.
pub(super) fn for_each(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
    mut visit: impl FnMut(&Batch) -> Result<u64, QueryError>,
) -> Result<Coverage, QueryError> {
    let mut coverage = Coverage::new(plan.range);
    for scanned in parts.store.scan(plan.range) {
        if cancel.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        check_memory(parts.memory_limit)?;
        let opened = scanned.and_then(|sealed| {
            let opened = batch::open(&sealed, NO_LIMITS);
            opened.map_err(|error| format!("batch {}: {error}", sealed.sequence))
        });
        match opened {
            Ok((id, batch)) => {
                coverage.read(id, &batch);
                note_services(&batch, &mut coverage);
                coverage.samples = coverage.samples.saturating_add(visit(&batch)?);
            }
            Err(damage) => coverage.damage(damage),
        }
    }
    Ok(coverage)
}

/// What a query holds grows with the distinct code in its range, which hosts decide. Asked per batch:
/// it costs far less than opening one.
fn check_memory(limit: u64) -> Result<(), QueryError> {
    match memory::own_bytes() {
        Some(used) if used > limit => Err(QueryError::Memory { used, limit }),
        _ => Ok(()),
    }
}

fn note_services(batch: &Batch, coverage: &mut Coverage) {
    let shared = batch.labels().find(|(name, _)| *name == labels::SERVICE);
    for origin in 0..batch.origin_count() {
        let own = batch.origin_labels(origin).find(|(name, _)| *name == labels::SERVICE);
        if let Some((_, service)) = own.or(shared) {
            coverage.service(service);
        }
    }
}

/// The sums of the origins that match, from a batch that is only looked at by labels.
pub(super) fn matching_origins<'a>(batch: &'a Batch, plan: &Plan) -> Vec<OriginSum<'a>> {
    let mut sums = vec![(0_u64, 0_u64); batch.origin_count()];
    for row in batch.samples() {
        let sum = &mut sums[row.origin];
        *sum = (sum.0.saturating_add(row.count), sum.1.saturating_add(row.nanos));
    }
    let origin = |(origin, (samples, nanos))| {
        let labels: BTreeMap<_, _> = batch.labels().chain(batch.origin_labels(origin)).collect();
        let matches = plan.selector.matches(|name| labels.get(name).copied());
        (samples > 0 && matches).then_some(OriginSum { labels, samples, nanos })
    };
    sums.into_iter().enumerate().filter_map(origin).collect()
}

/// An error when a service was asked for by name and has no samples in the range.
pub(super) fn require_service(plan: &Plan, coverage: &Coverage) -> Result<(), QueryError> {
    let Some(service) = plan.selector.required(labels::SERVICE) else { return Ok(()) };
    if coverage.samples > 0 || coverage.services.contains(service) {
        return Ok(());
    }
    Err(QueryError::NotFound(format!(
        "no service {service:?} between {}",
        describe_services(plan, coverage, service)
    )))
}

/// An error when nothing matches.
pub(super) fn require_samples(
    store: &dyn Store,
    plan: &Plan,
    coverage: &Coverage,
) -> Result<(), QueryError> {
    if coverage.samples > 0 {
        return Ok(());
    }
    if coverage.services.is_empty() {
        let (from, to) = range_text(plan);
        let held = match store.status().window {
            None => "the collector has no data at all yet".to_owned(),
            Some(window) => format!(
                "the collector has data from {} to {}",
                format_instant(window.start_unix_nanos),
                format_instant(window.end_unix_nanos)
            ),
        };
        return Err(QueryError::NotFound(format!("no samples between {from} and {to}; {held}")));
    }
    require_service(plan, coverage)?;
    Err(QueryError::NotFound(format!(
        "no samples match {} between {}",
        plan.selector,
        describe_services(plan, coverage, "")
    )))
}

fn range_text(plan: &Plan) -> (String, String) {
    (format_instant(plan.range.start_unix_nanos()), format_instant(plan.range.end_unix_nanos()))
}

/// The range, and the services in it, those most like `like` first.
fn describe_services(plan: &Plan, coverage: &Coverage, like: &str) -> String {
    let (from, to) = range_text(plan);
    if coverage.services.is_empty() {
        return format!("{from} and {to}, nor any other service");
    }
    let mut services: Vec<&str> = coverage.services.iter().map(String::as_str).collect();
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
