//! Reading: which files, and their rows.

use crate::{
    catalog::{FileQuery, FileRow, Rolled},
    error::StoreError,
    format::{self, Wanted},
    level::Level,
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
        let whole = wish.whole_days();
        if whole.0 >= whole.1 {
            let files = self.of_days(wish, plan::days(wish.range)).await?;
            return Ok(plan::choose(&files, wish));
        }
        // Of days that are in daily files, all that was merged into those is of no interest: of a month of a
        // hundred services some 70,000 pairs.
        let (first, past) = plan::days(wish.range);
        let service = wish.service.as_deref();
        let (mut files, before, after) = tokio::try_join!(
            self.unmerged(service, whole),
            self.of_days(wish, (first, whole.0)),
            self.of_days(wish, (whole.1, past)),
        )?;
        for days in plan::days_without_daily(&files, whole) {
            files.retain(|row| !plan::is_of_days(row, days));
            files.extend(self.of_days(wish, days).await?);
        }
        files.extend(before.into_iter().chain(after));
        Ok(plan::choose(&files, wish))
    }

    /// The files of some days, without those that were merged into daily ones or what these were made of.
    async fn unmerged(
        &self,
        service: Option<&str>,
        days: (i64, i64),
    ) -> Result<Vec<FileRow>, StoreError> {
        let query = FileQuery { level: None, range: days, service, rolled: Rolled::Only(false) };
        let files = self.catalog.known_files(&query).await?;
        Ok(files.iter().filter(|row| plan::is_of_days(row, days)).cloned().collect())
    }

    /// The files of some days, as far as a wish has use for them.
    async fn of_days(&self, wish: &Wish, days: (i64, i64)) -> Result<Vec<FileRow>, StoreError> {
        if days.0 >= days.1 {
            return Ok(Vec::new());
        }
        // Where hourly files suffice, fine ones count that are in none.
        let rolled = if wish.allows(Level::Hourly) { Rolled::NoFine } else { Rolled::Any };
        let service = wish.service.as_deref();
        let query = FileQuery { level: None, range: days, service, rolled };
        let files = self.catalog.known_files(&query).await?;
        Ok(files.iter().filter(|row| plan::is_of_days(row, days)).cloned().collect())
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
        let query = FileQuery { level: None, range, service, rolled: Rolled::Any };
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
            if wanted.has_stacks() {
                self.blobs.get(&file.stacks).await.map(Some)
            } else {
                Ok(None)
            }
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
