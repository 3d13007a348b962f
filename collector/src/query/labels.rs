//! Names of labels, or the values of one.

use std::collections::BTreeSet;

use fleetprof_proto::v1;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts, missing,
    reader::{self, Need},
};

/// Most values in one answer.
const MAX_VALUES: usize = 100_000;

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    name: &str,
    cancel: &CancellationToken,
) -> Result<v1::LabelsResponse, QueryError> {
    let mut values: BTreeSet<String> = BTreeSet::new();
    // The names are those of the level that is read: hosts are not kept for ever.
    let need = match name {
        "" => Need { all_labels: true, ..Need::default() },
        name => Need { labels: vec![name], ..Need::default() },
    };
    let coverage = reader::for_each(parts, plan, &need, cancel, |table| {
        let mut matched = 0;
        for origin in reader::matching_origins(table, plan) {
            matched += origin.samples;
            let found = origin.labels.iter().filter_map(|(label, value)| match name {
                "" => Some(*label),
                name => (*label == name).then_some(*value),
            });
            for value in found {
                if !values.contains(value) {
                    values.insert(value.to_owned());
                }
            }
        }
        if values.len() > MAX_VALUES {
            return Err(QueryError::TooLarge(format!(
                "label {name:?} has more than {MAX_VALUES} values: narrow the selector or the range"
            )));
        }
        Ok(matched)
    })?;
    missing::require_service(parts, plan, &coverage, cancel)?;
    let values = values.into_iter().collect();
    Ok(v1::LabelsResponse { values, coverage: Some(coverage.into_wire()) })
}
