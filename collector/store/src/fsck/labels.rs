//! Values of labels in fine files, against those that the catalog has: questions about days read no file for them.

use std::collections::BTreeSet;

use super::{Finding, FindingKind, FsckOptions};
use crate::{
    catalog::{LabelValue, NewFile},
    error::StoreError,
    labels::{NewLabels, WrittenLabels, day_of},
    level::Level,
    store::ProfileStore,
    table::Table,
};

/// Days whose values are remembered while a store is checked: fine files of more are unusual.
const MAX_DAYS: usize = 32;

/// Values that the catalog has, of files looked at before.
#[derive(Debug)]
pub(super) struct SeenLabels(WrittenLabels);

// === impl SeenLabels ===

impl SeenLabels {
    /// Values in a pair that were not met yet. None where there are too many of them to be written.
    pub(super) fn new_of(&self, file: &NewFile, table: &Table) -> BTreeSet<LabelValue> {
        if file.level != Level::Fine {
            return BTreeSet::new();
        }
        self.0.new_of(table, day_of(file)).unwrap_or_default()
    }
}

impl Default for SeenLabels {
    fn default() -> Self {
        Self(WrittenLabels::of_days(MAX_DAYS))
    }
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Whether values of labels of a pair are missing.
    pub(super) async fn check_labels(
        &self,
        file: &NewFile,
        values: BTreeSet<LabelValue>,
        seen: &SeenLabels,
        options: &FsckOptions,
    ) -> Result<Option<Finding>, StoreError> {
        let lacking = self.catalog.lacking_labels(&values).await?;
        let mut there = NewLabels { values, ..NewLabels::default() };
        there.values.retain(|value| !lacking.contains(value));
        seen.0.note(&there);
        let Some(first) = lacking.first() else { return Ok(None) };
        // Of others they are written later, and looked for in the file until then. It may be gone by now, too.
        if !self.catalog.is_labelled(file.id).await? {
            return Ok(None);
        }
        let of = match first.service.as_str() {
            "" => String::new(),
            service => format!(" of service {service:?}"),
        };
        let more = match lacking.len() - 1 {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        let what = format!("the catalog lacks {}={:?}{of}{more}", first.name, first.value);
        let repaired = options.repair;
        if repaired {
            self.catalog.add_labels(&lacking, &[], &[]).await?;
        }
        Ok(Some(Finding { repaired, ..Finding::of_pair(FindingKind::Labels, file, what) }))
    }
}
