//! What can go wrong while tables are published.

use fleetprof_store::{BlobError, CatalogError, StoreError};
use thiserror::Error;

/// Tables cannot be published. What was committed before stays, and the next round goes on from there.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There is no store.
    #[error(
        "{dir} is no data directory of a collector: it has no {missing}; name the right one with --data-dir, or the store with --store and --catalog"
    )]
    NoDataDir {
        /// As given.
        dir: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// It cannot be looked at.
    #[error("cannot look at {path}: {source}")]
    Io {
        /// What.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// What describes a table is not what was written.
    #[error(
        "{path} is damaged: {what}; remove the folder {folder} to have the table published anew"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
        /// Of the table.
        folder: String,
    },
    /// The tables name files in another place.
    #[error(
        "the table {table} is of {found}, and its files are in {expected} now; if the store was moved or has another name, remove the folder iceberg/ to have its tables published anew"
    )]
    Elsewhere {
        /// Which.
        table: String,
        /// Where it says it is.
        found: String,
        /// Where it should be.
        expected: String,
    },
    /// The library refuses what it is given.
    #[error("cannot {action} of the table {table}: {source}")]
    Iceberg {
        /// What was tried.
        action: &'static str,
        /// Of which.
        table: String,
        /// What it says.
        source: Box<iceberg::Error>,
    },
    /// Somebody else took over, because this one was silent for too long.
    #[error("another committer took over while this one was at it; nothing is lost")]
    LeaseLost,
}
