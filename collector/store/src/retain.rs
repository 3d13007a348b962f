//! Removing: what is older than it is kept, what makes the store too large, and files that nobody knows.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tracing::info;

use crate::{
    catalog::{Expire, FileId},
    error::StoreError,
    functions::FUNCTIONS,
    level::{DAY, Level},
    store::ProfileStore,
    symbols::SYMBOLS,
};

/// How long agent instances are known at least: as long as one may send a batch again.
const INSTANCES: Duration = Duration::from_secs(30 * 86_400);
/// Files removed in one step.
const STEP: u32 = 500;

/// How long samples are kept at each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// As they came.
    pub fine: Duration,
    /// By the minute.
    pub hourly: Duration,
    /// By the hour.
    pub daily: Duration,
}

/// What is kept how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of every service that is not named below.
    pub ages: Ages,
    /// Of single services. Fine files hold many services and are kept as long as `ages` says.
    pub services: BTreeMap<String, Ages>,
    /// Most bytes of all files together; the oldest go first.
    pub max_bytes: Option<u64>,
    /// How long a file stays after nothing refers to it any more: longer than any query runs.
    pub grace: Duration,
}

/// What a round of removing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Pairs of files that are not read any more.
    pub retired: u64,
    /// Pairs of files that are gone now.
    pub deleted: u64,
    /// Functions files that are gone now.
    pub functions: u64,
    /// Symbol tables that are gone now.
    pub symbols: u64,
    /// Agent instances that are forgotten now.
    pub instances: u64,
    /// Files that nobody knew and that are gone now.
    pub orphans: u64,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Retires what is too old or too much, and removes files that were retired a while ago.
    ///
    /// # Errors
    /// When the catalog or the object store fails. What is done by then stays.
    pub async fn retain(&self, retention: &Retention) -> Result<Removed, StoreError> {
        let now = self.now();
        let mut removed = Removed::default();
        let named: Vec<&str> = retention.services.keys().map(String::as_str).collect();
        for level in Level::ALL {
            let before = now.saturating_sub(nanos(retention.ages.of(level)));
            removed.retired +=
                self.catalog.expire(level, Expire::Except(&named), before, now).await?;
            for (service, ages) in &retention.services {
                let before = now.saturating_sub(nanos(ages.of(level)));
                removed.retired +=
                    self.catalog.expire(level, Expire::Service(service), before, now).await?;
            }
        }
        if let Some(bytes) = retention.max_bytes {
            let bytes = bytes.saturating_sub(self.catalog.function_bytes().await?);
            removed.retired += self.catalog.retire_until(bytes, now).await?;
        }
        self.catalog.retire_functions(now).await?;
        removed.functions =
            self.delete_functions(now.saturating_sub(nanos(retention.grace))).await?;
        removed.deleted = self.delete_retired(now.saturating_sub(nanos(retention.grace))).await?;
        removed.symbols = self.retain_symbols(retention).await?;
        // A day longer than the fine files that they are of, which hold what a day before began.
        let fine = nanos(retention.ages.fine).saturating_add(2 * DAY);
        self.catalog.forget_labels(now.saturating_sub(fine)).await?;
        let known = retention.longest().max(INSTANCES);
        removed.instances = self.catalog.forget_instances(now.saturating_sub(nanos(known))).await?;
        if removed != Removed::default() {
            let Removed { retired, deleted, instances, .. } = removed;
            info!(retired, deleted, instances, "what is too old was removed");
        }
        Ok(removed)
    }

    async fn delete_retired(&self, before: i64) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let rows = self.catalog.retired(before, STEP).await?;
            let ids: Vec<FileId> = rows.iter().map(|row| row.file.id).collect();
            let files: Vec<_> = rows.into_iter().map(|row| row.file).collect();
            let paths =
                files.iter().flat_map(|it| [it.samples.path.clone(), it.stacks.path.clone()]);
            // The files first: a row without its file is asked for again, a file without its row is not.
            self.blobs.delete(paths.collect()).await?;
            self.catalog.forget(&ids).await?;
            deleted += ids.len() as u64;
            if ids.len() < STEP as usize {
                return Ok(deleted);
            }
        }
    }

    async fn delete_functions(&self, before: i64) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let files = self.catalog.retired_functions(before, STEP).await?;
            let ids: Vec<FileId> = files.iter().map(|file| file.id).collect();
            self.blobs.delete(files.into_iter().map(|file| file.blob.path).collect()).await?;
            self.catalog.forget_functions(&ids).await?;
            deleted += ids.len() as u64;
            if ids.len() < STEP as usize {
                return Ok(deleted);
            }
        }
    }

    /// Removes files that nobody knows and that are older than `age`: collectors that died between
    /// writing them and committing them leave such ones. `age` is longer than a commit may take.
    ///
    /// # Errors
    /// When the catalog or the object store fails.
    pub async fn sweep(&self, age: Duration) -> Result<u64, StoreError> {
        let before = self.now().saturating_sub(nanos(age));
        let mut orphans = 0;
        for place in Level::ALL.map(Level::as_str).into_iter().chain([FUNCTIONS, SYMBOLS]) {
            let listed = self.blobs.list(place).await?;
            let old = listed.into_iter().filter(|file| file.written < before);
            let old: Vec<(FileId, String)> =
                old.filter_map(|file| Some((id_of(&file.path)?, file.path))).collect();
            for chunk in old.chunks(STEP as usize) {
                let ids: Vec<FileId> = chunk.iter().map(|(id, _)| *id).collect();
                let known: HashSet<FileId> = self.catalog.known(&ids).await?;
                let paths = chunk.iter().filter(|(id, _)| !known.contains(id));
                let paths: Vec<String> = paths.map(|(_, path)| path.clone()).collect();
                orphans += paths.len() as u64;
                self.blobs.delete(paths).await?;
            }
        }
        if orphans > 0 {
            info!(files = orphans, "files that nobody knew removed");
        }
        Ok(orphans)
    }
}

/// The pair, functions file or symbol table that a file is of, by its name.
pub(crate) fn id_of(path: &str) -> Option<FileId> {
    let name = path.rsplit('/').next()?;
    let (id, kind) = name.split_once('.')?;
    if !matches!(
        kind,
        "samples.parquet" | "stacks.parquet" | "functions.parquet" | "symtab" | "kallsyms"
    ) {
        return None;
    }
    FileId::from_number(i64::from_str_radix(id, 16).ok()?)
}

pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

// === impl Retention ===

impl Retention {
    /// How long anything is kept, a little more than which its symbols are.
    pub fn longest(&self) -> Duration {
        let ages = self.services.values().chain([&self.ages]);
        let all = ages.flat_map(|ages| Level::ALL.map(|level| ages.of(level)));
        all.max().unwrap_or_default()
    }
}

// === impl Ages ===

impl Ages {
    /// Of one level.
    pub fn of(self, level: Level) -> Duration {
        match level {
            Level::Fine => self.fine,
            Level::Hourly => self.hourly,
            Level::Daily => self.daily,
        }
    }
}

impl Default for Ages {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { fine: days(7), hourly: days(30), daily: days(396) }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            ages: Ages::default(),
            services: BTreeMap::new(),
            max_bytes: None,
            grace: Duration::from_secs(15 * 60),
        }
    }
}
