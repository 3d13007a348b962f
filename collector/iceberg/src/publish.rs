//! Rounds: all tables, one after the other, under a lease of the catalog.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fleetprof_store::{Blob, FileQuery, FileRow, Lease, Level, Rolled};
use tracing::{debug, info};

use crate::{
    clean::Keep,
    commit::State,
    error::PublishError,
    manifests::Named,
    place::Place,
    tables::{Change, TableName},
    versions::Versions,
};

/// The work that one committer does at a time.
const WORK: &str = "iceberg";
/// How long it may be silent before another one takes over.
const LEASE: Duration = Duration::from_secs(300);

/// Publishes the tables of one store.
#[derive(Debug)]
pub struct Publisher {
    place: Place,
    keep: Keep,
    /// Names this process to others.
    worker: String,
    named: Named,
}

/// What a round did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// Somebody else is at it.
    Busy,
    /// All tables say what there is.
    Done(Vec<(TableName, Change)>),
}

// === impl Publisher ===

impl Publisher {
    /// For a store.
    pub fn new(place: Place, keep: Keep) -> Self {
        let worker = format!("iceberg-{:016x}", fastrand::u64(..));
        Self { place, keep, worker, named: Named::new() }
    }

    /// Compares each table with the files that are live, and commits the difference. After an error, or
    /// when it is dropped, the tables are valid, and the next round makes up for the rest.
    ///
    /// # Errors
    /// When the catalog or the object store fails, or when another committer took over.
    pub async fn round(&mut self) -> Result<Round, PublishError> {
        let Some(lease) = self.lease().await? else { return Ok(Round::Busy) };
        let result = self.tables().await;
        self.place.catalog.release(&lease).await?;
        result.map(Round::Done)
    }

    async fn tables(&mut self) -> Result<Vec<(TableName, Change)>, PublishError> {
        let (mut changes, mut used) = (Vec::new(), HashSet::new());
        for level in Level::ALL {
            self.level(level, &mut changes, &mut used).await?;
        }
        self.named.retain(|url, _| used.contains(url));
        Ok(changes)
    }

    /// Both tables of a level.
    ///
    /// For engines they are two, which they read one after the other. So stacks come before the samples
    /// that need them, and go a round after the samples that needed them.
    async fn level(
        &mut self,
        level: Level,
        changes: &mut Vec<(TableName, Change)>,
        used: &mut HashSet<String>,
    ) -> Result<(), PublishError> {
        let place = self.place.clone();
        let of = |is_stacks| Versions {
            table: TableName { level, is_stacks },
            blobs: &place.blobs,
            root: &place.root,
        };
        let (stacks, samples) = (of(true), of(false));
        let of_stacks = State::read(&stacks, &mut self.named).await?;
        let of_samples = State::read(&samples, &mut self.named).await?;
        used.extend(of_stacks.manifests().chain(of_samples.manifests()).map(str::to_owned));
        // After the tables: what is live now is no older than what they say.
        let rows = self.live(level).await?;
        let sampled: HashSet<&str> =
            of_samples.paths.iter().filter_map(|path| pair(path)).collect();
        let stays = |path: &str| pair(path).is_some_and(|pair| sampled.contains(pair));
        let wanted_stacks = wanted(stacks.table, &rows);
        self.renew().await?;
        let change = of_stacks.commit(&stacks, &wanted_stacks, stays, &self.keep).await?;
        self.committed(&stacks, change, changes).await?;
        let wanted_samples = wanted(samples.table, &rows);
        self.renew().await?;
        let change = of_samples.commit(&samples, &wanted_samples, |_| false, &self.keep).await?;
        self.committed(&samples, change, changes).await
    }

    /// Pairs of files that are live, and as they were written.
    async fn live(&self, level: Level) -> Result<Vec<FileRow>, PublishError> {
        let range = (i64::MIN, i64::MAX);
        let query = FileQuery { level: Some(level), range, service: None, rolled: Rolled::Any };
        let mut rows = self.place.catalog.files(&query).await?;
        rows.retain(|row| row.damaged.is_none());
        Ok(rows)
    }

    async fn committed(
        &self,
        versions: &Versions<'_>,
        change: Change,
        changes: &mut Vec<(TableName, Change)>,
    ) -> Result<(), PublishError> {
        changes.push((versions.table, change));
        if change.committed {
            let Change { version, added, removed, files, .. } = change;
            info!(table = %versions.table, version, added, removed, files, "published");
            if change.version.is_multiple_of(self.keep.every.max(1)) {
                let removed = versions.clean(&self.keep).await?;
                debug!(table = %versions.table, removed, "removed what described older versions");
            }
        }
        Ok(())
    }

    async fn lease(&self) -> Result<Option<Lease>, PublishError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        Ok(self.place.catalog.lease(WORK, &self.worker, LEASE, now).await?)
    }

    async fn renew(&self) -> Result<(), PublishError> {
        self.lease().await?.map(drop).ok_or(PublishError::LeaseLost)
    }
}

/// The files of a table that are live, by path.
fn wanted(table: TableName, rows: &[FileRow]) -> BTreeMap<&str, &Blob> {
    let blobs = rows.iter().map(|row| table.blob(&row.file));
    blobs.map(|blob| (blob.path.as_str(), blob)).collect()
}

/// What the names of both files of a pair begin with.
fn pair(path: &str) -> Option<&str> {
    path.strip_suffix(".samples.parquet").or_else(|| path.strip_suffix(".stacks.parquet"))
}
