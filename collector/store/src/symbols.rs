//! Symbol tables in the store: what one collector has converted is there for all.
//!
//! A table is a file `symbols/XX/ID.symtab` (`.kallsyms`: a listing of a kernel's symbols), where `XX` is
//! how `ID` begins, and a row of the catalog. The file is written first, like a pair of files: what nobody
//! knows in the end is swept.

use std::{path::Path, time::Duration};

use fleetprof_proto::ids::ObjectId;
use tracing::warn;

use crate::{
    catalog::{Catalog, CatalogError, FileId, SymbolContent, SymbolTable},
    error::StoreError,
    level::DAY,
    retain::{Retention, nanos},
    store::ProfileStore,
};

/// Where the files are, below the root of the store.
pub(crate) const SYMBOLS: &str = "symbols";
/// Tables removed in one step.
const STEP: u32 = 500;
/// How long a lease stays after its end: for nothing but people who look.
const ENDED: Duration = Duration::from_secs(24 * 60 * 60);

/// What a collector knows of an object's symbols.
#[derive(Clone, Copy, Debug)]
pub struct NewSymbols<'a> {
    /// Which object.
    pub object: &'a ObjectId,
    /// What there is.
    pub source: Source<'a>,
    /// See [`SymbolTable`].
    pub merit: u32,
    /// See [`SymbolTable`].
    pub level: u32,
    /// See [`SymbolTable`].
    pub converter: u32,
    /// See [`SymbolTable`].
    pub used: i64,
}

/// Where it is.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A table in a local file.
    Table(&'a Path),
    /// The listing of a kernel's symbols in one.
    Listing(&'a Path),
    /// There can be none, and why.
    None(&'a str),
}

// === impl ProfileStore ===

impl ProfileStore {
    /// The catalog, for what needs nothing else.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Puts symbols where all collectors find them; `None` when what is there is as good.
    ///
    /// # Errors
    /// When the object store or the catalog fails, or the local file cannot be read.
    pub async fn publish_symbols(
        &self,
        new: &NewSymbols<'_>,
    ) -> Result<Option<SymbolTable>, StoreError> {
        let id = FileId::random();
        let name = id.to_string();
        let place = format!("{SYMBOLS}/{}/{name}", name.get(..2).unwrap_or("00"));
        let content = match new.source {
            Source::Table(from) => {
                SymbolContent::Table(self.blobs.upload(&format!("{place}.symtab"), from).await?)
            }
            Source::Listing(from) => {
                SymbolContent::Listing(self.blobs.upload(&format!("{place}.kallsyms"), from).await?)
            }
            Source::None(why) => SymbolContent::None(why.to_owned()),
        };
        let table = SymbolTable {
            id,
            object: new.object.clone(),
            content,
            merit: new.merit,
            level: new.level,
            converter: new.converter,
            used: new.used,
            retired: false,
        };
        match self.catalog.publish_symbols(&table, self.now()).await {
            Ok(true) => return Ok(Some(table)),
            Ok(false) => {}
            // It may be known or not: then it is swept.
            Err(error @ CatalogError::Unknown { .. }) => return Err(error.into()),
            Err(error) => {
                self.discard_symbols(&table).await;
                return Err(error.into());
            }
        }
        self.discard_symbols(&table).await;
        Ok(None)
    }

    /// Copies the file of a table, compared with what was written, to a new local one.
    ///
    /// # Errors
    /// When the object store fails, the file is damaged, or the local one cannot be written.
    pub async fn fetch_symbols(&self, table: &SymbolTable, to: &Path) -> Result<(), StoreError> {
        if let Some(blob) = table.content.blob() {
            self.blobs.download(blob, to).await?;
        }
        Ok(())
    }

    /// Gives up a table whose file is damaged or gone; another one is made. `false` when it is not live.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn give_up_symbols(&self, id: FileId) -> Result<bool, StoreError> {
        Ok(self.catalog.retire_symbols(id, self.now()).await?)
    }

    /// The day by which the use of symbols is noted.
    pub fn today(&self) -> i64 {
        self.now().div_euclid(DAY)
    }

    /// Retires tables of objects that no profile refers to any more; removes retired ones. Gives the
    /// number of files removed.
    pub(crate) async fn retain_symbols(&self, retention: &Retention) -> Result<u64, StoreError> {
        let now = self.now();
        let kept = retention.longest().saturating_add(retention.grace);
        // Of the day before that one the last moment may be younger.
        let day = now.saturating_sub(nanos(kept)).div_euclid(DAY);
        self.catalog.expire_symbols(day, now).await?;
        self.catalog.forget_leases(now.saturating_sub(nanos(ENDED))).await?;
        let before = now.saturating_sub(nanos(retention.grace));
        let mut deleted = 0;
        loop {
            let tables = self.catalog.retired_symbols(before, STEP).await?;
            let ids: Vec<FileId> = tables.iter().map(|table| table.id).collect();
            let paths = tables.iter().filter_map(|table| Some(table.content.blob()?.path.clone()));
            let paths: Vec<String> = paths.collect();
            deleted += paths.len() as u64;
            self.blobs.delete(paths).await?;
            self.catalog.forget_symbols(&ids).await?;
            if ids.len() < STEP as usize {
                return Ok(deleted);
            }
        }
    }

    async fn discard_symbols(&self, table: &SymbolTable) {
        let Some(blob) = table.content.blob() else { return };
        if let Err(error) = self.blobs.delete(vec![blob.path.clone()]).await {
            warn!(%error, "cannot remove a symbol table that is not needed; it is swept later");
        }
    }
}
