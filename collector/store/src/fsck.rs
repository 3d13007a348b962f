//! Checks the whole store: what the catalog says against what is there.
//!
//! Collectors may run meanwhile. What looks wrong is looked up in the catalog once more: a file that was
//! replaced or has expired since is no finding. Nothing is ever deleted. Memory: some thousand rows, eight
//! pairs of files or two functions files, and some ten bytes for each value of a label and day; for a fast check
//! some 50 bytes for each file.

mod functions;
mod labels;
mod levels;
mod listing;
mod pairs;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    catalog::{FileId, NewFile},
    error::StoreError,
    store::ProfileStore,
};

use listing::Sizes;

/// Most findings that are listed; all are counted.
const MAX_LISTED: usize = 10_000;

/// How a store is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckOptions {
    /// Only whether files are there and have their sizes, by listing them.
    pub fast: bool,
    /// Quarantine what is damaged, and end the quarantine of what is whole; give up functions files that are
    /// damaged or lost; write values of labels that are missing.
    pub repair: bool,
    /// How old files that nobody knows must be: younger ones may be about to be committed.
    pub orphan_age: Duration,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A file is gone.
    Missing,
    /// A file has another size.
    Size,
    /// A file has other bytes.
    Checksum,
    /// A file cannot be decoded.
    Undecodable,
    /// A file holds other samples than the catalog says.
    Contents,
    /// A pair is quarantined and is whole.
    Whole,
    /// Nobody knows a file.
    Orphan,
    /// Two levels do not hold the same samples.
    Levels,
    /// A pair names a functions file that the catalog does not have.
    Dangling,
    /// Values of labels of a pair are not in the catalog, though it is said that all are.
    Labels,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Which file, below the root of the store, or which hour or day of which service.
    pub place: String,
    /// The pair of files or the functions file, if it is one.
    pub id: Option<String>,
    /// In words.
    pub what: String,
    /// Whether the pair was quarantined when it was looked at; queries do not read it then.
    pub quarantined: bool,
    /// Whether it was put in order: quarantined, healed, its labels written, or, for a functions file, given up,
    /// so that the pairs themselves are read until another one is made.
    pub repaired: bool,
    /// Age of a file that nobody knows, seconds.
    pub age_seconds: Option<u64>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fsck {
    /// Pairs of files looked at.
    pub pairs: u64,
    /// Their size.
    pub bytes: u64,
    /// Functions files looked at.
    pub functions: u64,
    /// Hours or days of a service of which two levels were compared.
    pub compared: u64,
    /// Of which they could not be, because the finer one may have expired in part.
    pub not_compared: u64,
    /// Files that are no longer wanted and not removed yet. No finding.
    pub retired: u64,
    /// Files that nobody knows yet, too young to be a finding.
    pub young: u64,
    /// How many findings there are of each kind.
    pub counts: BTreeMap<FindingKind, u64>,
    /// Those that are listed, the first 10,000.
    pub findings: Vec<Finding>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsckProgress {
    /// Pairs looked at.
    pub pairs: u64,
    /// Of so many, about.
    pub total: u64,
    /// Bytes of them.
    pub bytes: u64,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Checks the store. `progress` is told now and then how far it is.
    ///
    /// # Errors
    /// When the catalog or the object store fails, so that it is not known what is wrong.
    pub async fn fsck(
        &self,
        options: &FsckOptions,
        progress: impl Fn(FsckProgress),
    ) -> Result<Fsck, StoreError> {
        let mut found = Fsck::default();
        let mut sizes = options.fast.then(Sizes::default);
        self.check_listing(options, sizes.as_mut(), &mut found).await?;
        self.check_pairs(options, sizes.as_ref(), &mut found, &progress).await?;
        self.check_functions(options, sizes.as_ref(), &mut found).await?;
        self.check_levels(&mut found).await?;
        found.findings.sort_by(|a, b| (a.kind, &a.place).cmp(&(b.kind, &b.place)));
        Ok(found)
    }
}

// === impl Fsck ===

impl Fsck {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    fn add(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind).or_default() += 1;
        if self.findings.len() < MAX_LISTED {
            self.findings.push(finding);
        }
    }
}

// === impl FindingKind ===

impl FindingKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Checksum => "checksum",
            Self::Undecodable => "undecodable",
            Self::Contents => "contents",
            Self::Whole => "whole",
            Self::Orphan => "orphan",
            Self::Levels => "levels",
            Self::Dangling => "dangling",
            Self::Labels => "labels",
        }
    }
}

// === impl Finding ===

impl Finding {
    fn of_pair(kind: FindingKind, file: &NewFile, what: String) -> Self {
        let place = file.samples.path.clone();
        Self { id: Some(file.id.to_string()), ..Self::at(kind, place, what) }
    }

    fn at(kind: FindingKind, place: String, what: String) -> Self {
        Self { kind, place, id: None, what, quarantined: false, repaired: false, age_seconds: None }
    }

    fn orphan(path: String, id: Option<FileId>, age_nanos: i64) -> Self {
        let what = match id {
            Some(_) => "no catalog row names it; collectors remove it",
            None => "it is no file of fleetprof",
        };
        let age = u64::try_from(age_nanos / 1_000_000_000).unwrap_or(0);
        Self {
            id: id.map(|id| id.to_string()),
            age_seconds: Some(age),
            ..Self::at(FindingKind::Orphan, path, what.to_owned())
        }
    }
}
