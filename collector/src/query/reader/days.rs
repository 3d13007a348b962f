//! Files of one day, merged: hours have most of their stacks in common, and a day is asked for again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fleetprof_store::{DAY, FileId, Level, NO_WINDOW, Piece, Stacks, Table, TableBuilder, Wanted};

use super::{Need, is_whole, needed_labels};
use crate::query::{Plan, QueryParts, sums::Key};

/// Fewer files of a day are not merged beforehand.
const MANY: usize = 4;

/// Days that are being merged.
#[derive(Default)]
pub(super) struct Days {
    days: Vec<Day>,
    /// Where each file belongs.
    of_file: HashMap<FileId, usize>,
}

struct Day {
    key: Key,
    /// Files that are still to come; `None` when one of them could not be read.
    missing: Option<usize>,
    merged: TableBuilder,
}

/// Pieces, and their sum that is known.
pub(super) type Known = (Vec<Piece>, Arc<Table>);

// === impl Days ===

impl Days {
    /// Sorts pieces: days that are known, and the others, of which some days are to be merged.
    pub(super) fn split(
        parts: &QueryParts,
        plan: &Plan,
        need: &Need<'_>,
        wanted: &Wanted,
        pieces: Vec<Piece>,
    ) -> (Vec<Known>, Vec<Piece>, Self) {
        let mut days = Self::default();
        // Of a fleet there is too much.
        if need.stacks == Stacks::None || need.step != 0 || wanted.services.is_none() {
            return (Vec::new(), pieces, days);
        }
        let mut by_day: BTreeMap<i64, Vec<Piece>> = BTreeMap::new();
        let mut others = Vec::new();
        for piece in pieces {
            let bucket = piece.file.file.bucket;
            // Fine files are many, and soon others.
            match is_whole(plan, &piece) && piece.file.file.level != Level::Fine {
                true => by_day.entry(bucket - bucket.rem_euclid(DAY)).or_default().push(piece),
                false => others.push(piece),
            }
        }
        let mut known = Vec::new();
        for pieces in by_day.into_values() {
            if pieces.len() < MANY {
                others.extend(pieces);
                continue;
            }
            let key = Key::of_all(&pieces, wanted, needed_labels(plan, need), need.all_labels);
            if let Some(table) = parts.known.sums.get(&key) {
                known.push((pieces, table));
                continue;
            }
            let number = days.days.len();
            days.of_file.extend(pieces.iter().map(|piece| (piece.file.file.id, number)));
            let missing = Some(pieces.len());
            days.days.push(Day { key, missing, merged: TableBuilder::new() });
            others.extend(pieces);
        }
        (known, others, days)
    }

    /// Takes what was read of a piece; nothing: it cannot be read.
    pub(super) fn add(&mut self, parts: &QueryParts, piece: &Piece, table: Option<&Table>) {
        let number = self.of_file.get(&piece.file.file.id);
        let Some(day) = number.and_then(|number| self.days.get_mut(*number)) else { return };
        let (Some(table), Some(missing)) = (table, day.missing) else {
            day.missing = None;
            day.merged = TableBuilder::new();
            return;
        };
        let all = |labels: &BTreeMap<&str, &str>| {
            let owned = |(name, value): (&&str, &&str)| ((*name).to_owned(), (*value).to_owned());
            Some(labels.iter().map(owned).collect())
        };
        day.merged.add_table(table, all, |_| Some(NO_WINDOW));
        day.missing = Some(missing - 1);
        if missing == 1 {
            let merged = std::mem::take(&mut day.merged).finish();
            parts.known.sums.put(day.key.clone(), Arc::new(merged));
        }
    }
}
