//! Each pair of files that the catalog has, against what is there.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Finding, FindingKind, Fsck, FsckOptions, FsckProgress, labels::SeenLabels, listing::Sizes,
};
use crate::{
    blobs::{BlobError, Damage},
    catalog::{Blob, FileId, FileRow, LabelValue},
    error::StoreError,
    format::FormatError,
    store::ProfileStore,
    verify::{self, Wrong},
};

/// Rows that are read together.
const PAGE: u32 = 500;
/// Pairs that are read at a time.
const PARALLEL: usize = 8;

/// What is wrong with a pair, or with a functions file.
pub(super) type Fault = Option<(FindingKind, String)>;

// === impl ProfileStore ===

impl ProfileStore {
    pub(super) async fn check_pairs(
        &self,
        options: &FsckOptions,
        sizes: Option<&Sizes>,
        found: &mut Fsck,
        progress: &impl Fn(FsckProgress),
    ) -> Result<(), StoreError> {
        let total = self.status().await?.files;
        let mut after: Option<FileId> = None;
        let labels = Arc::new(SeenLabels::default());
        loop {
            let rows = self.catalog.page(after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.file.id);
            let checks = stream::iter(rows).map(|row| self.check_row(row, options, sizes, &labels));
            let mut checks = checks.buffer_unordered(PARALLEL);
            while let Some((row, finding)) = checks.try_next().await? {
                found.pairs += 1;
                found.bytes += row.file.bytes();
                finding.into_iter().for_each(|finding| found.add(finding));
                progress(FsckProgress { pairs: found.pairs, total, bytes: found.bytes });
            }
        }
    }

    async fn check_row(
        &self,
        row: FileRow,
        options: &FsckOptions,
        sizes: Option<&Sizes>,
        labels: &Arc<SeenLabels>,
    ) -> Result<(FileRow, Option<Finding>), StoreError> {
        let read = match sizes {
            Some(sizes) => {
                let fault = self.look(&[&row.file.samples, &row.file.stacks], sizes).await?;
                fault.map_or(Ok(BTreeSet::new()), Err)
            }
            None => self.read_all(&row, labels).await?,
        };
        let id = row.file.id;
        let is_known = row.damaged.is_some();
        let finding = match read {
            Err((kind, what)) => {
                // It may have been replaced in the meantime, and be gone for good reason.
                if self.catalog.find(&[id], false).await?.is_empty() {
                    return Ok((row, None));
                }
                let repaired =
                    options.repair && !is_known && self.catalog.quarantine(id, &what).await?;
                Some(Finding { repaired, ..Finding::of_pair(kind, &row.file, what) })
            }
            // A fast check does not see that a file is whole.
            Ok(_) if is_known && !options.fast => {
                let what = format!(
                    "it is whole, and is not read because it was damaged: {}",
                    row.damaged.as_deref().unwrap_or_default()
                );
                let repaired = options.repair && self.catalog.heal(id).await?;
                Some(Finding { repaired, ..Finding::of_pair(FindingKind::Whole, &row.file, what) })
            }
            Ok(values) => self.check_labels(&row.file, values, labels, options).await?,
        };
        let finding = finding.map(|finding| Finding { quarantined: is_known, ..finding });
        Ok((row, finding))
    }

    /// By sizes alone. What was written after the listing is looked for by itself.
    pub(super) async fn look(&self, blobs: &[&Blob], sizes: &Sizes) -> Result<Fault, StoreError> {
        for blob in blobs {
            if sizes.of(&blob.path) == Some(blob.bytes) {
                continue;
            }
            match self.blobs.size(&blob.path).await? {
                Some(bytes) if bytes == blob.bytes => {}
                Some(bytes) => {
                    let what =
                        format!("{} has {bytes} bytes, {} were written", blob.path, blob.bytes);
                    return Ok(Some((FindingKind::Size, what)));
                }
                None => return Ok(Some((FindingKind::Missing, format!("{} is gone", blob.path)))),
            }
        }
        Ok(None)
    }

    /// Every byte. Gives values of labels that were not met yet.
    async fn read_all(
        &self,
        row: &FileRow,
        labels: &Arc<SeenLabels>,
    ) -> Result<Result<BTreeSet<LabelValue>, (FindingKind, String)>, StoreError> {
        let file = &row.file;
        let both = tokio::try_join!(self.blobs.get(&file.samples), self.blobs.get(&file.stacks));
        let (samples, stacks) = match both {
            Ok(both) => both,
            Err(error) => return unreadable(error).map(Err),
        };
        let (said, labels) = (file.clone(), labels.clone());
        let verify = move || {
            let table = verify::verify(&said, samples, stacks)?;
            Ok::<_, FormatError>(table.map(|table| labels.new_of(&said, &table)))
        };
        Ok(self.compute(verify).await??.map_err(of_wrong))
    }
}

/// What is wrong with a file that cannot be had.
///
/// # Errors
/// When it is the store that fails.
pub(super) fn unreadable(error: BlobError) -> Result<(FindingKind, String), StoreError> {
    let BlobError::Damaged { path, damage, what, .. } = error else { return Err(error.into()) };
    let kind = match damage {
        Damage::Gone => FindingKind::Missing,
        Damage::Size => FindingKind::Size,
        Damage::Checksum => FindingKind::Checksum,
    };
    Ok((kind, format!("{path} {what}")))
}

/// A file that is not what is said of it.
pub(super) fn of_wrong(wrong: Wrong) -> (FindingKind, String) {
    match wrong {
        Wrong::Undecodable(what) => (FindingKind::Undecodable, what),
        Wrong::Contents(what) => (FindingKind::Contents, what),
    }
}
