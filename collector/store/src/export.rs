//! Copies of files in a directory of their own, for other engines and for other stores.
//!
//! Files are copied as they are, or, of single services, row by row. `manifest.json`, which says what
//! they are, is written last: a directory without it is no export.

mod manifest;

use std::{fs, io, path::Path};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use thiserror::Error;
use tracing::warn;

use crate::{
    blobs::Blobs,
    catalog::{FileId, FileRow, NewFile},
    error::StoreError,
    format,
    level::{DAY, HOUR, Level},
    plan::{self, Wish},
    store::ProfileStore,
    verify,
};

pub use manifest::{
    MANIFEST, MANIFEST_FORMAT, Manifest, ManifestBlob, ManifestError, ManifestFile, ManifestService,
};

/// Pairs that are copied at a time.
const PARALLEL: usize = 8;
/// How often the files of a day are looked for again when some were replaced in the meantime.
const ATTEMPTS: u32 = 5;

/// Which level is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportLevel {
    /// All of them, as they are: what another store can take over as a whole.
    All,
    /// One.
    Only(Level),
    /// Each sample once, as finely as it is still there.
    Best,
}

/// What is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportWish {
    /// Files whose hour or day is inside, Unix nanoseconds, the end exclusive; widened to whole hours.
    pub range: (i64, i64),
    /// Only samples of these; `None`: all.
    pub services: Option<Vec<String>>,
    /// Which level.
    pub level: ExportLevel,
}

/// An export that failed. What is in its directory is of no use: it has no manifest.
#[derive(Debug, Error)]
pub enum ExportError {
    /// There is something in the directory.
    #[error("{dir} is not empty: give a new directory, or remove what is in it")]
    NotEmpty {
        /// Which.
        dir: String,
    },
    /// The directory cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing is there.
    #[error(
        "nothing to export: no file of this level and these services lies in the range as a whole"
    )]
    Nothing,
    /// Files of a day were replaced faster than they could be copied.
    #[error("files of {day} were merged again and again while they were copied: try again later")]
    Changing {
        /// Which.
        day: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a pair.
enum Copied {
    /// It is there.
    Whole(Box<ManifestFile>),
    /// It is damaged.
    Lacking(String),
    /// It has been replaced.
    Gone,
    /// It has nothing of what is wanted.
    Empty,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Copies files into a directory, which is made, or is empty. `progress` is told how many pairs
    /// there are so far.
    ///
    /// # Errors
    /// When the directory is not empty or cannot be written, when there is nothing, or when the store
    /// fails.
    pub async fn export(
        &self,
        wish: &ExportWish,
        dir: &Path,
        progress: impl Fn(u64),
    ) -> Result<Manifest, ExportError> {
        prepare(dir)?;
        let target = Blobs::directory(dir).map_err(StoreError::from)?;
        let (start, end) = wish.range;
        let range = (start - start.rem_euclid(HOUR), end.saturating_add((-end).rem_euclid(HOUR)));
        let mut manifest = Manifest {
            format: MANIFEST_FORMAT,
            created_by: concat!("fleetprof ", env!("CARGO_PKG_VERSION")).to_owned(),
            created: self.now(),
            store: self.identity().await?,
            range,
            level: wish.level.as_str().to_owned(),
            services: wish.services.clone(),
            files: Vec::new(),
            lacks: Vec::new(),
        };
        let days = self.catalog.days().await.map_err(StoreError::from)?;
        for day in days.into_iter().filter(|day| *day < range.1 && day + DAY > range.0) {
            let mut attempts = 0;
            while !self.export_day(day, range, wish, &target, &mut manifest).await? {
                attempts += 1;
                if attempts == ATTEMPTS {
                    let day = fleetprof_proto::time_range::format_instant(day);
                    return Err(ExportError::Changing { day });
                }
            }
            progress(manifest.files.len() as u64);
        }
        if manifest.files.is_empty() && manifest.lacks.is_empty() {
            return Err(ExportError::Nothing);
        }
        manifest
            .files
            .sort_by(|a, b| (&a.level, a.bucket, &a.id).cmp(&(&b.level, b.bucket, &b.id)));
        let bytes = serde_json::to_vec_pretty(&manifest).map_err(|error| ExportError::Io {
            action: "write",
            path: MANIFEST.to_owned(),
            source: error.into(),
        })?;
        target.put(MANIFEST, bytes.into()).await.map_err(StoreError::from)?;
        Ok(manifest)
    }

    /// Copies what there is of one day; `false`, and nothing stays, when some of it was replaced.
    async fn export_day(
        &self,
        day: i64,
        range: (i64, i64),
        wish: &ExportWish,
        target: &Blobs,
        manifest: &mut Manifest,
    ) -> Result<bool, ExportError> {
        let rows = self.files(None, (day, day + DAY)).await?;
        let rows: Vec<FileRow> = rows
            .into_iter()
            .filter(|row| (day..day + DAY).contains(&row.file.bucket))
            .filter(|row| {
                let bucket = row.file.bucket;
                range.0 <= bucket && bucket + row.file.level.span() <= range.1
            })
            .collect();
        let chosen = choose(rows, day, wish);
        let copies = stream::iter(chosen).map(|row| self.copy(row, wish, target));
        let copies: Vec<Copied> = copies.buffer_unordered(PARALLEL).try_collect().await?;
        let (mut files, mut lacks, mut is_whole) = (Vec::new(), Vec::new(), true);
        for copied in copies {
            match copied {
                Copied::Whole(file) => files.push(*file),
                Copied::Lacking(what) => lacks.push(what),
                Copied::Gone => is_whole = false,
                Copied::Empty => {}
            }
        }
        if is_whole {
            lacks.sort();
            manifest.files.extend(files);
            manifest.lacks.extend(lacks);
        } else {
            let paths = files.into_iter().flat_map(|file| [file.samples.path, file.stacks.path]);
            target.delete(paths.collect()).await.map_err(StoreError::from)?;
        }
        Ok(is_whole)
    }

    async fn copy(
        &self,
        row: FileRow,
        wish: &ExportWish,
        target: &Blobs,
    ) -> Result<Copied, ExportError> {
        let path = &row.file.samples.path;
        if let Some(reason) = &row.damaged {
            return Ok(Copied::Lacking(format!("{path} is damaged: {reason}")));
        }
        let has = |name: &String| row.file.services.iter().any(|sum| sum.service == *name);
        if wish.services.as_ref().is_some_and(|services| !services.iter().any(has)) {
            return Ok(Copied::Empty);
        }
        match self.copy_whole(&row, wish, target).await {
            Ok(Some(file)) => Ok(Copied::Whole(Box::new(ManifestFile::new(&file, row.rolled)))),
            Ok(None) => Ok(Copied::Empty),
            Err(error) if error.is_damage() => {
                let live = self.catalog.find(&[row.file.id], false).await;
                if live.map_err(StoreError::from)?.is_empty() {
                    return Ok(Copied::Gone);
                }
                warn!(file = %row.file.id, %error, "a damaged file is not exported");
                Ok(Copied::Lacking(format!("{path}: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Copies a pair; `None` when nothing of it is wanted.
    async fn copy_whole(
        &self,
        row: &FileRow,
        wish: &ExportWish,
        target: &Blobs,
    ) -> Result<Option<NewFile>, StoreError> {
        let mut file = NewFile::clone(&row.file);
        let (mut samples, mut stacks) =
            tokio::try_join!(self.blobs.get(&file.samples), self.blobs.get(&file.stacks))?;
        let is_other = |name: &str| {
            wish.services.as_ref().is_some_and(|it| !it.iter().any(|wanted| wanted == name))
        };
        if file.services.iter().any(|sum| is_other(&sum.service)) {
            let services = wish.services.clone();
            let id = FileId::random();
            let work = move || {
                let (samples, stacks) = format::extract(id, samples, stacks, services.as_deref())?;
                let contents = verify::contents_of(samples.clone(), stacks.clone())?;
                Ok::<_, format::FormatError>((samples, stacks, contents))
            };
            let contents;
            (samples, stacks, contents) = self.compute(work).await??;
            if contents.rows == 0 {
                return Ok(None);
            }
            // Batches are counted where they are whole.
            (file.id, file.rows, file.batches) = (id, contents.rows, 0);
            file.services = contents.services;
            if file.level == Level::Fine {
                file.spans = contents.spans;
            }
        }
        let name = format!("{}/{}", file.level.as_str(), file.id);
        let (to_samples, to_stacks) =
            (format!("{name}.samples.parquet"), format!("{name}.stacks.parquet"));
        (file.samples, file.stacks) =
            tokio::try_join!(target.put(&to_samples, samples), target.put(&to_stacks, stacks))?;
        Ok(Some(file))
    }
}

/// The files of a day that are wanted.
fn choose(rows: Vec<FileRow>, day: i64, wish: &ExportWish) -> Vec<FileRow> {
    match wish.level {
        ExportLevel::All => rows,
        ExportLevel::Only(level) => rows.into_iter().filter(|it| it.file.level == level).collect(),
        ExportLevel::Best => {
            // Hosts are only in fine files: where those are whole, they are taken.
            let wish = Wish {
                service: None,
                range: (i64::MIN, i64::MAX),
                labels: vec![fleetprof_proto::labels::HOST.to_owned()],
                step: 1,
            };
            let sound: Vec<FileRow> =
                rows.iter().filter(|it| it.damaged.is_none()).cloned().collect();
            debug_assert!(sound.iter().all(|it| (day..day + DAY).contains(&it.file.bucket)));
            plan::choose(&sound, &wish).pieces.into_iter().map(|piece| piece.file).collect()
        }
    }
}

/// Makes the directory, which must not have anything in it.
fn prepare(dir: &Path) -> Result<(), ExportError> {
    let failed = |action| {
        let path = dir.display().to_string();
        move |source| ExportError::Io { action, path, source }
    };
    fs::create_dir_all(dir).map_err(failed("create"))?;
    if fs::read_dir(dir).map_err(failed("list"))?.next().is_some() {
        return Err(ExportError::NotEmpty { dir: dir.display().to_string() });
    }
    Ok(())
}

// === impl ExportLevel ===

impl ExportLevel {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Only(level) => level.as_str(),
            Self::Best => "best",
        }
    }
}
