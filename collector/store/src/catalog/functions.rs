//! What a catalog is asked and told about functions files.

pub(super) mod rows;

use super::{
    Catalog, CatalogError,
    change::{Each, Single},
    files,
    sql::Statement,
    types::{FileId, FileRow, FunctionFile, LateFunctions, NewFunctions},
};

// === impl Catalog ===

impl Catalog {
    /// Takes a functions file over that was made from these pairs of files; `false`, and nothing is done,
    /// when none of them is live any more. It takes the place of those that they had.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_functions(
        &self,
        new: &NewFunctions,
        files: &[FileId],
        now: i64,
    ) -> Result<bool, CatalogError> {
        self.database.change(&rows::Add { new, files, now }).await
    }

    /// Pairs of the hourly and the daily level, of one service each, that no functions file stands for,
    /// by level and bucket.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn without_functions(&self) -> Result<Vec<FileRow>, CatalogError> {
        let found = "functions IS NULL AND retired IS NULL AND damaged IS NULL \
             AND service IS NOT NULL AND level > 0 ORDER BY level, bucket, created, id";
        let statement = files::select(found);
        files::read(&self.database, "look for files without functions in", statement).await
    }

    /// Live pairs that a functions file stands for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn with_functions(&self, id: FileId) -> Result<Vec<FileRow>, CatalogError> {
        let statement = files::select("retired IS NULL AND damaged IS NULL AND functions = ");
        let statement = statement.bind(id.number()).push(" ORDER BY bucket, created, id");
        files::read(&self.database, "look for files with functions in", statement).await
    }

    /// Makes all pairs do without a functions file.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_up_functions(&self, id: FileId) -> Result<u64, CatalogError> {
        let statement = || {
            let statement = Statement::new("UPDATE files SET functions = NULL WHERE functions = ");
            statement.bind(id.number())
        };
        self.database.change(&Single(statement)).await
    }

    /// Functions files that were made while names were missing, the one that was looked at longest ago
    /// first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn late_functions(&self, limit: u32) -> Result<Vec<LateFunctions>, CatalogError> {
        rows::late(&self.database, limit).await
    }

    /// Notes that these functions files were looked at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn checked_functions(&self, ids: &[FileId], now: i64) -> Result<u64, CatalogError> {
        let statement = || {
            let statement = Statement::new("UPDATE function_files SET checked = ").bind(now);
            statement.push(" WHERE id IN ")
        };
        self.database.change(&Each { ids, statement }).await
    }

    /// Takes functions files that no live pair names out of use; gives their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_functions(&self, now: i64) -> Result<u64, CatalogError> {
        self.database.change(&Single(|| rows::retire(now))).await
    }

    /// Functions files that were retired before `before`, no more than `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retired_functions(
        &self,
        before: i64,
        limit: u32,
    ) -> Result<Vec<FunctionFile>, CatalogError> {
        rows::retired(&self.database, before, limit).await
    }

    /// Forgets retired functions files that are gone; gives their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_functions(&self, ids: &[FileId]) -> Result<u64, CatalogError> {
        let statement =
            || Statement::new("DELETE FROM function_files WHERE retired IS NOT NULL AND id IN ");
        self.database.change(&Each { ids, statement }).await
    }

    /// Size of all live functions files.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn function_bytes(&self) -> Result<u64, CatalogError> {
        rows::bytes(&self.database).await
    }
}
