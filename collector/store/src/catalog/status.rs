//! What a catalog has, in numbers.

use sqlx::{Row as _, any::AnyRow};

use super::{
    change::Single,
    commit::{COLUMNS, Kept},
    database::Database,
    error::CatalogError,
    number::column,
    sql::Statement,
    types::{CatalogStatus, Instance, LevelStatus, ServiceSum},
};
use crate::level::Level;

/// For messages.
const ACTION: &str = "read the status of";

/// Instances with data in a range that lost something.
pub(super) async fn lossy_instances(
    database: &Database,
    (start, end): (i64, i64),
) -> Result<Vec<Instance>, CatalogError> {
    let statement = format!("SELECT {COLUMNS} FROM instances WHERE lost > 0 AND window_end > ");
    let statement = Statement::new(&statement).bind(start).push(" AND window_start < ").bind(end);
    read_instances(database, statement).await
}

/// The instances with the latest data, no more than so many.
pub(super) async fn latest_instances(
    database: &Database,
    limit: u32,
) -> Result<Vec<Instance>, CatalogError> {
    let statement = Statement::new(&format!(
        "SELECT {COLUMNS} FROM instances ORDER BY window_end DESC, id LIMIT "
    ));
    read_instances(database, statement.bind(i64::from(limit))).await
}

async fn read_instances(
    database: &Database,
    statement: Statement,
) -> Result<Vec<Instance>, CatalogError> {
    let rows = database.read("read instances of", statement).await?;
    rows.iter().map(|row| Ok(Kept::read(database, row)?.status)).collect()
}

/// Forgets instances whose last window ended before an instant; gives how many.
pub(super) async fn forget_instances(
    database: &Database,
    before: i64,
) -> Result<u64, CatalogError> {
    let statement = || Statement::new("DELETE FROM instances WHERE window_end < ").bind(before);
    database.change(&Single(statement)).await
}

/// Everything in numbers.
pub(super) async fn status(database: &Database) -> Result<CatalogStatus, CatalogError> {
    // One row for each level, those of retired files apart; sums of PostgreSQL are of another type.
    let statement = Statement::new(
        "SELECT CASE WHEN retired IS NULL THEN 1 ELSE 0 END AS live, level, \
         CAST(COUNT(*) AS BIGINT), CAST(SUM(rolled) AS BIGINT), \
         CAST(SUM(CASE WHEN damaged IS NULL THEN 0 ELSE 1 END) AS BIGINT), \
         CAST(SUM(CASE WHEN damaged IS NULL THEN samples ELSE 0 END) AS BIGINT), \
         CAST(SUM(CASE WHEN damaged IS NULL AND rolled = 0 THEN samples ELSE 0 END) AS BIGINT), \
         CAST(SUM(bytes) AS BIGINT), MIN(range_start), MAX(range_end) \
         FROM files GROUP BY 1, 2",
    );
    let empty = |level| LevelStatus {
        level,
        files: 0,
        rolled: 0,
        damaged: 0,
        samples: 0,
        unrolled_samples: 0,
        bytes: 0,
        window: None,
    };
    let mut levels = Level::ALL.map(empty);
    let mut status = CatalogStatus::default();
    for row in database.read(ACTION, statement).await? {
        let of_level = level(database, &row)?;
        if column(database, &row, 0)? == 0 {
            status.retired += of_level.files;
            status.retired_bytes += of_level.bytes;
            continue;
        }
        status.add(&of_level);
        if let Some(level) = levels.iter_mut().find(|level| level.level == of_level.level) {
            *level = of_level;
        }
    }
    status.levels = levels.to_vec();
    let batches = Statement::new("SELECT CAST(SUM(batches) AS BIGINT) FROM instances");
    if let Some(row) = database.read(ACTION, batches).await?.first() {
        status.batches = column(database, row, 0)?;
    }
    Ok(status)
}

fn level(database: &Database, row: &AnyRow) -> Result<LevelStatus, CatalogError> {
    let failed = |source| database.failed(ACTION, source);
    let number = row.try_get(1).map_err(failed)?;
    let level = Level::from_number(number).ok_or_else(|| {
        database.damaged("the list of files", format!("has files of level {number}"))
    })?;
    Ok(LevelStatus {
        level,
        files: column(database, row, 2)?,
        rolled: column(database, row, 3)?,
        damaged: column(database, row, 4)?,
        samples: column(database, row, 5)?,
        unrolled_samples: column(database, row, 6)?,
        bytes: column(database, row, 7)?,
        window: Some((row.try_get(8).map_err(failed)?, row.try_get(9).map_err(failed)?)),
    })
}

/// Sums by service, by name, over the live and undamaged files of a level all of whose data are in a
/// range.
pub(super) async fn services(
    database: &Database,
    level: Level,
    range: (i64, i64),
) -> Result<Vec<ServiceSum>, CatalogError> {
    let (start, end) = range;
    let statement = Statement::new(
        "SELECT s.service, CAST(SUM(s.samples) AS BIGINT), CAST(SUM(s.nanos) AS BIGINT) \
         FROM files f JOIN file_services s ON s.file = f.id \
         WHERE f.retired IS NULL AND f.damaged IS NULL AND f.level = ",
    )
    .bind(level.number())
    .push(" AND f.range_end <= ")
    .bind(end)
    .push(" AND f.range_end > ")
    .bind(start)
    .push(" AND f.range_start >= ")
    .bind(start)
    .push(" GROUP BY s.service ORDER BY s.service");
    let sum = |row: &AnyRow| {
        let service = row.try_get(0).map_err(|source| database.failed(ACTION, source))?;
        let (samples, nanos) = (column(database, row, 1)?, column(database, row, 2)?);
        Ok(ServiceSum { service, samples, nanos })
    };
    database.read(ACTION, statement).await?.iter().map(sum).collect()
}

// === impl CatalogStatus ===

impl CatalogStatus {
    fn add(&mut self, level: &LevelStatus) {
        self.files += level.files;
        self.samples += level.unrolled_samples;
        self.bytes += level.bytes;
        self.damaged += level.damaged;
        self.window = match (self.window, level.window) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
    }
}
