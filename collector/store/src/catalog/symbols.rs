//! What a catalog is asked and told about the symbol tables that collectors share.

mod rows;

use std::collections::HashSet;
use std::time::Duration;

use fleetprof_proto::ids::ObjectId;

use super::{
    Catalog, CatalogError,
    change::{Each, Single},
    leases,
    sql::Statement,
    types::{Blob, FileId},
};

/// A symbol table that is there, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolTable {
    /// Which: another one for each table.
    pub id: FileId,
    /// Of which object.
    pub object: ObjectId,
    /// What is known of it.
    pub content: SymbolContent,
    /// How much it says, compared with other tables of the same object.
    pub merit: u32,
    /// How much the files said that it was made of.
    pub level: u32,
    /// Version of the converter.
    pub converter: u32,
    /// The last day of which a profile has code of the object, in days since 1970.
    pub used: i64,
    /// Another one has taken its place, or nobody needs it any more.
    pub retired: bool,
}

/// What is known of an object's symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolContent {
    /// A table.
    Table(Blob),
    /// The listing of a kernel's symbols.
    Listing(Blob),
    /// There can be none, and why.
    None(String),
}

/// Up to where somebody knows the changes of symbol tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolCursor {
    change: i64,
    id: i64,
}

// === impl SymbolTable ===

impl SymbolTable {
    /// Whether it is to take the place of another one: it says more, or as much in a newer version.
    pub fn is_better_than(&self, other: &Self) -> bool {
        (self.merit, self.converter) > (other.merit, other.converter)
    }
}

// === impl SymbolContent ===

impl SymbolContent {
    /// The file, if there is one.
    pub fn blob(&self) -> Option<&Blob> {
        match self {
            Self::Table(blob) | Self::Listing(blob) => Some(blob),
            Self::None(_) => None,
        }
    }
}

// === impl Catalog ===

impl Catalog {
    /// Makes a symbol table known, unless one that is as good is: the one place that decides. Answers
    /// whether it was. That in whose place it comes is retired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn publish_symbols(
        &self,
        table: &SymbolTable,
        now: i64,
    ) -> Result<bool, CatalogError> {
        self.database.change(&rows::Publish { table, now }).await
    }

    /// Changes of symbol tables after a cursor, in the order in which they were made, no more than
    /// `limit`, and the cursor behind them. A table of which nothing is new but when it was used has not
    /// changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn symbol_changes(
        &self,
        after: SymbolCursor,
        limit: u32,
    ) -> Result<(Vec<SymbolTable>, SymbolCursor), CatalogError> {
        rows::changes(&self.database, after, limit).await
    }

    /// Notes that profiles of a day have code of these objects; gives the number of those of which it was
    /// not known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn use_symbols(&self, objects: &[ObjectId], day: i64) -> Result<u64, CatalogError> {
        let mut objects: Vec<String> = objects.iter().map(ToString::to_string).collect();
        // Others that do the same lock the rows in the same order, mostly.
        objects.sort_unstable();
        self.database.change(&rows::Use { objects: &objects, day }).await
    }

    /// Retires the symbol tables of objects of which no profile since that day has code; gives their
    /// number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_symbols(&self, day: i64, now: i64) -> Result<u64, CatalogError> {
        self.database.change(&rows::Retire { which: rows::Which::UnusedSince(day), now }).await
    }

    /// Retires a symbol table whose file is not what it was, so that another one is made; `false` when it
    /// is not live.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_symbols(&self, id: FileId, now: i64) -> Result<bool, CatalogError> {
        let retire = rows::Retire { which: rows::Which::One(id), now };
        Ok(self.database.change(&retire).await? > 0)
    }

    /// Symbol tables that were retired before `before`, the longest retired first, no more than `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retired_symbols(
        &self,
        before: i64,
        limit: u32,
    ) -> Result<Vec<SymbolTable>, CatalogError> {
        rows::retired(&self.database, before, limit).await
    }

    /// Forgets retired symbol tables whose files are gone; gives their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_symbols(&self, ids: &[FileId]) -> Result<u64, CatalogError> {
        let statement =
            || Statement::new("DELETE FROM symbol_tables WHERE retired IS NOT NULL AND id IN ");
        self.database.change(&Each { ids, statement }).await
    }

    /// [`Catalog::lease`] for many pieces of work at once; gives the names of those that `holder` has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_all(
        &self,
        names: &[String],
        holder: &str,
        ttl: Duration,
        now: i64,
    ) -> Result<HashSet<String>, CatalogError> {
        leases::lease_all(&self.database, names, holder, ttl, now).await
    }

    /// [`Catalog::release`] for many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_all(&self, names: &[String], holder: &str) -> Result<(), CatalogError> {
        leases::release_all(&self.database, names, holder).await
    }

    /// Forgets leases that ended before `before`, and which nobody took over; gives their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_leases(&self, before: i64) -> Result<u64, CatalogError> {
        let statement = || Statement::new("DELETE FROM leases WHERE expires < ").bind(before);
        self.database.change(&Single(statement)).await
    }
}
