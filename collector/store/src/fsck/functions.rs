//! Each functions file that pairs name, against what is there.
//!
//! One that no pair names is read by nobody and goes with the next round of retention, so it is no finding,
//! whatever is wrong with it. Nothing is lost with the others either: what they say is made again from the pairs.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Finding, FindingKind, Fsck, FsckOptions,
    listing::Sizes,
    pairs::{Fault, of_wrong, unreadable},
};
use crate::{
    catalog::{FileId, FunctionFile},
    error::StoreError,
    store::ProfileStore,
    verify,
};

/// Rows that are read together.
const PAGE: u32 = 500;
/// Files that are read at a time: each may be as large as a hundred pairs.
const PARALLEL: usize = 2;

// === impl ProfileStore ===

impl ProfileStore {
    pub(super) async fn check_functions(
        &self,
        options: &FsckOptions,
        sizes: Option<&Sizes>,
        found: &mut Fsck,
    ) -> Result<(), StoreError> {
        let mut after: Option<FileId> = None;
        loop {
            let files = self.catalog.functions_page(after, PAGE).await?;
            let Some(last) = files.last() else { break };
            after = Some(last.id);
            let checks = stream::iter(files).map(|file| self.check_file(file, options, sizes));
            let mut checks = checks.buffer_unordered(PARALLEL);
            while let Some(finding) = checks.try_next().await? {
                found.functions += 1;
                finding.into_iter().for_each(|finding| found.add(finding));
            }
        }
        self.check_dangling(options, found).await
    }

    async fn check_file(
        &self,
        file: FunctionFile,
        options: &FsckOptions,
        sizes: Option<&Sizes>,
    ) -> Result<Option<Finding>, StoreError> {
        let fault = match sizes {
            Some(sizes) => self.look(&[&file.blob], sizes).await?,
            None => self.read_functions_file(&file).await?,
        };
        let Some((kind, what)) = fault else { return Ok(None) };
        // It may have been replaced in the meantime, and be gone for good reason.
        if self.catalog.with_functions(file.id).await?.is_empty() {
            return Ok(None);
        }
        let repaired = options.repair && self.catalog.give_up_functions(file.id).await? > 0;
        let id = Some(file.id.to_string());
        Ok(Some(Finding { id, repaired, ..Finding::at(kind, file.blob.path, what) }))
    }

    /// Every byte.
    async fn read_functions_file(&self, file: &FunctionFile) -> Result<Fault, StoreError> {
        // Before the file: a pair that comes to name it later does not exist.
        let pairs = self.catalog.with_functions(file.id).await?;
        let bytes = match self.blobs.get(&file.blob).await {
            Ok(bytes) => bytes,
            Err(error) => return unreadable(error).map(Some),
        };
        let said = file.clone();
        let wrong = self.compute(move || verify::verify_functions(&said, &pairs, &bytes)).await??;
        Ok(wrong.map(of_wrong))
    }

    /// Pairs that name what is not there.
    async fn check_dangling(
        &self,
        options: &FsckOptions,
        found: &mut Fsck,
    ) -> Result<(), StoreError> {
        let mut after: Option<FileId> = None;
        let mut given_up = BTreeSet::new();
        loop {
            let page = self.catalog.dangling(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.pair);
            for dangling in page {
                let functions = dangling.functions;
                given_up.insert(functions);
                let what = format!("it names the functions file {functions}, which is not known");
                found.add(Finding {
                    id: Some(dangling.pair.to_string()),
                    repaired: options.repair,
                    ..Finding::at(FindingKind::Dangling, dangling.path, what)
                });
            }
        }
        // Afterwards: several pairs may name the same one, and all are to be found.
        for functions in given_up.into_iter().filter(|_| options.repair) {
            self.catalog.give_up_functions(functions).await?;
        }
        Ok(())
    }
}
