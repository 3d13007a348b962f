//! What can go wrong with a catalog.

use std::sync::Arc;

use thiserror::Error;

/// A catalog failed or was asked for what it cannot do.
///
/// Every message names the catalog, without its password.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// No catalog can be made of a URL.
    #[error(
        "cannot use {url:?} as a catalog: {why}. Use sqlite:PATH for one collector or postgres://USER@HOST/DATABASE for many"
    )]
    Url {
        /// As given, without a password.
        url: String,
        /// Why.
        why: String,
    },
    /// It is not reached, or refuses; nothing was done. It may succeed later.
    #[error("cannot {action} the catalog {catalog}: {source}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Where.
        catalog: Arc<str>,
        /// What the database says.
        source: sqlx::Error,
    },
    /// It takes too long; nothing was done. It may succeed later.
    #[error(
        "cannot {action} the catalog {catalog}: no answer within {seconds} s; see whether the database is up and not overloaded"
    )]
    Silent {
        /// What was tried.
        action: &'static str,
        /// Where.
        catalog: Arc<str>,
        /// How long was waited.
        seconds: u64,
    },
    /// The connection was lost while a change was being made final: it is done or not. Whoever tries
    /// again finds out; nothing is done twice.
    #[error(
        "lost the catalog {catalog} before it said whether a change ({action}) was made: {why}"
    )]
    Unknown {
        /// What was tried.
        action: &'static str,
        /// Where.
        catalog: Arc<str>,
        /// What happened.
        why: String,
    },
    /// Its tables are not those that this version makes.
    #[error("cannot set up the tables of the catalog {catalog}: {source}")]
    Schema {
        /// Where.
        catalog: Arc<str>,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A newer version of fleetprof has changed its tables.
    #[error(
        "the catalog {catalog} has version {found} of its tables, this fleetprof knows versions up to {known}: upgrade this collector"
    )]
    Newer {
        /// Where.
        catalog: Arc<str>,
        /// Version of the tables.
        found: i64,
        /// Latest version known here.
        known: i64,
    },
    /// A row is not what was written.
    #[error("the catalog {catalog} is damaged: {what} {why}; restore it from a backup")]
    Damaged {
        /// Where.
        catalog: Arc<str>,
        /// Of which row.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A number does not fit in SQL's 64 bits with a sign. Nothing was done.
    #[error("{what} is {value}, more than a catalog can hold ({})", i64::MAX)]
    TooLarge {
        /// Of what.
        what: String,
        /// The number.
        value: u64,
    },
    /// The caller contradicts itself. Nothing was done.
    #[error("refused by the catalog: {0}")]
    Refused(String),
}

// === impl CatalogError ===

impl CatalogError {
    /// Whether the database lacks space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Database { source, .. } if super::database::is_full(source))
    }
}
