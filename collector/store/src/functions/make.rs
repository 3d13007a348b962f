//! Making functions files, and making them again when names have come.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use fleetprof_proto::{
    batch::Batch,
    ids::ObjectId,
    labels,
    symbol::{Reason, Symbol},
};
use tracing::{debug, warn};

use super::FunctionTable;
use crate::{
    catalog::{FileId, FileQuery, FileRow, FunctionFile, LateFunctions, NewFunctions, Rolled},
    compact::{Job, MergeLimits},
    error::StoreError,
    format::{self, Wanted},
    level::Level,
    names::Namer,
    plan::Piece,
    store::ProfileStore,
};

/// How long a worker may be silent before others take over its hour or day.
const LEASE: Duration = Duration::from_secs(300);
/// Hours of functions after which a file ends.
const FULL_HOURS: usize = 1_000_000;
/// Small functions files of one hour or day that are made one again when another one would come.
const MANY_FILES: usize = 8;
/// Bytes from which on one is not small.
const LARGE_FILE: u64 = 4 << 20;
/// Objects without names that are remembered of a file.
const MAX_MISSING: usize = 1000;

/// How much is done in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeriveLimits {
    /// Functions files looked at for names that have come.
    pub looked_at: u32,
    /// Functions files made again.
    pub renewed: usize,
}

/// What is made into one functions file, or several large ones.
struct Work {
    level: Level,
    bucket: i64,
    inputs: Vec<FileRow>,
}

/// Sums of some pairs.
#[derive(Default)]
struct Sums {
    table: FunctionTable,
    files: Vec<FileId>,
    missing: BTreeSet<String>,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Makes the functions files of the hours and days that are merged for good, and of what there is of
    /// the current hour. `busy` are jobs that are still to be done: their hours and days wait.
    pub(crate) async fn derive_functions(
        &self,
        worker: &str,
        limits: &MergeLimits,
        namer: &Arc<dyn Namer>,
        busy: &[Job],
        stop: &impl Fn() -> bool,
    ) -> Result<u64, StoreError> {
        let busy: HashSet<_> = busy.iter().flat_map(Job::touched).collect();
        let mut works: BTreeMap<(Level, i64), Vec<FileRow>> = BTreeMap::new();
        for row in self.catalog.without_functions().await? {
            let (level, bucket) = (row.file.level, row.file.bucket);
            let end = bucket.saturating_add(level.span());
            let grace = if level == Level::Daily { 2 * limits.grace } else { limits.grace };
            // Pairs of an hour that is not over stay as they are until it is.
            let is_open = level == Level::Hourly && self.now() < end;
            let is_closed = self.now() >= end.saturating_add(grace);
            if is_open || (is_closed && !busy.contains(&(level, bucket))) {
                works.entry((level, bucket)).or_default().push(row);
            }
        }
        let mut made = 0;
        for ((level, bucket), inputs) in works {
            if stop() {
                break;
            }
            let mut work = Work { level, bucket, inputs };
            self.gather(&mut work).await?;
            match self.make_leased(worker, work, namer).await {
                Ok(files) => made += files,
                // These stay without: queries read their stacks.
                Err(StoreError::Format(error)) => warn!(%error, "cannot write functions"),
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    /// Many small functions files of one hour or day become one.
    async fn gather(&self, work: &mut Work) -> Result<(), StoreError> {
        let range = (work.bucket, work.bucket.saturating_add(work.level.span()));
        let query =
            FileQuery { level: Some(work.level), range, service: None, rolled: Rolled::Any };
        let mut covered = self.catalog.files(&query).await?;
        covered.retain(|row| {
            let is_small = row.functions.as_ref().is_some_and(|it| it.blob.bytes < LARGE_FILE);
            row.file.bucket == work.bucket && row.damaged.is_none() && is_small
        });
        let files: HashSet<FileId> =
            covered.iter().filter_map(|row| Some(row.functions.as_ref()?.id)).collect();
        if files.len() >= MANY_FILES {
            work.inputs.extend(covered);
        }
        Ok(())
    }

    /// Makes functions files again for which names have come.
    pub(crate) async fn renew_functions(
        &self,
        worker: &str,
        limits: &DeriveLimits,
        namer: &Arc<dyn Namer>,
        stop: &impl Fn() -> bool,
    ) -> Result<u64, StoreError> {
        let late = self.catalog.late_functions(limits.looked_at).await?;
        let (mut made, mut renewed, mut checked) = (0, 0, Vec::new());
        for functions in late {
            if stop() || renewed >= limits.renewed {
                break;
            }
            checked.push(functions.id);
            let (has, missing) = (namer.clone(), functions.missing.clone());
            let is_due = self.compute(move || has_some(&*has, &missing)).await?;
            if !is_due {
                continue;
            }
            let LateFunctions { id, level, bucket, .. } = functions;
            let inputs = self.catalog.with_functions(id).await?;
            if !inputs.is_empty() {
                renewed += 1;
                made += self.make_leased(worker, Work { level, bucket, inputs }, namer).await?;
            }
        }
        self.catalog.checked_functions(&checked, self.now()).await?;
        Ok(made)
    }

    /// Makes the functions files of a piece of work, unless somebody else is at it; gives their number.
    async fn make_leased(
        &self,
        worker: &str,
        work: Work,
        namer: &Arc<dyn Namer>,
    ) -> Result<u64, StoreError> {
        let name = format!("functions/{}/{}", work.level.as_str(), work.bucket);
        let Some(lease) = self.catalog.lease(&name, worker, LEASE, self.now()).await? else {
            return Ok(0);
        };
        debug!(name, pairs = work.inputs.len(), "summing up functions");
        let made = self.make(work, namer).await;
        self.catalog.release(&lease).await?;
        made
    }

    async fn make(&self, work: Work, namer: &Arc<dyn Namer>) -> Result<u64, StoreError> {
        let (mut sums, mut made) = (Sums::default(), 0);
        let wanted = Wanted {
            labels: Some(vec![labels::SERVICE.to_owned(), labels::VERSION.to_owned()]),
            ..Wanted::all()
        };
        let (level, bucket) = (work.level, work.bucket);
        for row in work.inputs {
            let id = row.file.id;
            let piece = Piece { file: row, range: (i64::MIN, i64::MAX) };
            let table = match self.read(&piece, wanted.clone()).await {
                Ok(table) => table,
                // It is quarantined: nobody asks for its functions.
                Err(error) if error.is_damage() => {
                    warn!(%error, "cannot sum up the functions of a damaged file");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let namer = namer.clone();
            let add = move || {
                let symbols = namer.symbols(&table.code);
                sums.missing.extend(missing(&table.code, &symbols));
                sums.table.add(id, &table, &symbols);
                sums.files.push(id);
                sums
            };
            sums = self.compute(add).await?;
            if sums.table.hours() >= FULL_HOURS {
                made += self.write_functions(level, bucket, std::mem::take(&mut sums)).await?;
            }
        }
        if !sums.files.is_empty() {
            made += self.write_functions(level, bucket, sums).await?;
        }
        Ok(made)
    }

    async fn write_functions(
        &self,
        level: Level,
        bucket: i64,
        sums: Sums,
    ) -> Result<u64, StoreError> {
        let id = FileId::random();
        let Sums { table, files, missing } = sums;
        let encoded = self.compute(move || format::encode_functions(id, table)).await??;
        let date = fleetprof_proto::time_range::format_instant(bucket);
        let day = date.split_once('T').map_or(&*date, |(day, _)| day);
        let path = format!("functions/{day}/{id}.functions.parquet");
        let blob = self.blobs.put(&path, encoded.bytes).await?;
        let covers = files.len() as u64;
        let new = NewFunctions {
            file: FunctionFile { id, blob, end: encoded.end, covers },
            level,
            bucket,
            missing: missing.into_iter().take(MAX_MISSING).collect(),
        };
        if self.catalog.add_functions(&new, &files, self.now()).await? {
            return Ok(1);
        }
        if let Err(error) = self.blobs.delete(vec![path]).await {
            warn!(%error, "cannot remove a file that is not needed; it is swept later");
        }
        Ok(0)
    }
}

/// Objects that have no names yet, and may have some later.
fn missing<'a>(code: &'a Batch, symbols: &'a [Symbol]) -> impl Iterator<Item = String> + 'a {
    let frames = symbols.iter().enumerate().take(code.frame_count());
    let objects = frames.filter_map(|(frame, symbol)| match symbol {
        Symbol::Unknown(Reason::NoObject | Reason::NotReady) => code.frame(frame).locate().ok(),
        _ => None,
    });
    let mut last = None;
    objects.filter_map(move |object| {
        let is_new = last.as_ref() != Some(&object);
        let text = is_new.then(|| object.to_string());
        last = Some(object);
        text
    })
}

/// Whether one of the objects has names.
fn has_some(namer: &dyn Namer, objects: &[String]) -> bool {
    let objects = objects.iter().filter_map(|text| text.parse::<ObjectId>().ok());
    objects.into_iter().any(|object| namer.has_names(&object))
}

// === impl DeriveLimits ===

impl Default for DeriveLimits {
    fn default() -> Self {
        Self { looked_at: 256, renewed: 16 }
    }
}
