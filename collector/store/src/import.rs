//! Taking over an export: each of its pairs once, all of a day or nothing of it.
//!
//! Everything is read and checked before anything is written. What was imported once is remembered, also
//! when it was merged or has expired since, so that a second import changes nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use thiserror::Error;

use crate::{
    blobs::Blobs,
    catalog::{Catalog, CatalogError, FileId, Foreign, NewFile},
    error::StoreError,
    export::{Manifest, ManifestError},
    format,
    level::{DAY, Level},
    store::{Place, ProfileStore},
    verify::{self, Wrong},
};

/// Pairs that are read at a time.
const PARALLEL: usize = 8;
/// How long an import may be silent before another may begin.
const LEASE: Duration = Duration::from_secs(600);
/// What only one may do at a time.
const WORK: &str = "import";

/// An export that is not taken over.
#[derive(Debug, Error)]
pub enum ImportError {
    /// What it holds is not known.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its manifest contradicts itself. Nothing was taken over.
    #[error("the export contradicts itself: {why}; nothing was taken over: export again")]
    Contradiction {
        /// In which way.
        why: String,
    },
    /// One of its files is damaged. Nothing was taken over.
    #[error(
        "{path} of the export is not as it was written: {why}; nothing was taken over: copy it again, or export again"
    )]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The store has other data of the same services and times. Nothing was taken over.
    #[error(
        "the store has data of {services} at {time} (and of {pairs} pairs of files of the export together) that are not from this export: samples would count twice; nothing was taken over. If they are others, use --force"
    )]
    Overlap {
        /// Of which services.
        services: String,
        /// The first hour or day.
        time: String,
        /// How many pairs of the export overlap.
        pairs: usize,
    },
    /// Somebody else imports now.
    #[error("another import into this store is running, or was broken off minutes ago: try again in {} min", LEASE.as_secs() / 60)]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Pairs that are new here.
    pub imported: u64,
    /// Pairs that were here, or were imported before.
    pub skipped: u64,
    /// Samples in the new ones, each counted once.
    pub samples: u64,
}

/// What an import does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportStep {
    /// So many pairs of all are read and checked.
    Checked(u64, u64),
    /// So many pairs of those that are new are here.
    Copied(u64, u64),
}

/// A pair of an export.
#[derive(Clone, Debug)]
struct Pair {
    file: NewFile,
    rolled: bool,
}

/// What the store knows of the pairs of an export.
struct Known {
    /// Ids of pairs that are here, or were.
    done: HashSet<FileId>,
    /// Ids that other pairs have here.
    taken: HashSet<FileId>,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Takes over an export. With `force` also what was imported once and is gone, and what other data
    /// overlap.
    ///
    /// # Errors
    /// When it is damaged, or would double samples: nothing is taken over then. When the store fails:
    /// days may have been taken over, and the same call again goes on.
    pub async fn import(
        &self,
        dir: &Path,
        force: bool,
        progress: impl Fn(ImportStep),
    ) -> Result<Imported, ImportError> {
        let pairs = pairs(&Manifest::read(dir)?)?;
        let holder = format!("{:032x}", fastrand::u128(..));
        let catalog = &self.catalog;
        let lease =
            catalog.lease(WORK, &holder, LEASE, self.now()).await.map_err(StoreError::from)?;
        if lease.is_none() {
            return Err(ImportError::Busy);
        }
        let result = self.import_pairs(dir, pairs, force, &holder, progress).await;
        if let Ok(Some(lease)) = catalog.lease(WORK, &holder, LEASE, self.now()).await {
            // If it cannot be given back, it ends by itself.
            let _ = catalog.release(&lease).await;
        }
        result
    }

    async fn import_pairs(
        &self,
        dir: &Path,
        pairs: Vec<Pair>,
        force: bool,
        holder: &str,
        progress: impl Fn(ImportStep),
    ) -> Result<Imported, ImportError> {
        let source = Blobs::directory(dir).map_err(StoreError::from)?;
        let total = pairs.len() as u64;
        let checks = stream::iter(&pairs).map(|pair| self.verify_pair(&source, &pair.file));
        let mut checks = checks.buffer_unordered(PARALLEL);
        let mut checked = 0;
        while checks.try_next().await?.is_some() {
            checked += 1;
            if checked % 64 == 0 {
                self.renew(holder).await?;
            }
            progress(ImportStep::Checked(checked, total));
        }
        drop(checks);
        let known = self.known_pairs(&pairs, force).await?;
        let (old, new): (Vec<Pair>, Vec<Pair>) =
            pairs.into_iter().partition(|pair| known.done.contains(&pair.file.id));
        if !force {
            self.refuse_overlaps(&new, &old).await?;
        }
        let mut imported = Imported { skipped: old.len() as u64, ..Imported::default() };
        let total = new.len() as u64;
        let mut days: BTreeMap<i64, Vec<Pair>> = BTreeMap::new();
        for pair in new {
            let bucket = pair.file.bucket;
            days.entry(bucket - bucket.rem_euclid(DAY)).or_default().push(pair);
        }
        for pairs in days.into_values() {
            self.renew(holder).await?;
            self.import_day(&source, &pairs, &known.taken).await?;
            imported.imported += pairs.len() as u64;
            let unrolled = pairs.iter().filter(|pair| !pair.rolled);
            imported.samples += unrolled.map(|pair| pair.file.sample_count()).sum::<u64>();
            progress(ImportStep::Copied(imported.imported, total));
        }
        Ok(imported)
    }

    /// Reads a pair and compares it with its manifest.
    async fn verify_pair(&self, source: &Blobs, file: &NewFile) -> Result<(), ImportError> {
        let path = file.samples.path.clone();
        let both = tokio::try_join!(source.get(&file.samples), source.get(&file.stacks));
        let (samples, stacks) = match both.map_err(StoreError::from) {
            Ok(both) => both,
            Err(error) if error.is_damage() => {
                return Err(ImportError::Damaged { path, why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        };
        let said = file.clone();
        let verify = move || verify::verify(&said, samples, stacks).map(|read| read.map(|_| ()));
        match self.compute(verify).await?.map_err(StoreError::from)? {
            Ok(()) => Ok(()),
            Err(Wrong::Undecodable(why) | Wrong::Contents(why)) => {
                Err(ImportError::Damaged { path, why })
            }
        }
    }

    async fn renew(&self, holder: &str) -> Result<(), ImportError> {
        let lease = self.catalog.lease(WORK, holder, LEASE, self.now()).await;
        match lease.map_err(StoreError::from)? {
            Some(_) => Ok(()),
            None => Err(ImportError::Busy),
        }
    }

    async fn known_pairs(&self, pairs: &[Pair], force: bool) -> Result<Known, StoreError> {
        let ids: Vec<FileId> = pairs.iter().map(|pair| pair.file.id).collect();
        let mut here: HashMap<FileId, Arc<NewFile>> = HashMap::new();
        for retired in [false, true] {
            let rows = self.catalog.find(&ids, retired).await?;
            here.extend(rows.into_iter().map(|row| (row.file.id, row.file)));
        }
        let origins: Vec<String> = pairs.iter().map(|pair| origin_of(&pair.file)).collect();
        let words: Vec<&str> = origins.iter().map(String::as_str).collect();
        let before = if force { HashSet::new() } else { self.catalog.imported(&words).await? };
        let mut known = Known { done: HashSet::new(), taken: HashSet::new() };
        for (pair, origin) in pairs.iter().zip(&origins) {
            let id = pair.file.id;
            match here.get(&id) {
                Some(file) if origin_of(file) == *origin => drop(known.done.insert(id)),
                _ if before.contains(origin) => drop(known.done.insert(id)),
                Some(_) => drop(known.taken.insert(id)),
                None => {}
            }
        }
        Ok(known)
    }

    /// Refuses what would count twice: a live file that is not of this export, of the same service, whose
    /// hour or day overlaps.
    async fn refuse_overlaps(&self, new: &[Pair], old: &[Pair]) -> Result<(), ImportError> {
        let ours: HashSet<FileId> = old.iter().map(|pair| pair.file.id).collect();
        let mut days: BTreeMap<i64, Vec<&NewFile>> = BTreeMap::new();
        for Pair { file, .. } in new {
            days.entry(file.bucket - file.bucket.rem_euclid(DAY)).or_default().push(file);
        }
        let mut first: Option<(i64, Vec<String>)> = None;
        let mut pairs = 0;
        for (day, files) in days {
            let rows = self.files(None, (day, day + DAY)).await?;
            let others: Vec<_> =
                rows.into_iter().map(|row| row.file).filter(|it| !ours.contains(&it.id)).collect();
            for file in files {
                let services = doubled(file, &others);
                if !services.is_empty() {
                    pairs += 1;
                    first.get_or_insert((file.bucket, services));
                }
            }
        }
        let Some((bucket, services)) = first else { return Ok(()) };
        let time = fleetprof_proto::time_range::format_instant(bucket);
        Err(ImportError::Overlap { services: services.join(", "), time, pairs })
    }

    /// Copies the pairs of a day and takes them over together.
    async fn import_day(
        &self,
        source: &Blobs,
        pairs: &[Pair],
        taken: &HashSet<FileId>,
    ) -> Result<(), ImportError> {
        let copies = stream::iter(pairs).map(|pair| self.take(source, pair, taken));
        let files: Vec<Foreign> = copies.buffer_unordered(PARALLEL).try_collect().await?;
        let done = self.catalog.import(&files, self.now()).await.map_err(StoreError::from)?;
        if done {
            return Ok(());
        }
        // Whoever was faster has put the same files there.
        Err(ImportError::Busy)
    }

    async fn take(
        &self,
        source: &Blobs,
        pair: &Pair,
        taken: &HashSet<FileId>,
    ) -> Result<Foreign, StoreError> {
        let mut file = pair.file.clone();
        let origin = origin_of(&file);
        let (mut samples, mut stacks) =
            tokio::try_join!(source.get(&file.samples), source.get(&file.stacks))?;
        if taken.contains(&file.id) {
            let id = FileId::random();
            let work = move || format::extract(id, samples, stacks, None);
            (samples, stacks) = self.compute(work).await??;
            file.id = id;
        }
        let place = Place {
            level: file.level,
            bucket: file.bucket,
            service: file.service.clone(),
            batches: file.batches,
        };
        let name = place.path(file.id);
        let (to_samples, to_stacks) =
            (format!("{name}.samples.parquet"), format!("{name}.stacks.parquet"));
        (file.samples, file.stacks) = tokio::try_join!(
            self.blobs.put(&to_samples, samples),
            self.blobs.put(&to_stacks, stacks)
        )?;
        Ok(Foreign { file, rolled: pair.rolled, origin })
    }
}

/// The services of a file of which others have data at the same time.
fn doubled(file: &NewFile, others: &[Arc<NewFile>]) -> Vec<String> {
    let end = |file: &NewFile| file.bucket + file.level.span();
    let at_once = others.iter().filter(|it| it.bucket < end(file) && end(it) > file.bucket);
    let theirs: HashSet<&String> =
        at_once.flat_map(|it| &it.services).map(|sum| &sum.service).collect();
    let ours = file.services.iter().map(|sum| &sum.service);
    ours.filter(|service| theirs.contains(service)).cloned().collect()
}

/// What identifies a pair for good, also where its id may mean another one.
fn origin_of(file: &NewFile) -> String {
    format!("{}-{:08x}-{:08x}", file.id, file.samples.crc32c, file.stacks.crc32c)
}

/// The pairs of an export. What is in no coarser level of the export is not rolled here, whatever it was
/// there: it is still to be merged into one.
fn pairs(manifest: &Manifest) -> Result<Vec<Pair>, ImportError> {
    let contradiction = |why: String| ImportError::Contradiction { why };
    let mut pairs = Vec::with_capacity(manifest.files.len());
    let mut ids = HashSet::new();
    for file in &manifest.files {
        let (rolled, file) = (file.rolled, file.file().map_err(contradiction)?);
        if !ids.insert(file.id) {
            return Err(contradiction(format!("file {} stands there twice", file.id)));
        }
        pairs.push(Pair { file, rolled });
    }
    let checked = Catalog::verify(pairs.iter().map(|pair| &pair.file));
    checked.map_err(|error: CatalogError| contradiction(error.to_string()))?;
    let sums = pairs.iter().flat_map(|pair| {
        let (level, bucket) = (pair.file.level, pair.file.bucket);
        pair.file.services.iter().map(move |sum| (level, bucket, sum.service.clone()))
    });
    let there: HashSet<(Level, i64, String)> = sums.collect();
    for Pair { file, rolled } in &mut pairs {
        let day = file.bucket - file.bucket.rem_euclid(DAY);
        let coarser = [(Level::Hourly, file.bucket), (Level::Daily, day)];
        let coarser = coarser.into_iter().filter(|(level, _)| *level > file.level);
        let mut of_services = coarser.flat_map(|(level, bucket)| {
            file.services.iter().map(move |sum| (level, bucket, sum.service.clone()))
        });
        *rolled = *rolled && of_services.any(|place| there.contains(&place));
    }
    Ok(pairs)
}
