//! Functions files: which there are, and which pairs of files they stand for.
//!
//! A pair names the one functions file that holds its sums. A functions file that no live pair names is
//! read by nobody.

use std::{collections::HashMap, sync::Arc};

use sqlx::{Row as _, any::AnyRow};

use crate::catalog::{
    audit::Dangling,
    database::{Change, Database, Outcome, Transaction},
    error::CatalogError,
    files::id,
    number::{column, stored},
    sql::{MAX_PARAMETERS, Statement},
    types::{Blob, FileId, FileRow, FunctionFile, LateFunctions, NewFunctions},
};
use crate::level::Level;

const COLUMNS: &str = "id, path, bytes, crc, end_bytes, covers";

/// A new functions file, and the pairs that it stands for.
pub(in crate::catalog) struct Add<'a> {
    pub(in crate::catalog) new: &'a NewFunctions,
    pub(in crate::catalog) files: &'a [FileId],
    pub(in crate::catalog) now: i64,
}

impl Change for Add<'_> {
    type Answer = bool;

    const ACTION: &'static str = "add a functions file to";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<bool>, CatalogError> {
        let NewFunctions { file, level, bucket, missing } = self.new;
        let mut named = 0;
        for chunk in self.files.chunks(MAX_PARAMETERS - 1) {
            let statement = Statement::new("UPDATE files SET functions = ").bind(file.id.number());
            let statement = statement.push(" WHERE retired IS NULL AND damaged IS NULL AND id IN ");
            let statement = statement.list(chunk.iter().map(|id| id.number()));
            named += transaction.execute(statement).await?;
        }
        if named == 0 {
            return Ok(Outcome::Undo(false));
        }
        let number =
            |value, what: &str| stored(value, || format!("{what} of functions {}", file.id));
        let (bytes, end) = (number(file.blob.bytes, "size")?, number(file.end, "end")?);
        let covers = number(file.covers, "number of pairs")?;
        let statement = Statement::new(
            "INSERT INTO function_files (id, level, bucket, path, bytes, crc, end_bytes, covers, \
             missing, created, checked) VALUES ",
        );
        let statement = statement.rows([()], |values, ()| {
            values.bind(file.id.number()).bind(level.number()).bind(*bucket);
            values.bind(file.blob.path.clone()).bind(bytes).bind(i64::from(file.blob.crc32c));
            values.bind(end).bind(covers).bind(missing.join("\n")).bind(self.now).bind(self.now);
        });
        transaction.execute(statement).await?;
        Ok(Outcome::Keep(true))
    }
}

/// Takes functions files that no live pair names out of use.
pub(in crate::catalog) fn retire(now: i64) -> Statement {
    let statement = Statement::new("UPDATE function_files SET retired = ").bind(now);
    statement.push(
        " WHERE retired IS NULL AND NOT EXISTS (SELECT 1 FROM files \
         WHERE files.functions = function_files.id AND files.retired IS NULL)",
    )
}

/// Puts the functions files of pairs into their rows.
pub(in crate::catalog) async fn attach(
    database: &Database,
    action: &'static str,
    files: &mut [FileRow],
    numbers: &[Option<i64>],
) -> Result<(), CatalogError> {
    let mut wanted: Vec<i64> = numbers.iter().flatten().copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = HashMap::with_capacity(wanted.len());
    for chunk in wanted.chunks(MAX_PARAMETERS) {
        let text = format!("SELECT {COLUMNS} FROM function_files WHERE retired IS NULL AND id IN ");
        let statement = Statement::new(&text).list(chunk.iter().copied());
        for row in database.read(action, statement).await? {
            let file = file(database, action, &row)?;
            found.insert(file.id.number(), Arc::new(file));
        }
    }
    for (row, number) in files.iter_mut().zip(numbers) {
        row.functions = number.and_then(|number| found.get(&number).cloned());
    }
    Ok(())
}

fn file(
    database: &Database,
    action: &'static str,
    row: &AnyRow,
) -> Result<FunctionFile, CatalogError> {
    let failed = |source| database.failed(action, source);
    let id = id(database, row.try_get(0).map_err(failed)?)?;
    let crc32c: i64 = row.try_get(3).map_err(failed)?;
    let bad = |_| database.damaged(format!("functions file {id}"), "has a checksum that is none");
    let blob = Blob {
        path: row.try_get(1).map_err(failed)?,
        bytes: column(database, row, 2)?,
        crc32c: crc32c.try_into().map_err(bad)?,
    };
    Ok(FunctionFile { id, blob, end: column(database, row, 4)?, covers: column(database, row, 5)? })
}

/// Those that were made while names were missing, the one that was looked at longest ago first.
pub(in crate::catalog) async fn late(
    database: &Database,
    limit: u32,
) -> Result<Vec<LateFunctions>, CatalogError> {
    const ACTION: &str = "look for functions without names in";
    let statement = Statement::new(
        "SELECT id, level, bucket, missing FROM function_files \
         WHERE retired IS NULL AND missing <> '' ORDER BY checked, id LIMIT ",
    );
    let late = |row: &AnyRow| {
        let failed = |source| database.failed(ACTION, source);
        let id = id(database, row.try_get(0).map_err(failed)?)?;
        let level = Level::from_number(row.try_get(1).map_err(failed)?);
        let missing: String = row.try_get(3).map_err(failed)?;
        let unknown = || database.damaged(format!("functions file {id}"), "has an unknown level");
        Ok(LateFunctions {
            id,
            level: level.ok_or_else(unknown)?,
            bucket: row.try_get(2).map_err(failed)?,
            missing: missing.lines().map(str::to_owned).collect(),
        })
    };
    database.read(ACTION, statement.bind(i64::from(limit))).await?.iter().map(late).collect()
}

/// Live ones by id, those after `after`.
pub(in crate::catalog) async fn page(
    database: &Database,
    action: &'static str,
    after: i64,
    limit: u32,
) -> Result<Vec<FunctionFile>, CatalogError> {
    let text = format!("SELECT {COLUMNS} FROM function_files WHERE retired IS NULL AND id > ");
    let statement = Statement::new(&text).bind(after).push(" ORDER BY id LIMIT ");
    let rows = database.read(action, statement.bind(i64::from(limit))).await?;
    rows.iter().map(|row| file(database, action, row)).collect()
}

/// Those of these that are live, or those that are retired.
pub(in crate::catalog) async fn find(
    database: &Database,
    action: &'static str,
    ids: &[FileId],
    retired: bool,
) -> Result<Vec<FunctionFile>, CatalogError> {
    let condition = if retired { "retired IS NOT NULL" } else { "retired IS NULL" };
    let text = format!("SELECT {COLUMNS} FROM function_files WHERE {condition} AND id IN ");
    let mut found = Vec::new();
    for chunk in ids.chunks(MAX_PARAMETERS) {
        let statement = Statement::new(&text).list(chunk.iter().map(|id| id.number()));
        for row in database.read(action, statement).await? {
            found.push(file(database, action, &row)?);
        }
    }
    Ok(found)
}

/// Live pairs after `after` that name a functions file which is not there, or is retired.
pub(in crate::catalog) async fn dangling(
    database: &Database,
    action: &'static str,
    after: i64,
    limit: u32,
) -> Result<Vec<Dangling>, CatalogError> {
    let statement = Statement::new(
        "SELECT id, samples_path, functions FROM files WHERE retired IS NULL \
         AND functions IS NOT NULL AND NOT EXISTS (SELECT 1 FROM function_files \
         WHERE function_files.id = files.functions AND function_files.retired IS NULL) AND id > ",
    );
    let statement = statement.bind(after).push(" ORDER BY id LIMIT ").bind(i64::from(limit));
    let dangling = |row: &AnyRow| {
        let failed = |source| database.failed(action, source);
        Ok(Dangling {
            pair: id(database, row.try_get(0).map_err(failed)?)?,
            path: row.try_get(1).map_err(failed)?,
            functions: id(database, row.try_get(2).map_err(failed)?)?,
        })
    };
    database.read(action, statement).await?.iter().map(dangling).collect()
}

/// Those that were retired before `before`.
pub(in crate::catalog) async fn retired(
    database: &Database,
    before: i64,
    limit: u32,
) -> Result<Vec<FunctionFile>, CatalogError> {
    const ACTION: &str = "look for retired functions files in";
    let text =
        format!("SELECT {COLUMNS} FROM function_files WHERE retired IS NOT NULL AND retired < ");
    let statement = Statement::new(&text).bind(before).push(" ORDER BY retired, id LIMIT ");
    let rows = database.read(ACTION, statement.bind(i64::from(limit))).await?;
    rows.iter().map(|row| file(database, ACTION, row)).collect()
}

/// Size of all live ones.
pub(in crate::catalog) async fn bytes(database: &Database) -> Result<u64, CatalogError> {
    let sum =
        "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM function_files WHERE retired IS NULL";
    let rows = database.read("measure", Statement::new(sum)).await?;
    rows.first().map_or(Ok(0), |row| column(database, row, 0))
}
