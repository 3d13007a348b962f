//! The merged, symbolized profile as pprof.

use std::{collections::BTreeMap, time::Duration};

use fleetprof_proto::{pprof, v1};
use fleetprof_store::Stacks;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, Queries, QueryError, QueryParts, missing,
    named::{self, Late},
    reader::Need,
};
use crate::metrics::Method;

/// A profile for download.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Gzipped pprof.
    pub pprof_gz: Vec<u8>,
    /// What it was made from.
    pub coverage: v1::Coverage,
}

/// Which labels the samples of a profile keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// All of the level that is read.
    All,
    /// None: each stack is one sample.
    None,
}

// === impl Queries ===

impl Queries {
    /// The profile of what a plan selects.
    ///
    /// # Errors
    /// When nothing matches, or time is up.
    pub async fn profile(&self, plan: Plan, labels: Labels) -> Result<Profile, QueryError> {
        let plan = plan.widened();
        self.run(Method::Profile, move |parts, cancel| run(parts, &plan, labels, cancel)).await
    }
}

fn run(
    parts: &QueryParts,
    plan: &Plan,
    labels: Labels,
    cancel: &CancellationToken,
) -> Result<Profile, QueryError> {
    let need = Need { all_labels: labels == Labels::All, stacks: Stacks::Whole, ..Need::default() };
    let keep = match labels {
        Labels::All => owned,
        Labels::None => named::no_labels,
    };
    let require = |coverage: &_| missing::require_samples(parts, plan, coverage, cancel);
    let named = named::read(parts, plan, &need, cancel, Late::Wait, keep, require)?;
    let unnamed = named.unnamed();
    let coverage = named.coverage.into_wire();
    let comments = comments(plan, &coverage, &unnamed);
    let profile = pprof::encode(&named.batch, &named.symbols, &comments);
    let pprof_gz = pprof::gzip(&profile).map_err(|e| QueryError::Internal(e.to_string()))?;
    Ok(Profile { pprof_gz, coverage })
}

fn owned(labels: &BTreeMap<&str, &str>) -> named::Kept {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a reader of the file should know: `pprof -comments` shows it.
fn comments(plan: &Plan, coverage: &v1::Coverage, unnamed: &[v1::UnnamedUsage]) -> Vec<String> {
    let version = env!("CARGO_PKG_VERSION");
    // Files of single services do not say how many batches they are of.
    let of_batches = match coverage.batches {
        0 => String::new(),
        batches => format!(" of {batches} batches"),
    };
    let mut comments = vec![
        format!("fleetprof-collector {version}, selector {}", plan.selector),
        format!("{} samples{of_batches}", coverage.samples),
    ];
    for counter in &coverage.dropped {
        let (name, value) = (&counter.name, counter.value);
        comments.push(format!("agents lost {value} samples since their start: {name}"));
    }
    for v1::UnnamedUsage { reason, self_nanos } in unnamed {
        let seconds = Duration::from_nanos(*self_nanos).as_secs_f64();
        comments.push(format!("{seconds:.3} s of CPU are in code without a name: {reason}"));
    }
    comments.extend(coverage.damaged.iter().map(|what| format!("not included: {what}")));
    comments
}
