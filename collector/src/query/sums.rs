//! Sums by labels, of files that were read lately.
//!
//! Pages with pickers ask for the same labels again and again, of ranges that move by seconds. Files never
//! change, so what was found in one once holds as long as it is there.

use std::{collections::BTreeSet, sync::Arc};

use fleetprof_store::{FileId, Piece, Table, Wanted};
use quick_cache::{Weighter, sync::Cache};

/// Memory for all, bytes.
const MAX_BYTES: u64 = 64 << 20;
/// About what one sum takes with one label.
const ROW_BYTES: usize = 48;
/// In place of values that nobody looks at.
const SOME_VALUE: &str = "*";

/// Which sums of which file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    file: FileId,
    services: Option<BTreeSet<String>>,
    /// Labels with their values.
    labels: Vec<String>,
    /// Whether all others are there, too, without their values.
    names: bool,
}

/// Sums by labels, those that were used lately.
#[derive(Debug)]
pub struct LabelSums(Cache<Key, Arc<Table>, ByMemory>);

#[derive(Clone, Debug)]
struct ByMemory;

// === impl Key ===

impl Key {
    /// Of all rows of a piece. `names`: whether labels are looked at of which no values are wanted.
    pub(super) fn new(piece: &Piece, wanted: &Wanted, labels: Vec<String>, names: bool) -> Self {
        Self { file: piece.file.file.id, services: wanted.services.clone(), labels, names }
    }

    /// What is wanted of a table.
    pub(super) fn sums_of(&self, table: &Table) -> Table {
        table.of_origins(|name, value| match self.labels.iter().any(|wanted| wanted == name) {
            true => Some(value),
            false => self.names.then_some(SOME_VALUE),
        })
    }
}

// === impl LabelSums ===

impl Default for LabelSums {
    fn default() -> Self {
        let files = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) / (100 * ROW_BYTES);
        Self(Cache::with_weighter(files, MAX_BYTES, ByMemory))
    }
}

impl LabelSums {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Table>> {
        self.0.get(key)
    }

    pub(super) fn put(&self, key: Key, sums: Arc<Table>) {
        self.0.insert(key, sums);
    }
}

// === impl ByMemory ===

impl Weighter<Key, Arc<Table>> for ByMemory {
    fn weight(&self, key: &Key, sums: &Arc<Table>) -> u64 {
        let labels = (0..sums.code.origin_count()).flat_map(|at| sums.code.origin_labels(at));
        let of_labels = labels.fold(0, |sum, (_, value)| sum + ROW_BYTES + value.len());
        let own = size_of::<Key>() + size_of::<Table>() + ROW_BYTES * key.labels.len();
        (own + ROW_BYTES * sums.rows.len() + of_labels) as u64
    }
}
