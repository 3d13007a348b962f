//! Symbol tables: which there are, and which changes there were.

use sqlx::{Row as _, any::AnyRow};

use super::{SymbolContent, SymbolCursor, SymbolTable};
use crate::catalog::{
    commit::storable,
    database::{Change, Database, Outcome, Transaction},
    error::CatalogError,
    files::id,
    number::{column, stored},
    sql::Statement,
    types::{Blob, FileId},
};

const COLUMNS: &str = "id, object, kind, path, bytes, crc, why, merit, level, converter, used, \
     retired, change";
/// Rows that one statement changes by name: what it locks, others wait for.
const STEP: usize = 1000;

/// A new table.
pub(in crate::catalog) struct Publish<'a> {
    pub(in crate::catalog) table: &'a SymbolTable,
    pub(in crate::catalog) now: i64,
}

/// Objects that a profile of a day has code of.
pub(in crate::catalog) struct Use<'a> {
    pub(in crate::catalog) objects: &'a [String],
    pub(in crate::catalog) day: i64,
}

/// Takes tables out of use.
pub(in crate::catalog) struct Retire {
    pub(in crate::catalog) which: Which,
    pub(in crate::catalog) now: i64,
}

/// Those to be retired.
pub(in crate::catalog) enum Which {
    One(FileId),
    UnusedSince(i64),
}

/// The number of this change. Whoever else makes one waits until this one is made or not.
async fn next_change(transaction: &mut Transaction<'_>) -> Result<i64, CatalogError> {
    let count = "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) \
         WHERE name = 'symbol_changes'";
    transaction.execute(Statement::new(count)).await?;
    let read = "SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'symbol_changes'";
    let rows = transaction.fetch(Statement::new(read)).await?;
    let database = transaction.database();
    let row = rows.first().ok_or_else(|| database.damaged("meta", "has no symbol_changes"))?;
    row.try_get(0).map_err(|source| database.failed("number a change of", source))
}

impl Change for Publish<'_> {
    type Answer = bool;

    const ACTION: &'static str = "add a symbol table to";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<bool>, CatalogError> {
        let Self { table, now } = self;
        let change = next_change(transaction).await?;
        let object = table.object.to_string();
        let select =
            format!("SELECT {COLUMNS} FROM symbol_tables WHERE retired IS NULL AND object = ");
        let known = transaction.fetch(Statement::new(&select).bind(object.clone())).await?;
        if let Some(row) = known.first() {
            let known = read(transaction.database(), Self::ACTION, row)?;
            if !table.is_better_than(&known) {
                return Ok(Outcome::Undo(false));
            }
            let statement = Statement::new("UPDATE symbol_tables SET retired = ").bind(*now);
            let statement = statement.push(", change = ").bind(change);
            let statement = statement.push(" WHERE id = ").bind(known.id.number());
            transaction.execute(statement).await?;
        }
        let (kind, blob, why) = match &table.content {
            SymbolContent::Table(blob) => (0_i64, Some(blob), String::new()),
            SymbolContent::Listing(blob) => (1, Some(blob), String::new()),
            SymbolContent::None(why) => (2, None, storable(why)),
        };
        let bytes = blob.map_or(0, |blob| blob.bytes);
        let bytes = stored(bytes, || format!("size of the symbol table of {object}"))?;
        let statement = Statement::new(
            "INSERT INTO symbol_tables (id, object, kind, path, bytes, crc, why, merit, level, \
             converter, published, used, change) VALUES ",
        );
        let statement = statement.rows([()], |values, ()| {
            values.bind(table.id.number()).bind(object.clone()).bind(kind);
            values.bind(blob.map_or_else(String::new, |blob| blob.path.clone())).bind(bytes);
            values.bind(blob.map_or(0, |blob| i64::from(blob.crc32c))).bind(why.clone());
            values.bind(i64::from(table.merit)).bind(i64::from(table.level));
            values.bind(i64::from(table.converter)).bind(*now).bind(table.used).bind(change);
        });
        transaction.execute(statement).await?;
        Ok(Outcome::Keep(true))
    }
}

impl Change for Use<'_> {
    type Answer = u64;

    const ACTION: &'static str = "note the use of symbol tables in";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<u64>, CatalogError> {
        let mut changed = 0;
        for chunk in self.objects.chunks(STEP) {
            let statement = Statement::new("UPDATE symbol_tables SET used = ").bind(self.day);
            let statement = statement.push(" WHERE retired IS NULL AND used < ").bind(self.day);
            let statement = statement.push(" AND object IN ").list(chunk.iter().cloned());
            changed += transaction.execute(statement).await?;
        }
        Ok(Outcome::Keep(changed))
    }
}

impl Change for Retire {
    type Answer = u64;

    const ACTION: &'static str = "retire symbol tables of";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<u64>, CatalogError> {
        let change = next_change(transaction).await?;
        let statement = Statement::new("UPDATE symbol_tables SET retired = ").bind(self.now);
        let statement = statement.push(", change = ").bind(change);
        let statement = statement.push(" WHERE retired IS NULL AND ");
        let statement = match self.which {
            Which::One(id) => statement.push("id = ").bind(id.number()),
            Which::UnusedSince(day) => statement.push("used < ").bind(day),
        };
        match transaction.execute(statement).await? {
            0 => Ok(Outcome::Undo(0)),
            retired => Ok(Outcome::Keep(retired)),
        }
    }
}

/// Changes after a cursor, and the cursor behind them.
pub(in crate::catalog) async fn changes(
    database: &Database,
    after: SymbolCursor,
    limit: u32,
) -> Result<(Vec<SymbolTable>, SymbolCursor), CatalogError> {
    const ACTION: &str = "look for new symbol tables in";
    let text = format!("SELECT {COLUMNS} FROM symbol_tables WHERE (change, id) > (");
    let statement = Statement::new(&text).bind(after.change).push(", ").bind(after.id);
    let statement = statement.push(") ORDER BY change, id LIMIT ").bind(i64::from(limit));
    let rows = database.read(ACTION, statement).await?;
    let cursor = match rows.last() {
        None => after,
        Some(row) => {
            let failed = |source| database.failed(ACTION, source);
            SymbolCursor {
                change: row.try_get(12).map_err(failed)?,
                id: row.try_get(0).map_err(failed)?,
            }
        }
    };
    let tables = rows.iter().map(|row| read(database, ACTION, row)).collect::<Result<_, _>>()?;
    Ok((tables, cursor))
}

/// Those that were retired before `before`.
pub(in crate::catalog) async fn retired(
    database: &Database,
    before: i64,
    limit: u32,
) -> Result<Vec<SymbolTable>, CatalogError> {
    const ACTION: &str = "look for retired symbol tables in";
    let text =
        format!("SELECT {COLUMNS} FROM symbol_tables WHERE retired IS NOT NULL AND retired < ");
    let statement = Statement::new(&text).bind(before).push(" ORDER BY retired, id LIMIT ");
    let rows = database.read(ACTION, statement.bind(i64::from(limit))).await?;
    rows.iter().map(|row| read(database, ACTION, row)).collect()
}

fn read(
    database: &Database,
    action: &'static str,
    row: &AnyRow,
) -> Result<SymbolTable, CatalogError> {
    let failed = |source| database.failed(action, source);
    let id = id(database, row.try_get(0).map_err(failed)?)?;
    let damaged = |what: &str| database.damaged(format!("symbol table {id}"), what);
    let object: String = row.try_get(1).map_err(failed)?;
    let small = |at: usize| {
        let number: u64 = column(database, row, at)?;
        u32::try_from(number).map_err(|_| damaged("has a number that is too large"))
    };
    let kind: i64 = row.try_get(2).map_err(failed)?;
    let path: String = row.try_get(3).map_err(failed)?;
    let blob = Blob { path, bytes: column(database, row, 4)?, crc32c: small(5)? };
    let content = match kind {
        0 => SymbolContent::Table(blob),
        1 => SymbolContent::Listing(blob),
        2 => SymbolContent::None(row.try_get(6).map_err(failed)?),
        _ => return Err(damaged("is of an unknown kind")),
    };
    let retired: Option<i64> = row.try_get(11).map_err(failed)?;
    Ok(SymbolTable {
        id,
        object: object.parse().map_err(|_| damaged("is of an object that is none"))?,
        content,
        merit: small(7)?,
        level: small(8)?,
        converter: small(9)?,
        used: row.try_get(10).map_err(failed)?,
        retired: retired.is_some(),
    })
}
