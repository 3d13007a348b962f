//! Reading: which files, and their rows.

use crate::{
    catalog::{FileQuery, FileRow},
    error::StoreError,
    format::{self, Wanted},
    plan::{self, Piece, ReadPlan, Wish},
    store::ProfileStore,
    table::Table,
};

// === impl ProfileStore ===

impl ProfileStore {
    /// What to read for a wish: the files of one service, or of all, chosen so that each sample is read
    /// once.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn plan(&self, wish: &Wish) -> Result<ReadPlan, StoreError> {
        let files = self.files(wish.service.as_deref(), plan::days(wish.range)).await?;
        Ok(plan::choose(&files, wish))
    }

    /// All files of all levels that have data in a range, as of one moment.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn files(
        &self,
        service: Option<&str>,
        range: (i64, i64),
    ) -> Result<Vec<FileRow>, StoreError> {
        let query = FileQuery { level: None, range, service, rolled: None };
        Ok(self.catalog.files(&query).await?)
    }

    /// The rows of a piece. A damaged file is quarantined: later plans name it and do not read it.
    ///
    /// # Errors
    /// When the object store fails or the file is damaged, see [`StoreError::is_damage`].
    pub async fn read(&self, piece: &Piece, wanted: Wanted) -> Result<Table, StoreError> {
        let result = self.read_whole(&piece.file, wanted).await;
        if let Err(error) = &result
            && error.is_damage()
        {
            self.quarantine(&piece.file, error).await;
        }
        result
    }

    async fn read_whole(&self, row: &FileRow, wanted: Wanted) -> Result<Table, StoreError> {
        let file = &row.file;
        let stacks = async {
            if wanted.stacks { self.blobs.get(&file.stacks).await.map(Some) } else { Ok(None) }
        };
        let (samples, stacks) = tokio::try_join!(self.blobs.get(&file.samples), stacks)?;
        let decode = move || format::decode(samples, stacks, &wanted);
        Ok(self.compute(decode).await??)
    }

    async fn quarantine(&self, row: &FileRow, error: &StoreError) {
        tracing::error!(file = %row.file.id, %error, "a file is damaged; it is not read any more");
        if let Err(error) = self.catalog.quarantine(row.file.id, &error.to_string()).await {
            tracing::warn!(file = %row.file.id, %error, "cannot note that a file is damaged");
        }
    }
}
