//! What all functions take, of many files.

use std::{collections::BTreeMap, sync::Arc};

use fleetprof_proto::{symbol::Reason, v1};
use fleetprof_store::{
    Amounts, DAY, FunctionFile, FunctionId, FunctionKey, FunctionPiece, FunctionPlace, FunctionSum,
};
use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use super::{origins, read, take};
use crate::query::{
    Plan, QueryError, QueryParts, named,
    reader::{self, Source},
};

/// A functions file is not read for fewer of its pairs than one in so many: all its rows would be.
const FEW: usize = 8;

/// What all functions take.
#[derive(Debug, Default)]
pub(in crate::query) struct Totals {
    by_id: HashMap<FunctionId, Total>,
    keys: Vec<FunctionKey>,
    files: Vec<Arc<FunctionFile>>,
}

#[derive(Clone, Copy, Debug)]
struct Total {
    amounts: Amounts,
    name: Name,
    unnamed: Option<Reason>,
}

/// Where a function's name is.
#[derive(Clone, Copy, Debug)]
enum Name {
    /// In [`Totals::keys`].
    Known(u32),
    /// In one of [`Totals::files`].
    In(u32, FunctionPlace),
}

/// What all functions take in some functions files as a whole.
#[derive(Debug)]
pub(super) struct Whole {
    rows: Vec<(FunctionId, Total)>,
    files: Vec<Arc<FunctionFile>>,
    samples: u64,
}

// === impl Totals ===

impl Totals {
    /// Takes out of a source what functions files say of all functions.
    pub(in crate::query) fn read(
        parts: &QueryParts,
        plan: &Plan,
        cancel: &CancellationToken,
        source: &mut Source,
    ) -> Result<Self, QueryError> {
        let mut totals = Self::default();
        let is_all = origins(plan).is_none();
        let mut days: BTreeMap<i64, Vec<FunctionPiece>> = BTreeMap::new();
        let mut others = Vec::new();
        for piece in take(plan, 0, source) {
            let bucket = piece.pieces.first().map_or(0, |piece| piece.file.file.bucket);
            if is_all && piece.is_whole() {
                days.entry(bucket - bucket.rem_euclid(DAY)).or_default().push(piece);
            } else if is_all && (piece.pieces.len() * FEW) as u64 <= piece.file.covers {
                source.pieces.extend(piece.pieces);
            } else {
                others.push(piece);
            }
        }
        for pieces in days.values() {
            totals.add_day(parts, plan, cancel, source, pieces)?;
        }
        totals.add_files(parts, plan, cancel, source, &others)?;
        Ok(totals)
    }

    /// Adds functions files of one day as a whole, which is summed up once.
    fn add_day(
        &mut self,
        parts: &QueryParts,
        plan: &Plan,
        cancel: &CancellationToken,
        source: &mut Source,
        pieces: &[FunctionPiece],
    ) -> Result<(), QueryError> {
        let ids: Vec<_> = pieces.iter().map(|piece| piece.file.id).collect();
        if let Some(known) = parts.known.functions.day(&ids) {
            let read = pieces.iter().flat_map(|piece| &piece.pieces);
            read.for_each(|piece| source.coverage.read(&piece.file.file));
            let samples = &mut source.coverage.samples;
            *samples = samples.saturating_add(known.samples);
            self.add_whole(&known);
            return Ok(());
        }
        let mut day = Self::default();
        let samples = day.add_files(parts, plan, cancel, source, pieces)?;
        let is_complete = day.files.len() == pieces.len();
        let whole = Whole { rows: day.by_id.into_iter().collect(), files: day.files, samples };
        self.add_whole(&whole);
        if is_complete {
            parts.known.functions.put_day(ids, whole);
        }
        Ok(())
    }

    /// Adds what functions files say; gives the number of samples.
    fn add_files(
        &mut self,
        parts: &QueryParts,
        plan: &Plan,
        cancel: &CancellationToken,
        source: &mut Source,
        pieces: &[FunctionPiece],
    ) -> Result<u64, QueryError> {
        let (store, filter) = (parts.store.clone(), origins(plan));
        let ask = move |piece: FunctionPiece| {
            let (store, wanted) = (store.clone(), piece.wanted(filter.clone()));
            async move { store.function_sums(&piece.file, wanted).await }
        };
        let mut all: u64 = 0;
        read(parts, pieces, cancel, source, ask, |piece, sums: Vec<FunctionSum>| {
            let file = number(self.files.len());
            self.files.push(piece.file.clone());
            let mut samples: u64 = 0;
            for sum in sums {
                samples = samples.saturating_add(sum.amounts.self_samples);
                let name = Name::In(file, sum.place);
                self.add(sum.id, Total { amounts: sum.amounts, name, unnamed: sum.unnamed });
            }
            all = all.saturating_add(samples);
            samples
        })?;
        Ok(all)
    }

    fn add_whole(&mut self, whole: &Whole) {
        let first = number(self.files.len());
        self.files.extend(whole.files.iter().cloned());
        for (id, total) in &whole.rows {
            let name = match total.name {
                Name::In(file, place) => Name::In(first.saturating_add(file), place),
                known @ Name::Known(_) => known,
            };
            self.add(*id, Total { name, ..*total });
        }
    }

    /// Adds what a function takes.
    pub(in crate::query) fn count(&mut self, key: FunctionKey, amounts: Amounts) {
        let (id, unnamed) = (key.id(), key.unnamed);
        if let Some(total) = self.by_id.get_mut(&id) {
            total.amounts.add(amounts);
            return;
        }
        let name = Name::Known(number(self.keys.len()));
        self.keys.push(key);
        self.by_id.insert(id, Total { amounts, name, unnamed });
    }

    fn add(&mut self, id: FunctionId, total: Total) {
        let known = self.by_id.entry(id).or_insert(Total { amounts: Amounts::default(), ..total });
        known.amounts.add(total.amounts);
    }

    /// CPU time of everything.
    pub(in crate::query) fn nanos(&self) -> u64 {
        let nanos = self.by_id.values().map(|total| total.amounts.self_nanos);
        nanos.fold(0, u64::saturating_add)
    }

    /// CPU of samples whose innermost frame has no name, by the reason why, most first.
    pub(in crate::query) fn unnamed(&self) -> Vec<v1::UnnamedUsage> {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for total in self.by_id.values().filter(|total| total.amounts.self_samples > 0) {
            if let Some(reason) = total.unnamed {
                let sum = sums.entry(reason.as_str()).or_default();
                *sum = sum.saturating_add(total.amounts.self_nanos);
            }
        }
        named::usages(sums)
    }

    /// The functions with the most of `key`, all that have as much as the last one included; 0: all.
    /// `None` when a functions file turned out to be damaged.
    pub(in crate::query) fn most(
        self,
        parts: &QueryParts,
        cancel: &CancellationToken,
        limit: usize,
        key: impl Fn(&Amounts) -> (u64, u64),
    ) -> Result<Option<Vec<(FunctionKey, Amounts)>>, QueryError> {
        let mut totals: Vec<Total> = self.by_id.into_values().collect();
        if limit > 0 && totals.len() > limit {
            let mut keys: Vec<_> = totals.iter().map(|total| key(&total.amounts)).collect();
            let (_, least, _) = keys.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
            let least = *least;
            totals.retain(|total| key(&total.amounts) >= least);
        }
        let mut named = Vec::with_capacity(totals.len());
        let mut wanted: BTreeMap<u32, Vec<(FunctionPlace, Amounts)>> = BTreeMap::new();
        for total in totals {
            match total.name {
                Name::Known(at) => named.push((self.keys[at as usize].clone(), total.amounts)),
                Name::In(file, place) => {
                    wanted.entry(file).or_default().push((place, total.amounts));
                }
            }
        }
        for (file, mut rows) in wanted {
            rows.sort_by_key(|(place, _)| *place);
            let file = &self.files[file as usize];
            let places: Vec<_> = rows.iter().map(|(place, _)| *place).collect();
            let names = match parts.known.functions.names(file.id, &places) {
                Some(names) => names,
                None => {
                    let names = parts.store.function_names(file, places.clone());
                    match reader::wait(parts, cancel, async { Ok(names.await) })? {
                        Ok(names) => parts.known.functions.put_names(file.id, places, names),
                        Err(_) => return Ok(None),
                    }
                }
            };
            named.extend(names.iter().cloned().zip(rows.iter().map(|row| row.1)));
        }
        Ok(Some(named))
    }
}

// === impl Whole ===

impl Whole {
    /// About what it takes, bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of::<(FunctionId, Total)>() * self.rows.len()
    }
}

/// A function or file has no greater number: there is memory for fewer.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
