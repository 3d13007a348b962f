//! The merged, symbolized profile as pprof.

use std::collections::BTreeMap;

use fleetprof_proto::{batch::Merger, pprof, v1};
use tokio_util::sync::CancellationToken;

use super::{Plan, Queries, QueryError, QueryParts, reader};
use crate::metrics::Method;

/// A profile for download.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Gzipped pprof.
    pub pprof_gz: Vec<u8>,
    /// What it was made from.
    pub coverage: v1::Coverage,
}

// === impl Queries ===

impl Queries {
    /// The profile of what a plan selects.
    ///
    /// # Errors
    /// When nothing matches, or time is up.
    pub async fn profile(&self, plan: Plan) -> Result<Profile, QueryError> {
        self.run(Method::Profile, move |parts, cancel| run(parts, &plan, cancel)).await
    }
}

fn run(parts: &QueryParts, plan: &Plan, cancel: &CancellationToken) -> Result<Profile, QueryError> {
    let mut merger = Merger::new();
    let mut coverage = reader::for_each(parts, plan, cancel, |batch| {
        Ok(merger.add(batch, |labels| {
            let matches = plan.selector.matches(|name| labels.get(name).copied());
            matches.then(|| owned(labels))
        }))
    })?;
    reader::require_samples(&*parts.store, plan, &coverage)?;
    let merged = merger.finish();
    let resolved = parts.symbols.resolve(&merged, cancel);
    resolved.problems.into_iter().for_each(|problem| coverage.damage(problem));
    if cancel.is_cancelled() {
        return Err(QueryError::Cancelled);
    }
    let coverage = coverage.into_wire();
    let profile = pprof::encode(&merged, &resolved.symbols, &comments(plan, &coverage));
    let pprof_gz = pprof::gzip(&profile).map_err(|e| QueryError::Internal(e.to_string()))?;
    Ok(Profile { pprof_gz, coverage })
}

fn owned(labels: &BTreeMap<&str, &str>) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a reader of the file should know: `pprof -comments` shows it.
fn comments(plan: &Plan, coverage: &v1::Coverage) -> Vec<String> {
    let version = env!("CARGO_PKG_VERSION");
    let mut comments = vec![
        format!("fleetprof-collector {version}, selector {}", plan.selector),
        format!("{} samples of {} batches", coverage.samples, coverage.batches),
    ];
    for counter in &coverage.dropped {
        let (name, value) = (&counter.name, counter.value);
        comments.push(format!("agents lost {value} samples since their start: {name}"));
    }
    comments.extend(coverage.damaged.iter().map(|what| format!("not included: {what}")));
    comments
}
