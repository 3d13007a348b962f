//! Files that were found lately.
//!
//! Queries ask for those of the same days again and again; of a month of a hundred services these are thousands
//! of rows. The catalog is asked each time whether they are still the same, which it knows from its indices.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};
use sqlx::Row as _;

use super::{
    database::Database,
    error::CatalogError,
    files,
    types::{FileQuery, FileRow, Rolled},
};
use crate::level::Level;

const ACTION: &str = "look for files in";
/// Memory for all, bytes.
const MAX_BYTES: u64 = 64 << 20;
/// About what a row takes with its paths and one service, and what a further service takes.
const ROW_BYTES: usize = 500;
const SERVICE_BYTES: usize = 60;
/// Queries that are expected.
const QUERIES: usize = 1000;

/// What was found lately, by query.
#[derive(Debug)]
pub(super) struct KnownFiles(Cache<Key, Found, ByMemory>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    level: Option<Level>,
    range: (i64, i64),
    service: Option<String>,
    rolled: Rolled,
}

#[derive(Clone, Debug)]
struct Found {
    /// Of the catalog before and after the files were looked for.
    state: Vec<State>,
    files: Arc<[FileRow]>,
}

type State = [i64; files::STATE];

#[derive(Clone, Debug)]
struct ByMemory;

// === impl KnownFiles ===

impl Default for KnownFiles {
    fn default() -> Self {
        Self(Cache::with_weighter(QUERIES, MAX_BYTES, ByMemory))
    }
}

impl KnownFiles {
    /// What a query finds now.
    pub(super) async fn find(
        &self,
        database: &Database,
        query: &FileQuery<'_>,
    ) -> Result<Arc<[FileRow]>, CatalogError> {
        let state = state(database, query).await?;
        let FileQuery { level, range, service, rolled } = *query;
        let key = Key { level, range, service: service.map(str::to_owned), rolled };
        if let Some(found) = self.0.get(&key).filter(|found| found.state == state) {
            return Ok(found.files);
        }
        let files: Arc<[FileRow]> =
            files::read(database, ACTION, files::queried(query)).await?.into();
        // What changes meanwhile may change back, and would be taken for what was there.
        if self::state(database, query).await? == state {
            self.0.insert(key, Found { state, files: files.clone() });
        }
        Ok(files)
    }
}

async fn state(database: &Database, query: &FileQuery<'_>) -> Result<Vec<State>, CatalogError> {
    let rows = database.read(ACTION, files::state(query)).await?;
    rows.iter()
        .map(|row| {
            let mut state = State::default();
            for (at, number) in state.iter_mut().enumerate() {
                *number = row.try_get(at).map_err(|source| database.failed(ACTION, source))?;
            }
            Ok(state)
        })
        .collect()
}

// === impl ByMemory ===

impl Weighter<Key, Found> for ByMemory {
    fn weight(&self, _: &Key, found: &Found) -> u64 {
        let row = |row: &FileRow| ROW_BYTES + SERVICE_BYTES * row.file.services.len();
        (ROW_BYTES + found.files.iter().map(row).sum::<usize>()) as u64
    }
}
