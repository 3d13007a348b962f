//! What is kept of a table's past, and removing the rest. Only files that describe tables are removed here:
//! the profiles are the store's.

use std::{collections::HashSet, time::Duration};

use fleetprof_store::Listed;
use iceberg::spec::TableMetadata;

use crate::{
    commit::now_ms,
    error::PublishError,
    versions::{self, Versions},
};

/// Files removed in one step.
const STEP: usize = 500;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Snapshots, the newest included: a query may begin with one and read on while others are made.
    pub snapshots: usize,
    /// Versions, the newest included: readers follow a hint that may be old.
    pub versions: u64,
    /// How old a file that nothing names must be: a younger one may be about to be committed.
    pub age: Duration,
    /// Every so many versions what is no longer needed is removed.
    pub every: u64,
}

// === impl Keep ===

impl Keep {
    /// Versions that the newest one names.
    pub(crate) const LOGGED_VERSIONS: u64 = 10;

    /// Snapshots that have no place beside a new one.
    pub(crate) fn expired(&self, metadata: &TableMetadata) -> Vec<i64> {
        let mut snapshots: Vec<(i64, i64)> =
            metadata.snapshots().map(|it| (it.sequence_number(), it.snapshot_id())).collect();
        snapshots.sort_unstable();
        let expired = (snapshots.len() + 1).saturating_sub(self.snapshots.max(1));
        snapshots.into_iter().take(expired).map(|(_, id)| id).collect()
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self { snapshots: 15, versions: 30, age: Duration::from_secs(3600), every: 10 }
    }
}

// === impl Versions ===

impl Versions<'_> {
    /// Removes what describes snapshots and versions that are not kept; gives the number of files.
    pub(crate) async fn clean(&self, keep: &Keep) -> Result<usize, PublishError> {
        let Some(newest) = self.newest().await? else { return Ok(0) };
        let mut needed = HashSet::new();
        for snapshot in newest.metadata.snapshots() {
            let manifests = self.manifests(snapshot).await?;
            let urls = manifests.iter().map(|manifest| manifest.manifest_path.as_str());
            let paths =
                urls.chain([snapshot.manifest_list()]).filter_map(|url| self.root.path(url));
            needed.extend(paths.map(str::to_owned));
        }
        let oldest = newest.number.saturating_sub(keep.versions.saturating_sub(1));
        let age = i64::try_from(keep.age.as_nanos()).unwrap_or(i64::MAX);
        let before = now_ms().saturating_mul(1_000_000).saturating_sub(age);
        let is_unneeded = |file: &Listed| {
            let is_old = match versions::number(&file.path) {
                Some(number) => number < oldest,
                None => file.path.ends_with(".avro") && !needed.contains(&file.path),
            };
            is_old && file.written < before
        };
        let listed = self.list().await?;
        let unneeded: Vec<String> =
            listed.into_iter().filter(is_unneeded).map(|file| file.path).collect();
        for chunk in unneeded.chunks(STEP) {
            self.blobs.delete(chunk.to_vec()).await?;
        }
        Ok(unneeded.len())
    }
}
