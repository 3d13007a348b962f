//! What can go wrong with a store.

use thiserror::Error;

use crate::{blobs::BlobError, catalog::CatalogError, format::FormatError};

/// Storage that failed or cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The object store failed, or a file in it is damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Samples cannot be written as a file, or a file is none.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The files are another store's than the catalog's.
    #[error(
        "the files in {store} are of the store {found}, the catalog is of {expected}: give the catalog and the place that belong together, or restore the catalog from a backup"
    )]
    Strangers {
        /// Where the files are.
        store: String,
        /// What they say.
        found: String,
        /// What the catalog says.
        expected: String,
    },
    /// There are files, and nothing says whose.
    #[error(
        "{store} has files ({file}) but not the one that says of which store they are (fleetprof-store): give another place, or restore that file"
    )]
    Unmarked {
        /// Where.
        store: String,
        /// One of them.
        file: String,
    },
    /// There is no store, and none is to be made.
    #[error(
        "there is no store in {store}: no files, and no mark (fleetprof-store); give the place that a collector uses"
    )]
    Absent {
        /// Where.
        store: String,
    },
    /// A defect: a task of the store panicked.
    #[error("an internal task of the store failed; the log says where")]
    Panicked,
}

// === impl StoreError ===

impl StoreError {
    /// Whether the cause is a lack of space.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Blob(error) => matches!(error, BlobError::Full { .. }),
            Self::Catalog(error) => error.is_full(),
            _ => false,
        }
    }

    /// Whether a file is lost or damaged, so that trying again does not help.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Blob(BlobError::Damaged { .. }) | Self::Format(FormatError::Damaged { .. })
        )
    }
}
