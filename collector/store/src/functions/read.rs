//! Reading functions files.

use std::{collections::HashSet, fmt, ops::Deref, sync::Arc};

use fleetprof_proto::symbol::Reason;

use super::{Amounts, FunctionId, FunctionKey};
use crate::{
    catalog::{FileId, FunctionFile},
    error::StoreError,
    format::{FormatError, FunctionsFile, Part},
    store::ProfileStore,
};

/// Says of a service and its version whether they are wanted.
#[derive(Clone)]
pub struct OriginFilter(Arc<Filter>);

type Filter = dyn Fn(&str, Option<&str>) -> bool + Send + Sync;

/// Which rows of a functions file are wanted.
#[derive(Clone, Debug, Default)]
pub struct FunctionsWanted {
    /// Only those of these pairs; `None`: of all.
    pub files: Option<HashSet<FileId>>,
    /// Only those of which this says so; `None`: of all.
    pub origin: Option<OriginFilter>,
    /// Only hours whose middle is in this range, Unix nanoseconds, the end exclusive.
    pub hours: Option<(i64, i64)>,
}

/// Where in a functions file a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionPlace {
    /// Row group.
    pub group: u32,
    /// Row in it.
    pub row: u32,
}

/// What a function takes; its name is looked up by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSum {
    /// Which.
    pub id: FunctionId,
    /// Why it has no name, if it is an address.
    pub unnamed: Option<Reason>,
    /// What it takes.
    pub amounts: Amounts,
    /// One of its places.
    pub place: FunctionPlace,
}

/// What a function takes over time in one service and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionHistory {
    /// The service, empty when there is none.
    pub service: String,
    /// Its version, if there is one.
    pub version: Option<String>,
    /// Starts of hours, Unix nanoseconds, and what it took in them.
    pub hours: Vec<(i64, Amounts)>,
}

// === impl OriginFilter ===

impl OriginFilter {
    /// A filter that asks a function for the service and its version.
    pub fn new(filter: impl Fn(&str, Option<&str>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(filter))
    }
}

impl Deref for OriginFilter {
    type Target = Filter;

    fn deref(&self) -> &Filter {
        &*self.0
    }
}

impl fmt::Debug for OriginFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginFilter")
    }
}

// === impl ProfileStore ===

impl ProfileStore {
    /// The sums of all functions of a functions file, those of one function maybe in several rows. A
    /// damaged one is given up: it is made again later.
    ///
    /// # Errors
    /// When the object store fails or the file is damaged: the pairs that it was made from say the same.
    pub async fn function_sums(
        &self,
        of: &FunctionFile,
        wanted: FunctionsWanted,
    ) -> Result<Vec<FunctionSum>, StoreError> {
        let for_part = wanted.clone();
        let part = move |file: &FunctionsFile| file.sums_part(&for_part);
        self.function_rows(of, part, move |file| file.sums(&wanted)).await
    }

    /// The functions at some places of a functions file, in order of places, each once.
    ///
    /// # Errors
    /// As [`Self::function_sums`].
    pub async fn function_names(
        &self,
        of: &FunctionFile,
        places: Vec<FunctionPlace>,
    ) -> Result<Vec<FunctionKey>, StoreError> {
        let for_part = places.clone();
        let part = move |file: &FunctionsFile| file.names_part(&for_part);
        self.function_rows(of, part, move |file| file.names(&places)).await
    }

    /// What there is of functions of one name in a functions file, by the hour.
    ///
    /// # Errors
    /// As [`Self::function_sums`].
    pub async fn function_history(
        &self,
        of: &FunctionFile,
        function: &str,
        wanted: FunctionsWanted,
    ) -> Result<Vec<FunctionHistory>, StoreError> {
        let (name, for_part) = (function.to_owned(), function.to_owned());
        let part = move |file: &FunctionsFile| file.history_part(&for_part);
        self.function_rows(of, part, move |file| file.history(&name, &wanted)).await
    }

    async fn function_rows<T: Send + 'static>(
        &self,
        of: &FunctionFile,
        part: impl FnOnce(&FunctionsFile) -> Part,
        read: impl FnOnce(&FunctionsFile) -> Result<T, FormatError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let result = self.read_functions(of, part, read).await;
        if let Err(error) = &result
            && error.is_damage()
        {
            tracing::error!(file = %of.blob.path, %error, "a functions file is damaged; it is made again");
            if let Err(error) = self.catalog.give_up_functions(of.id).await {
                tracing::warn!(file = %of.id, %error, "cannot note that a functions file is damaged");
            }
        }
        result
    }

    async fn read_functions<T: Send + 'static>(
        &self,
        of: &FunctionFile,
        part: impl FnOnce(&FunctionsFile) -> Part,
        read: impl FnOnce(&FunctionsFile) -> Result<T, FormatError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let end = of.blob.bytes.saturating_sub(of.end)..of.blob.bytes;
        let end = self.blobs.ranges(&of.blob, &[end]).await?.pop().unwrap_or_default();
        let mut file = FunctionsFile::open(&end, of.blob.bytes)?;
        let part = part(&file);
        let ranges = file.ranges(&part)?;
        let bytes = self.blobs.ranges(&of.blob, &ranges).await?;
        let work = move || {
            file.fill(&part, bytes)?;
            read(&file)
        };
        Ok(self.compute(work).await??)
    }
}
