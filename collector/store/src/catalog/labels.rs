//! Values of labels that only fine files have.

use std::collections::BTreeSet;

use sqlx::{Row as _, any::AnyRow};

use super::{
    Catalog, CatalogError, FileId, FileRow,
    change::Single,
    database::{Change, Outcome, Transaction},
    files,
    sql::{MAX_PARAMETERS, Statement, Values},
};
use crate::level::{DAY, HOUR, Level};

const ACTION: &str = "look up labels in";
/// Of a value in a statement.
const PARAMETERS: usize = 4;

/// A value of a label, found on a day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelValue {
    /// Of the samples of which service; empty: of any.
    pub service: String,
    /// Name of the label.
    pub name: String,
    /// Start of the day, Unix nanoseconds.
    pub day: i64,
    /// Its value.
    pub value: String,
}

// === impl Catalog ===

impl Catalog {
    /// Values of a label in the samples of a service (empty: of all) on some days, whose starts these are the
    /// first and the last of, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn label_values(
        &self,
        service: &str,
        name: &str,
        (first, last): (i64, i64),
    ) -> Result<Vec<String>, CatalogError> {
        let statement = Statement::new("SELECT DISTINCT value FROM label_values WHERE service = ");
        let statement = statement.bind(service.to_owned()).push(" AND name = ");
        let statement = statement.bind(name.to_owned()).push(" AND day >= ").bind(first);
        let statement = statement.push(" AND day <= ").bind(last).push(" ORDER BY value");
        let rows = self.database.read(ACTION, statement).await?;
        let value =
            |row: &AnyRow| row.try_get(0).map_err(|source| self.database.failed(ACTION, source));
        rows.iter().map(value).collect()
    }

    /// Live fine files with data in a range of which not all values of labels are known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unlabelled(&self, (start, end): (i64, i64)) -> Result<Vec<FileRow>, CatalogError> {
        // By hours alone: with more conditions SQLite takes another index, which has all files.
        let statement = files::select("retired IS NULL AND level = 0 AND labelled <> 1");
        let statement =
            statement.push(" AND bucket >= ").bind(start.saturating_sub(files::REACH + HOUR));
        let statement = statement.push(" AND bucket <= ").bind(end.saturating_add(files::REACH));
        let statement = statement.push(" ORDER BY bucket, created, id");
        let mut found = files::read(&self.database, ACTION, statement).await?;
        found.retain(|row| row.file.range().0 < end && row.file.range().1 > start);
        Ok(found)
    }

    /// Some of those among them whose values may be written, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_label(&self, limit: u32) -> Result<Vec<FileRow>, CatalogError> {
        // Said twice: the index is of those that are not 1.
        let statement = files::select(
            "retired IS NULL AND level = 0 AND labelled <> 1 AND labelled = 0 AND damaged IS NULL \
             ORDER BY bucket DESC, id LIMIT ",
        );
        files::read(&self.database, ACTION, statement.bind(i64::from(limit))).await
    }

    /// Adds values of labels, which are then all there are of some files; of others there are too many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_labels(
        &self,
        values: &BTreeSet<LabelValue>,
        labelled: &[FileId],
        with_too_many: &[FileId],
    ) -> Result<(), CatalogError> {
        self.database.change(&Add { values, labelled, with_too_many }).await
    }

    /// Start of the first hour of which there are live fine files; `None` when there are none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_fine(&self) -> Result<Option<i64>, CatalogError> {
        let statement =
            Statement::new("SELECT bucket FROM files WHERE retired IS NULL AND level = ");
        let statement = statement.bind(Level::Fine.number()).push(" ORDER BY bucket LIMIT 1");
        let rows = self.database.read(ACTION, statement).await?;
        let bucket = rows.first().map(|row| row.try_get(0)).transpose();
        bucket.map_err(|source| self.database.failed(ACTION, source))
    }

    /// Forgets the values of days that begin before an instant, Unix nanoseconds, and have no live fine files
    /// (those that cannot be merged stay); gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_labels(&self, before: i64) -> Result<u64, CatalogError> {
        let statement = || {
            let statement = Statement::new("DELETE FROM label_values WHERE day < ").bind(before);
            let statement = statement.push(
                " AND NOT EXISTS (SELECT 1 FROM files WHERE retired IS NULL AND level = 0 \
                 AND bucket >= day AND bucket < day + ",
            );
            statement.bind(DAY).push(")")
        };
        self.database.change(&Single(statement)).await
    }

    /// Those of some values that are not there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lacking_labels(
        &self,
        values: &BTreeSet<LabelValue>,
    ) -> Result<BTreeSet<LabelValue>, CatalogError> {
        let values: Vec<_> = values.iter().collect();
        let mut lacking = BTreeSet::new();
        for chunk in values.chunks(MAX_PARAMETERS / PARAMETERS) {
            let statement = Statement::new("WITH wanted (service, name, day, value) AS (VALUES ");
            let statement = statement.rows(chunk, fill).push(
                ") SELECT service, name, day, value FROM wanted WHERE NOT EXISTS (SELECT 1 \
                 FROM label_values AS has WHERE has.service = wanted.service \
                 AND has.name = wanted.name AND has.value = wanted.value AND has.day = wanted.day)",
            );
            for row in self.database.read(ACTION, statement).await? {
                let value = label_value(&row);
                lacking.insert(value.map_err(|source| self.database.failed(ACTION, source))?);
            }
        }
        Ok(lacking)
    }

    /// Whether a file is live and said to have all its values there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_labelled(&self, file: FileId) -> Result<bool, CatalogError> {
        let statement =
            Statement::new("SELECT 1 FROM files WHERE retired IS NULL AND level = 0 AND id = ");
        let statement = statement.bind(file.number()).push(" AND labelled = ");
        let rows = self.database.read(ACTION, statement.bind(State::All as i64)).await?;
        Ok(!rows.is_empty())
    }
}

/// Marks files whose values of labels are all known.
pub(super) async fn mark(
    transaction: &mut Transaction<'_>,
    state: State,
    files: &[FileId],
) -> Result<(), CatalogError> {
    for chunk in files.chunks(MAX_PARAMETERS - 1) {
        let statement = Statement::new("UPDATE files SET labelled = ").bind(state as i64);
        let statement = statement.push(" WHERE id IN ");
        transaction.execute(statement.list(chunk.iter().map(|id| id.number()))).await?;
    }
    Ok(())
}

/// What the catalog has of the values of labels of a fine file; 0 is nothing yet.
#[derive(Clone, Copy)]
pub(super) enum State {
    All = 1,
    TooMany = 2,
}

struct Add<'a> {
    values: &'a BTreeSet<LabelValue>,
    labelled: &'a [FileId],
    with_too_many: &'a [FileId],
}

impl Change for Add<'_> {
    type Answer = ();

    const ACTION: &'static str = "write labels to";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<()>, CatalogError> {
        insert(transaction, self.values).await?;
        mark(transaction, State::All, self.labelled).await?;
        mark(transaction, State::TooMany, self.with_too_many).await?;
        Ok(Outcome::Keep(()))
    }
}

/// Writes values in their order: two that write the same ones wait for each other, but never both.
pub(super) async fn insert(
    transaction: &mut Transaction<'_>,
    values: &BTreeSet<LabelValue>,
) -> Result<(), CatalogError> {
    let values: Vec<_> = values.iter().collect();
    for chunk in values.chunks(MAX_PARAMETERS / PARAMETERS) {
        let statement =
            Statement::new("INSERT INTO label_values (service, name, day, value) VALUES ");
        let statement = statement.rows(chunk, fill).push(" ON CONFLICT DO NOTHING");
        transaction.execute(statement).await?;
    }
    Ok(())
}

fn fill(row: &mut Values<'_>, it: &&LabelValue) {
    row.bind(it.service.clone()).bind(it.name.clone());
    row.bind(it.day).bind(it.value.clone());
}

fn label_value(row: &AnyRow) -> Result<LabelValue, sqlx::Error> {
    Ok(LabelValue {
        service: row.try_get(0)?,
        name: row.try_get(1)?,
        day: row.try_get(2)?,
        value: row.try_get(3)?,
    })
}
