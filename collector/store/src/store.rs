//! The store as a whole: opening it, writing pairs of files, its state.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fleetprof_proto::symbol::Line;
use tracing::warn;

use crate::{
    blobs::Blobs,
    catalog::{Catalog, CatalogStatus, FileId, FileRow, Instance, NewFile},
    error::StoreError,
    format::{self, Encoded, Names},
    labels::WrittenLabels,
    level::Level,
    names::Namer,
    table::Table,
};

/// The file that says which store the files are of.
const IDENTITY: &str = "fleetprof-store";

/// Profiles in an object store, and the catalog that says which. Cloning shares it.
#[derive(Clone)]
pub struct ProfileStore {
    pub(crate) blobs: Blobs,
    pub(crate) catalog: Catalog,
    /// Values of labels that need not be written again.
    pub(crate) labels: Arc<WrittenLabels>,
    /// Why the last write failed, until one succeeds.
    failure: Arc<Mutex<Option<String>>>,
}

/// The lines of each frame row.
struct LinesOf(Vec<Vec<Line>>);

impl Names for LinesOf {
    fn lines(&self, frame: usize) -> Option<&[Line]> {
        self.0.get(frame).map(Vec::as_slice)
    }
}

/// A file that is there, if there is one.
async fn some_file(blobs: &Blobs) -> Result<Option<String>, StoreError> {
    for level in Level::ALL {
        if let Some(file) = blobs.list(level.as_str()).await?.into_iter().next() {
            return Ok(Some(file.path));
        }
    }
    Ok(None)
}

/// Where a table belongs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub level: Level,
    /// Start of its hour or day, Unix nanoseconds.
    pub bucket: i64,
    /// The only service in it, if it holds one by design.
    pub service: Option<String>,
    /// Batches it was made from directly.
    pub batches: u64,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// The store whose files and whose catalog these are. Where there is none yet, one begins.
    ///
    /// # Errors
    /// When they do not belong together: files that a catalog does not know are removed after a while,
    /// so a wrong catalog would cost them all. When one of them fails.
    pub async fn open(blobs: Blobs, catalog: Catalog) -> Result<Self, StoreError> {
        let expected = catalog.identity().await?;
        let found = match blobs.small(IDENTITY).await? {
            Some(found) => String::from_utf8_lossy(&found).trim().to_owned(),
            None => {
                if let Some(file) = some_file(&blobs).await? {
                    let store = blobs.name().to_owned();
                    return Err(StoreError::Unmarked { store, file });
                }
                // Of several collectors that start at once one is first.
                let line = format!("{expected}\n");
                blobs.create(IDENTITY, line.clone().into()).await?;
                let found = blobs.small(IDENTITY).await?.unwrap_or(line.into());
                String::from_utf8_lossy(&found).trim().to_owned()
            }
        };
        if found != expected {
            let store = blobs.name().to_owned();
            return Err(StoreError::Strangers { store, found, expected });
        }
        Ok(Self { blobs, catalog, labels: Arc::default(), failure: Arc::default() })
    }

    /// The store whose files and whose catalog these are, if there is one; none is begun.
    ///
    /// # Errors
    /// When there is none, when they do not belong together, or when one of them fails.
    pub async fn existing(blobs: Blobs, catalog: Catalog) -> Result<Self, StoreError> {
        if blobs.small(IDENTITY).await?.is_none() && some_file(&blobs).await?.is_none() {
            return Err(StoreError::Absent { store: blobs.name().to_owned() });
        }
        Self::open(blobs, catalog).await
    }

    /// What identifies it.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub async fn identity(&self) -> Result<String, StoreError> {
        Ok(self.catalog.identity().await?)
    }

    /// What is kept.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub async fn status(&self) -> Result<CatalogStatus, StoreError> {
        Ok(self.catalog.status().await?)
    }

    /// What was taken over, by the agent instance it came from: those with the latest data, latest first, no
    /// more than `limit`.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub async fn latest_instances(&self, limit: u32) -> Result<Vec<Instance>, StoreError> {
        Ok(self.catalog.latest_instances(limit).await?)
    }

    /// Agent instances with data in a range, Unix nanoseconds, the end exclusive, that said that they lost
    /// something.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub async fn lossy_instances(&self, range: (i64, i64)) -> Result<Vec<Instance>, StoreError> {
        Ok(self.catalog.lossy_instances(range).await?)
    }

    /// Pairs of files that are damaged.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub async fn damaged(&self) -> Result<Vec<FileRow>, StoreError> {
        Ok(self.catalog.damaged().await?)
    }

    /// Whether batches can be kept now: the catalog is asked, and, after a failure, the object store is
    /// written.
    ///
    /// # Errors
    /// Why they cannot.
    pub async fn check(&self) -> Result<(), String> {
        self.catalog.check().await.map_err(|error| error.to_string())?;
        if self.failure().is_none() {
            return Ok(());
        }
        let tried = self.blobs.try_write().await.map_err(StoreError::from);
        self.note(tried.as_ref().err());
        match self.failure() {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers whether the last write failed.
    pub(crate) fn note(&self, error: Option<&StoreError>) {
        let reason = error.map(ToString::to_string);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Now, Unix nanoseconds.
    pub(crate) fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Runs CPU work off the async threads.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Panicked)
    }

    /// Writes a table as a pair of files, which nobody knows until it is committed.
    pub(crate) async fn write_table(
        &self,
        place: Place,
        table: Table,
        namer: Option<Arc<dyn Namer>>,
    ) -> Result<NewFile, StoreError> {
        let id = FileId::random();
        let encode = move || {
            let lines = namer.map(|namer| LinesOf(namer.names(&table.code)));
            format::encode(id, &table, lines.as_ref().map(|lines| lines as &dyn Names))
        };
        let encoded: Encoded = self.compute(encode).await??;
        let name = place.path(id);
        let (samples, stacks) =
            (format!("{name}.samples.parquet"), format!("{name}.stacks.parquet"));
        let (samples, stacks) = tokio::try_join!(
            self.blobs.put(&samples, encoded.samples),
            self.blobs.put(&stacks, encoded.stacks)
        )?;
        Ok(NewFile {
            id,
            level: place.level,
            bucket: place.bucket,
            service: place.service,
            samples,
            stacks,
            rows: encoded.rows,
            batches: place.batches,
            spans: encoded.spans,
            services: encoded.services,
        })
    }

    /// Removes files that nobody knows. What cannot be removed is left to the sweep.
    pub(crate) async fn discard(&self, files: &[NewFile]) {
        let paths = files.iter().flat_map(|it| [it.samples.path.clone(), it.stacks.path.clone()]);
        if let Err(error) = self.blobs.delete(paths.collect()).await {
            warn!(%error, "cannot remove files that are not needed; they are swept later");
        }
    }
}

// === impl Place ===

impl Place {
    /// `fine/2026-11-27/02/ID`, `daily/2026-11-27/ID`.
    pub(crate) fn path(&self, id: FileId) -> String {
        let date = fleetprof_proto::time_range::format_instant(self.bucket);
        let (day, time) = date.split_once('T').unwrap_or((&date, "00"));
        let level = self.level.as_str();
        match self.level {
            Level::Daily => format!("{level}/{day}/{id}"),
            Level::Fine | Level::Hourly => {
                format!("{level}/{day}/{}/{id}", time.get(..2).unwrap_or("00"))
            }
        }
    }
}
