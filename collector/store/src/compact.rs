//! Merging: files of a moment into larger ones, and into coarser levels.
//!
//! Any collector may do it, several at a time: leases keep them from doing the same work, and a change
//! is one transaction that finds its inputs as they were or does nothing. A collector that dies leaves
//! files that nobody knows, which the sweep removes; another one begins anew.

mod jobs;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleetprof_proto::labels::SERVICE;
use tracing::{debug, warn};

use crate::{
    catalog::{FileId, FileQuery, FileRow, NewFile, Replace, Rolled},
    error::StoreError,
    format::{Stacks, Wanted},
    functions::DeriveLimits,
    level::{DAY, HOUR, Level},
    names::Namer,
    plan::Piece,
    store::{Place, ProfileStore},
    table::{Table, TableBuilder},
};

use jobs::Pass;
pub use jobs::{Job, MergeLimits};

/// How long a worker may be silent before others take over its hour or day.
const LEASE: Duration = Duration::from_secs(300);

/// What a round of merging did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Jobs that were done.
    pub jobs: u64,
    /// Jobs that somebody else did meanwhile, or whose inputs turned out to be damaged.
    pub lost: u64,
    /// Rows of samples read.
    pub rows: u64,
    /// Functions files made.
    pub functions: u64,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Does what merging there is to do now, and, where names are given, makes the functions files of what
    /// is merged for good. `worker` names this process to others; `stop` is asked
    /// between jobs.
    ///
    /// # Errors
    /// When the catalog or the object store fails. What is done by then stays.
    pub async fn merge(
        &self,
        worker: &str,
        limits: &MergeLimits,
        namer: Option<Arc<dyn Namer>>,
        stop: impl Fn() -> bool,
    ) -> Result<Merged, StoreError> {
        let mut merged = Merged::default();
        let files = self.files_to_merge().await?;
        for job in jobs::due(&files, self.now(), limits) {
            if stop() {
                break;
            }
            let name = format!("merge/{}/{}", job.place(), job.bucket());
            let Some(lease) = self.catalog.lease(&name, worker, LEASE, self.now()).await? else {
                continue;
            };
            debug!(name, files = job.inputs().len(), "merging");
            merged.rows += job.inputs().iter().map(|row| row.file.rows).sum::<u64>();
            let done = self.run(&job, namer.clone()).await;
            self.catalog.release(&lease).await?;
            match done {
                Ok(true) => merged.jobs += 1,
                Ok(false) => merged.lost += 1,
                // The file is quarantined: the next round does without it.
                Err(error) if error.is_damage() => {
                    warn!(%error, "cannot merge a damaged file");
                    merged.lost += 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.label_files(worker, &stop).await?;
        if let Some(namer) = namer {
            let busy = jobs::due(&self.files_to_merge().await?, self.now(), limits);
            merged.functions += self.derive_functions(worker, limits, &namer, &busy, &stop).await?;
            merged.functions +=
                self.renew_functions(worker, &DeriveLimits::default(), &namer, &stop).await?;
        }
        Ok(merged)
    }

    /// Files that may have something to be done about: those that are not in the next level, and recent
    /// ones, which may be small.
    async fn files_to_merge(&self) -> Result<Vec<FileRow>, StoreError> {
        let now = self.now();
        let always = (i64::MIN, i64::MAX);
        let recent = |span: i64| (now.saturating_sub(span), i64::MAX);
        let mut files = Vec::new();
        for (level, range, rolled) in [
            (Level::Fine, always, Rolled::Only(false)),
            (Level::Fine, recent(3 * HOUR), Rolled::Only(true)),
            (Level::Hourly, always, Rolled::Only(false)),
            (Level::Daily, recent(3 * DAY), Rolled::Any),
        ] {
            let query = FileQuery { level: Some(level), range, service: None, rolled };
            files.extend(self.catalog.files(&query).await?);
        }
        Ok(files)
    }

    /// Does one job; `false` when somebody else was faster.
    async fn run(&self, job: &Job, namer: Option<Arc<dyn Namer>>) -> Result<bool, StoreError> {
        let mut outputs = Vec::new();
        for services in job.passes() {
            outputs.extend(self.pass(job, services, namer.clone()).await?);
        }
        self.finish(job, outputs).await
    }

    async fn finish(&self, job: &Job, outputs: Vec<NewFile>) -> Result<bool, StoreError> {
        let inputs: Vec<FileId> = job.inputs().iter().map(|row| row.file.id).collect();
        let how = match job {
            Job::Merge { rolled, .. } => Replace::Merge { rolled: *rolled },
            Job::Roll { .. } => Replace::Roll,
        };
        let done = self.catalog.replace(&inputs, &outputs, how, self.now()).await?;
        if !done {
            self.discard(&outputs).await;
        }
        Ok(done)
    }

    /// Reads a job's inputs once: one output for each of these services, or one with all.
    async fn pass(
        &self,
        job: &Job,
        services: Pass,
        namer: Option<Arc<dyn Namer>>,
    ) -> Result<Vec<NewFile>, StoreError> {
        let level = job.level();
        let wanted = Wanted {
            services: services.clone(),
            labels: level.labels().map(|kept| kept.iter().map(|name| (*name).to_owned()).collect()),
            range: None,
            windows: true,
            stacks: Stacks::Whole,
        };
        // Batches are counted where they are whole.
        let is_whole = services.is_none();
        let mut batches = 0;
        let mut parts = parts(services.clone());
        for row in job.inputs() {
            let is_wanted =
                |service: &String| services.as_ref().is_none_or(|it| it.contains(service));
            if !row.file.services.iter().any(|sum| is_wanted(&sum.service)) {
                continue;
            }
            batches += if is_whole { row.file.batches } else { 0 };
            let piece = Piece { file: row.clone(), range: (i64::MIN, i64::MAX) };
            let table = self.read(&piece, wanted.clone()).await?;
            parts = self.compute(move || add(parts, &table, level)).await?;
        }
        let mut files = Vec::new();
        for (service, builder) in parts {
            if builder.is_empty() {
                continue;
            }
            let table = self.compute(move || builder.finish()).await?;
            let place = Place { level, bucket: job.bucket(), service, batches };
            let mut file = self.write_table(place, table, namer.clone()).await?;
            if level != Level::Fine {
                // Rows of a minute or an hour do not say when in it there were data.
                file.spans = spans(job.inputs(), file.service.as_deref());
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// What becomes an output, by its service; of `None` all do.
type Parts = BTreeMap<Option<String>, TableBuilder>;

fn parts(services: Pass) -> Parts {
    let names = services.map_or(vec![None], |services| services.into_iter().map(Some).collect());
    names.into_iter().map(|name| (name, TableBuilder::new())).collect()
}

/// Adds the samples of each part's service to it.
fn add(mut parts: Parts, table: &Table, level: Level) -> Parts {
    let has =
        |name: &str| (0..table.code.origin_count()).any(|origin| table.service(origin) == name);
    for (service, builder) in &mut parts {
        if service.as_deref().is_some_and(|name| !has(name)) {
            continue;
        }
        let kept = |labels: &BTreeMap<&str, &str>| {
            let own = labels.get(SERVICE).copied().unwrap_or_default();
            let is_its = service.as_deref().is_none_or(|name| name == own);
            is_its.then(|| {
                labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect()
            })
        };
        builder.add_table(table, kept, |window| Some(level.window(window)));
    }
    parts
}

/// The spans of files together, at most some hundred: the shortest gaps are closed first.
fn spans(files: &[FileRow], service: Option<&str>) -> Vec<(i64, i64)> {
    let has = |row: &&FileRow| {
        service.is_none_or(|name| row.file.services.iter().any(|it| it.service == name))
    };
    let spans = files.iter().filter(has).flat_map(|row| row.file.spans.iter().copied());
    crate::spans::union(spans.collect())
}
