//! Looking at all there is: for checks of the whole store, not for queries.

use sqlx::Row as _;

use super::{
    Catalog, CatalogError, FileId, FileRow, FunctionFile, files,
    functions::rows,
    number::column,
    sql::{MAX_PARAMETERS, Statement},
};
use crate::level::{DAY, Level};

/// Live files of one level, hour or day, and service together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSum {
    /// Which level.
    pub level: Level,
    /// Start of the hour or day, Unix nanoseconds.
    pub bucket: i64,
    /// Which service.
    pub service: String,
    /// Whether these samples are in the next level, too.
    pub rolled: bool,
    /// Number of samples.
    pub samples: u64,
    /// CPU time they stand for, nanoseconds.
    pub nanos: u64,
    /// Earliest end of the data of one of the files, Unix nanoseconds: age removes files in this order.
    pub first_end: i64,
}

/// A live pair that names a functions file which the catalog does not have: its samples are read, and nobody
/// makes another functions file for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dangling {
    /// The pair.
    pub(crate) pair: FileId,
    /// Its samples file.
    pub(crate) path: String,
    /// What it names.
    pub(crate) functions: FileId,
}

/// For messages.
const ACTION: &str = "go through";

// === impl Catalog ===

impl Catalog {
    /// Live files by id, those after `after`, no more than `limit`. Those that come or go between two
    /// pages may or may not be there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(
        &self,
        after: Option<FileId>,
        limit: u32,
    ) -> Result<Vec<FileRow>, CatalogError> {
        let after = after.map_or(0, FileId::number);
        let statement = files::select("retired IS NULL AND id > ").bind(after);
        let statement = statement.push(" ORDER BY id LIMIT ").bind(i64::from(limit));
        files::read(&self.database, ACTION, statement).await
    }

    /// Those of these files that are live, or those that are retired, by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, ids: &[FileId], retired: bool) -> Result<Vec<FileRow>, CatalogError> {
        let condition = if retired { "retired IS NOT NULL" } else { "retired IS NULL" };
        let mut found = Vec::new();
        for chunk in ids.chunks(MAX_PARAMETERS) {
            let statement = files::select(&format!("{condition} AND id IN "));
            let statement = statement.list(chunk.iter().map(|id| id.number()));
            let statement = statement.push(" ORDER BY id");
            found.extend(files::read(&self.database, ACTION, statement).await?);
        }
        Ok(found)
    }

    /// Live functions files by id, those after `after`, no more than `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn functions_page(
        &self,
        after: Option<FileId>,
        limit: u32,
    ) -> Result<Vec<FunctionFile>, CatalogError> {
        let after = after.map_or(0, FileId::number);
        rows::page(&self.database, ACTION, after, limit).await
    }

    /// Those of these functions files that are live, or those that are retired.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn find_functions(
        &self,
        ids: &[FileId],
        retired: bool,
    ) -> Result<Vec<FunctionFile>, CatalogError> {
        rows::find(&self.database, ACTION, ids, retired).await
    }

    /// Live pairs that name a functions file which is not there, by id, those after `after`, no more than
    /// `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn dangling(
        &self,
        after: Option<FileId>,
        limit: u32,
    ) -> Result<Vec<Dangling>, CatalogError> {
        let after = after.map_or(0, FileId::number);
        rows::dangling(&self.database, ACTION, after, limit).await
    }

    /// The days that have live files, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn days(&self) -> Result<Vec<i64>, CatalogError> {
        let statement = Statement::new("SELECT DISTINCT bucket FROM files WHERE retired IS NULL");
        let failed = |source| self.database.failed(ACTION, source);
        let mut days = Vec::new();
        for row in self.database.read(ACTION, statement).await? {
            let bucket: i64 = row.try_get(0).map_err(failed)?;
            days.push(bucket - bucket.rem_euclid(DAY));
        }
        days.sort_unstable();
        days.dedup();
        Ok(days)
    }

    /// What live files of each level, hour or day, and service hold together, those whose hour or day
    /// begins in a range; damaged ones included. One state of the catalog.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sums(&self, (start, end): (i64, i64)) -> Result<Vec<BucketSum>, CatalogError> {
        let statement = Statement::new(
            "SELECT f.level, f.bucket, s.service, f.rolled, CAST(SUM(s.samples) AS BIGINT), \
             CAST(SUM(s.nanos) AS BIGINT), MIN(f.range_end) \
             FROM files f JOIN file_services s ON s.file = f.id \
             WHERE f.retired IS NULL AND f.level IN ",
        );
        let statement = statement.list(Level::ALL.map(Level::number));
        let statement = statement.push(" AND f.bucket >= ").bind(start);
        let statement = statement.push(" AND f.bucket < ").bind(end);
        let statement = statement.push(
            " GROUP BY f.level, f.bucket, s.service, f.rolled ORDER BY f.level, f.bucket, s.service",
        );
        let database = &self.database;
        let failed = |source| database.failed(ACTION, source);
        let mut sums = Vec::new();
        for row in database.read(ACTION, statement).await? {
            let number: i64 = row.try_get(0).map_err(failed)?;
            let level = Level::from_number(number).ok_or_else(|| {
                database.damaged("the list of files", format!("has files of level {number}"))
            })?;
            let rolled: i64 = row.try_get(3).map_err(failed)?;
            sums.push(BucketSum {
                level,
                bucket: row.try_get(1).map_err(failed)?,
                service: row.try_get(2).map_err(failed)?,
                rolled: rolled != 0,
                samples: column(database, &row, 4)?,
                nanos: column(database, &row, 5)?,
                first_end: row.try_get(6).map_err(failed)?,
            });
        }
        Ok(sums)
    }
}
