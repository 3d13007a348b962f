//! Opens the store of a command, beside a collector that may be running.
//!
//! A data directory is locked by its collector. Commands do without the lock: the catalog is a SQLite
//! database in WAL mode, which several processes may read and change, and files are never written over.

use std::{io, path::PathBuf};

use fleetprof_store::{Blobs, Catalog, ProfileStore, StoreError};
use thiserror::Error;

use crate::{
    args::StoreArgs,
    data_dir::{DataDir, DataDirError},
};

/// A store that a command cannot use.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// No collector has been there.
    #[error(
        "{dir} is no data directory of a collector: it has no {missing}; name the right one with --data-dir, or the store with --store and --catalog"
    )]
    NoDataDir {
        /// As given.
        dir: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// It cannot be looked at.
    #[error("cannot look at {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another version made the directory, or it is damaged.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store, and the directory if this process has locked it.
pub(super) struct Place {
    pub(super) store: ProfileStore,
    _lock: Option<DataDir>,
}

// === impl Place ===

impl Place {
    /// Opens a store that is there.
    pub(super) async fn existing(args: &StoreArgs) -> Result<Self, PlaceError> {
        let (blobs, catalog) = match (&args.store, &args.catalog) {
            (Some(store), Some(catalog)) => (Blobs::url(store), catalog.clone()),
            _ => {
                for missing in ["VERSION", "catalog.sqlite", "profiles"] {
                    let path = args.data_dir.join(missing);
                    if !path.try_exists().map_err(|source| PlaceError::Io { path, source })? {
                        return Err(PlaceError::NoDataDir { dir: args.data_dir.clone(), missing });
                    }
                }
                DataDir::check(&args.data_dir)?;
                let catalog = args.data_dir.join("catalog.sqlite");
                let blobs = Blobs::directory(&args.data_dir.join("profiles"));
                (blobs, format!("sqlite:{}", catalog.display()))
            }
        };
        let blobs = blobs.map_err(StoreError::from)?;
        let catalog = Catalog::open(&catalog).await.map_err(StoreError::from)?;
        Ok(Self { store: ProfileStore::existing(blobs, catalog).await?, _lock: None })
    }

    /// Opens a store, or makes it.
    pub(super) async fn open(args: &StoreArgs) -> Result<Self, PlaceError> {
        if let (Some(store), Some(catalog)) = (&args.store, &args.catalog) {
            let blobs = Blobs::url(store).map_err(StoreError::from)?;
            let catalog = Catalog::open(catalog).await.map_err(StoreError::from)?;
            return Ok(Self { store: ProfileStore::open(blobs, catalog).await?, _lock: None });
        }
        let lock = match DataDir::open(&args.data_dir) {
            Ok(lock) => lock,
            Err(DataDirError::Locked { .. }) => return Self::existing(args).await,
            Err(error) => return Err(error.into()),
        };
        let blobs = Blobs::directory(&lock.profiles()).map_err(StoreError::from)?;
        let catalog = format!("sqlite:{}", lock.catalog().display());
        let catalog = Catalog::open(&catalog).await.map_err(StoreError::from)?;
        Ok(Self { store: ProfileStore::open(blobs, catalog).await?, _lock: Some(lock) })
    }
}
