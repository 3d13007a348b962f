//! What is there, against what the catalog knows.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
};

use futures_util::StreamExt as _;

use super::{Finding, Fsck, FsckOptions};
use crate::{
    blobs::Listed,
    catalog::{FileId, FileRow},
    error::StoreError,
    functions::FUNCTIONS,
    level::Level,
    retain::{id_of, nanos},
    store::ProfileStore,
    symbols::SYMBOLS,
};

/// Files that are looked up together.
const STEP: usize = 1000;

/// Sizes of all files that are there, by hashes of their paths: two that collide among billions are
/// less likely than two failing disks.
#[derive(Default)]
pub(super) struct Sizes {
    sizes: HashMap<u64, u64>,
    hasher: RandomState,
}

// === impl Sizes ===

impl Sizes {
    fn add(&mut self, file: &Listed) {
        self.sizes.insert(self.hasher.hash_one(&file.path), file.bytes);
    }

    /// Of a file, if it is there.
    pub(super) fn of(&self, path: &str) -> Option<u64> {
        self.sizes.get(&self.hasher.hash_one(path)).copied()
    }
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Finds files that nobody knows, and counts those that are no longer wanted.
    pub(super) async fn check_listing(
        &self,
        options: &FsckOptions,
        mut sizes: Option<&mut Sizes>,
        found: &mut Fsck,
    ) -> Result<(), StoreError> {
        let now = self.now();
        for place in Level::ALL.map(Level::as_str).into_iter().chain([FUNCTIONS]) {
            let mut chunks = self.blobs.listing(place).chunks(STEP);
            while let Some(chunk) = chunks.next().await {
                let chunk: Vec<Listed> = chunk.into_iter().collect::<Result<_, _>>()?;
                if let Some(sizes) = &mut sizes {
                    chunk.iter().for_each(|file| sizes.add(file));
                }
                let mut ids: Vec<FileId> =
                    chunk.iter().filter_map(|file| id_of(&file.path)).collect();
                ids.sort_unstable();
                ids.dedup();
                let live = self.paths(place, &ids, false).await?;
                // After the live ones: what is retired in between is found here.
                let retired = self.paths(place, &ids, true).await?;
                for file in chunk {
                    if live.contains(&file.path) {
                        continue;
                    }
                    let age = now.saturating_sub(file.written);
                    if retired.contains(&file.path) {
                        found.retired += 1;
                    } else if age < nanos(options.orphan_age) {
                        found.young += 1;
                    } else if self.blobs.size(&file.path).await?.is_some() {
                        // Else it was removed, and its row with it, since it was listed.
                        let id = id_of(&file.path);
                        found.add(Finding::orphan(file.path, id, age));
                    }
                }
            }
        }
        self.check_symbols(options, found).await
    }

    /// Where the catalog has these files, of pairs or of functions.
    async fn paths(
        &self,
        place: &str,
        ids: &[FileId],
        retired: bool,
    ) -> Result<HashSet<String>, StoreError> {
        if place == FUNCTIONS {
            let files = self.catalog.find_functions(ids, retired).await?;
            return Ok(files.into_iter().map(|file| file.blob.path).collect());
        }
        let rows = self.catalog.find(ids, retired).await?;
        let paths = |row: &FileRow| [row.file.samples.path.clone(), row.file.stacks.path.clone()];
        Ok(rows.iter().flat_map(paths).collect())
    }

    /// Finds symbol tables that nobody knows. A known one that is damaged or gone costs nothing but work: it
    /// is made again.
    async fn check_symbols(
        &self,
        options: &FsckOptions,
        found: &mut Fsck,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let mut chunks = self.blobs.listing(SYMBOLS).chunks(STEP);
        while let Some(chunk) = chunks.next().await {
            let chunk: Vec<Listed> = chunk.into_iter().collect::<Result<_, _>>()?;
            let ids: Vec<FileId> = chunk.iter().filter_map(|file| id_of(&file.path)).collect();
            let known = self.catalog.known(&ids).await?;
            for file in chunk {
                let id = id_of(&file.path);
                if id.is_some_and(|id| known.contains(&id)) {
                    continue;
                }
                let age = now.saturating_sub(file.written);
                if age < nanos(options.orphan_age) {
                    found.young += 1;
                } else if self.blobs.size(&file.path).await?.is_some() {
                    found.add(Finding::orphan(file.path, id, age));
                }
            }
        }
        Ok(())
    }
}
