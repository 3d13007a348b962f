//! Sums of files that were read lately: by labels, and by stacks.
//!
//! Pages ask for the same labels and services again and again, of ranges that move by seconds. Files never
//! change, so what was summed up of one, or of a part of it, holds as long as it is there.

use std::{collections::BTreeSet, sync::Arc};

use fleetprof_store::{FileId, Piece, Row, Stacks, Table, Wanted};
use quick_cache::{Weighter, sync::Cache};

/// Most memory for all, bytes; where a query may have little itself, a part of that.
const MAX_BYTES: u64 = 192 << 20;
const PART: u64 = 8;
/// About what most sums take, bytes.
const TYPICAL_BYTES: u64 = 8 << 10;
/// About what a label takes, and a row of code.
const LABEL_BYTES: usize = 48;
const FRAME_BYTES: usize = 40;
const STACK_BYTES: usize = 8;
/// In place of values that nobody looks at.
const SOME_VALUE: &str = "*";

/// Which sums of which file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// One, or several whose sums are one.
    files: Vec<FileId>,
    /// Of the windows in this range only, Unix nanoseconds; `None`: of all.
    part: Option<(i64, i64)>,
    services: Option<BTreeSet<String>>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// By values of some labels, and, if `names`, by which others there are.
    Labels { labels: Vec<String>, names: bool },
    /// By stacks or frames, and these labels; `None`: all.
    Code(Stacks, Option<Vec<String>>),
}

/// Sums of files, those that were used lately.
#[derive(Debug)]
pub(super) struct FileSums(Cache<Key, Arc<Table>, ByMemory>);

#[derive(Clone, Debug)]
struct ByMemory;

// === impl Key ===

impl Key {
    /// Of a piece, or a part of it. `labels` are those of which values are looked at, `all` whether others are
    /// looked at, too.
    pub(super) fn new(
        piece: &Piece,
        part: Option<(i64, i64)>,
        wanted: &Wanted,
        labels: Vec<String>,
        all: bool,
    ) -> Self {
        let one = Self::of_all(std::slice::from_ref(piece), wanted, labels, all);
        Self { part, ..one }
    }

    /// Of several pieces together, which are whole.
    pub(super) fn of_all(
        pieces: &[Piece],
        wanted: &Wanted,
        labels: Vec<String>,
        all: bool,
    ) -> Self {
        let kind = match wanted.stacks {
            Stacks::None => Kind::Labels { labels, names: all },
            stacks => Kind::Code(stacks, (!all).then_some(labels)),
        };
        let files = pieces.iter().map(|piece| piece.file.file.id).collect();
        Self { files, part: None, services: wanted.services.clone(), kind }
    }

    /// What is wanted of a table without windows.
    pub(super) fn sums_of(&self, table: Table) -> Table {
        let Kind::Labels { labels, names } = &self.kind else { return table };
        table.of_origins(|name, value| match labels.iter().any(|wanted| wanted == name) {
            true => Some(value),
            false => names.then_some(SOME_VALUE),
        })
    }
}

// === impl FileSums ===

impl FileSums {
    /// None yet. `query_bytes` is the memory that queries may have.
    pub(super) fn new(query_bytes: u64) -> Self {
        let bytes = (query_bytes / PART).min(MAX_BYTES);
        let files = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(files, bytes, ByMemory))
    }

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
        let code = &sums.code;
        let labels = (0..code.origin_count()).flat_map(|at| code.origin_labels(at));
        let of_labels = labels.fold(0, |sum, (_, value)| sum + LABEL_BYTES + value.len());
        let of_key = match &key.kind {
            Kind::Labels { labels, .. } => labels.len(),
            Kind::Code(_, labels) => labels.as_ref().map_or(0, Vec::len),
        };
        let own = size_of::<Key>()
            + size_of_val(&key.files[..])
            + size_of::<Table>()
            + LABEL_BYTES * of_key;
        let of_code = FRAME_BYTES * code.frame_count() + STACK_BYTES * code.stack_count();
        (own + of_code + size_of::<Row>() * sums.rows.len() + of_labels) as u64
    }
}
