//! Names of labels, or the values of one.

use std::collections::BTreeSet;

use fleetprof_proto::{labels, v1};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts,
    coverage::Coverage,
    missing,
    reader::{self, Need},
};

/// Most values in one answer.
const MAX_VALUES: usize = 100_000;

/// Values of a label, or names of labels where its name is empty.
struct Values<'a> {
    name: &'a str,
    found: BTreeSet<String>,
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    name: &str,
    cancel: &CancellationToken,
) -> Result<v1::LabelsResponse, QueryError> {
    let mut values = Values { name, found: BTreeSet::new() };
    let coverage = match name {
        labels::SERVICE => {
            let add = |service: &str, _, _| values.add(service);
            let coverage = reader::for_each_service(parts, plan, cancel, add)?;
            values.check()?;
            coverage
        }
        _ => of_origins(parts, plan, cancel, &mut values)?,
    };
    missing::require_service(parts, plan, &coverage, cancel)?;
    let values = values.found.into_iter().collect();
    Ok(v1::LabelsResponse { values, coverage: Some(coverage.into_wire()) })
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
