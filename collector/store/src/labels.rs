//! Values of labels that hourly files do not keep (hosts, pods, …), found without reading the fine ones.
//!
//! What a fine file adds to the values of its day is written to the catalog with it. A collector remembers
//! what it has written, so mostly that is nothing.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fleetprof_proto::labels::SERVICE;
use hashbrown::{HashMap, HashSet};

use crate::{
    catalog::{FileId, FileRow, LabelValue, NewFile},
    error::StoreError,
    format::{Stacks, Wanted},
    level::{DAY, Level},
    plan::Piece,
    store::ProfileStore,
    table::Table,
};

/// Most values of one label of one service and day: more are not a list that anybody chooses from.
const MAX_VALUES: usize = 10_000;
/// Most bytes of a value with its label's name and service.
const MAX_BYTES: usize = 1024;
/// Most values of a day that are remembered, and written.
const MAX_OF_DAY: usize = 500_000;
/// Files whose values are written together when they came without.
const AT_A_TIME: u32 = 100;
/// Name of the lease of doing so, and how long one may be silent.
const WORK: &str = "labels";
const LEASE: Duration = Duration::from_secs(300);
/// Days that are remembered: those of which files come.
const MAX_DAYS: usize = 3;

/// The answer to a question for values of a label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelAnswer {
    /// Values of whole days, in order.
    pub values: Vec<String>,
    /// Fine files of which not all values are known: they are to be read.
    pub unknown: Vec<FileRow>,
    /// Start of the first hour of which there are fine files; nothing is known of what was before.
    pub first: Option<i64>,
}

/// Values that are in the catalog for sure, of the days that were met lately.
#[derive(Debug)]
pub(crate) struct WrittenLabels {
    days: Mutex<Vec<Day>>,
    max_days: usize,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Day {
    start: i64,
    /// By service and name: values, all of them by their hash.
    values: HashMap<u64, HashSet<u64>>,
    count: usize,
}

/// What is to be written with some files.
#[derive(Debug, Default)]
pub(crate) struct NewLabels {
    pub(crate) values: BTreeSet<LabelValue>,
    /// Files of which all values are written then.
    pub(crate) files: HashSet<FileId>,
}

// === impl WrittenLabels ===

impl WrittenLabels {
    /// Remembers no more days than this.
    pub(crate) fn of_days(max_days: usize) -> Self {
        Self { days: Mutex::default(), max_days, hasher: RandomState::new() }
    }

    /// What of the values in a table that is of a day is not in the catalog yet, in order; `None` where there are
    /// too many to write them.
    pub(crate) fn new_of(&self, table: &Table, day: i64) -> Option<BTreeSet<LabelValue>> {
        let kept = Level::Hourly.labels().unwrap_or_default();
        let mut found = HashSet::new();
        for origin in 0..table.code.origin_count() {
            let labels = || table.code.origin_labels(origin);
            let service = labels().find(|(name, _)| *name == SERVICE).map_or("", |(_, name)| name);
            for (name, value) in labels().filter(|(name, _)| !kept.contains(name)) {
                found.extend([(service, name, value), ("", name, value)]);
            }
        }
        self.unwritten(found, day)
    }

    /// Of values with services and names of labels.
    fn unwritten(
        &self,
        found: HashSet<(&str, &str, &str)>,
        start: i64,
    ) -> Option<BTreeSet<LabelValue>> {
        let days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let day = days.iter().find(|day| day.start == start);
        let mut unwritten = BTreeSet::new();
        let mut of_lists: HashMap<u64, usize> = HashMap::new();
        for (service, name, value) in found {
            let list = self.list(service, name);
            let written = day.and_then(|day| day.values.get(&list));
            if written.is_some_and(|it| it.contains(&self.hasher.hash_one(value))) {
                continue;
            }
            let of_list = of_lists.entry(list).or_insert_with(|| written.map_or(0, HashSet::len));
            *of_list += 1;
            let of_day = day.map_or(0, |day| day.count) + unwritten.len();
            // PostgreSQL's text cannot hold a NUL character, nor its indices long texts: a commit would fail.
            let texts = [service, name, value];
            let is_storable = texts.iter().all(|text| !text.contains('\0'))
                && texts.iter().map(|text| text.len()).sum::<usize>() <= MAX_BYTES;
            if *of_list > MAX_VALUES || of_day >= MAX_OF_DAY || !is_storable {
                return None;
            }
            let [service, name, value] = [service, name, value].map(str::to_owned);
            unwritten.insert(LabelValue { service, name, day: start, value });
        }
        Some(unwritten)
    }

    /// Remembers values that are in the catalog now.
    pub(crate) fn note(&self, new: &NewLabels) {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        for value in &new.values {
            let at = days.iter().position(|day| day.start == value.day).unwrap_or_else(|| {
                // Those that came last are at the end.
                if days.len() >= self.max_days {
                    days.remove(0);
                }
                days.push(Day { start: value.day, ..Day::default() });
                days.len() - 1
            });
            let day = &mut days[at];
            let list = self.list(&value.service, &value.name);
            let list = day.values.entry(list).or_default();
            day.count += usize::from(list.insert(self.hasher.hash_one(&value.value)));
        }
    }

    fn list(&self, service: &str, name: &str) -> u64 {
        self.hasher.hash_one((service, name))
    }
}

impl Default for WrittenLabels {
    fn default() -> Self {
        Self::of_days(MAX_DAYS)
    }
}

// === impl NewLabels ===

impl NewLabels {
    /// Adds those of a file; `None`: not all of its values are known.
    pub(crate) fn add(&mut self, file: FileId, values: Option<BTreeSet<LabelValue>>) {
        if let Some(values) = values {
            self.files.insert(file);
            self.values.extend(values);
        }
    }
}

/// Start of the day that the values of a file are of.
pub(crate) fn day_of(file: &NewFile) -> i64 {
    file.bucket - file.bucket.rem_euclid(DAY)
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Values of a label that hourly files do not keep, in samples of a service (empty: of all) on the days that
    /// a range touches.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn label_values(
        &self,
        service: &str,
        name: &str,
        range: (i64, i64),
    ) -> Result<LabelAnswer, StoreError> {
        let day = |at: i64| at.saturating_sub(at.rem_euclid(DAY));
        let days = (day(range.0), day(range.1.saturating_sub(1)));
        let (values, unknown, first) = tokio::try_join!(
            self.catalog.label_values(service, name, days),
            self.catalog.unlabelled(range),
            self.catalog.first_fine(),
        )?;
        Ok(LabelAnswer { values, unknown, first })
    }
}

impl ProfileStore {
    /// Writes the values of labels of files that came without: imported ones, and those of earlier versions.
    /// `stop` is asked between some of them. Gives the number of files.
    ///
    /// # Errors
    /// When the catalog or the object store fails. What is done by then stays.
    pub(crate) async fn label_files(
        &self,
        worker: &str,
        stop: &impl Fn() -> bool,
    ) -> Result<u64, StoreError> {
        let mut done = 0;
        while !stop() {
            let lease = self.catalog.lease(WORK, worker, LEASE, self.now()).await?;
            if lease.is_none() {
                break;
            }
            let files = self.catalog.to_label(AT_A_TIME).await?;
            let (mut new, mut with_too_many) = (NewLabels::default(), Vec::new());
            for row in &files {
                let day = day_of(&row.file);
                let piece = Piece { file: row.clone(), range: (i64::MIN, i64::MAX) };
                let wanted = Wanted { windows: false, stacks: Stacks::None, ..Wanted::all() };
                let table = match self.read(&piece, wanted).await {
                    Ok(table) => table,
                    // It is quarantined, and not found again.
                    Err(error) if error.is_damage() => continue,
                    Err(error) => return Err(error),
                };
                match self.labels.new_of(&table, day) {
                    None => with_too_many.push(row.file.id),
                    some => new.add(row.file.id, some),
                }
            }
            let labelled: Vec<FileId> = new.files.iter().copied().collect();
            self.catalog.add_labels(&new.values, &labelled, &with_too_many).await?;
            self.labels.note(&new);
            done += files.len() as u64;
            if files.len() < AT_A_TIME as usize {
                break;
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is new of values of a label of one service.
    fn of<'a>(
        written: &WrittenLabels,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
        day: i64,
    ) -> Option<NewLabels> {
        let found = values.into_iter().map(|value| ("s", name, value)).collect();
        let mut new = NewLabels::default();
        new.add(FileId::random(), Some(written.unwritten(found, day)?));
        Some(new)
    }

    fn count(new: Option<NewLabels>) -> Option<usize> {
        new.map(|new| new.values.len())
    }

    /// Check that a value is written until it is noted, and then no more.
    #[test]
    fn what_is_written_is_not_written_again() {
        let written = WrittenLabels::default();
        assert_eq!(count(of(&written, "host", ["a", "b"], 0)), Some(2));
        let new = of(&written, "host", ["a", "b"], 0);
        assert_eq!(new.as_ref().map(|new| new.values.len()), Some(2), "it may not be there");
        written.note(&new.expect("few"));
        assert_eq!(count(of(&written, "host", ["a", "c"], 0)), Some(1));
        assert_eq!(count(of(&written, "pod", ["a"], 0)), Some(1));
        assert_eq!(count(of(&written, "host", ["a"], DAY)), Some(1));
    }

    /// Check that of a label with too many values none is written, when they come bit by bit, too, and that
    /// other labels still are.
    #[test]
    fn labels_without_end_are_not_written() {
        let written = WrittenLabels::default();
        let names: Vec<String> = (0..=MAX_VALUES).map(|id| id.to_string()).collect();
        let names = || names.iter().map(String::as_str);
        assert_eq!(count(of(&written, "trace", names(), 0)), None);
        let new = of(&written, "trace", names().take(MAX_VALUES), 0).expect("not too many");
        assert_eq!(new.values.len(), MAX_VALUES);
        written.note(&new);
        assert_eq!(count(of(&written, "trace", names().take(10), 0)), Some(0));
        assert_eq!(count(of(&written, "trace", names().skip(MAX_VALUES), 0)), None);
        assert_eq!(count(of(&written, "host", ["a"], 0)), Some(1));
        assert_eq!(count(of(&written, "host", ["a\0"], 0)), None);
        assert_eq!(count(of(&written, "ho\0st", ["a"], 0)), None);
        let long = "x".repeat(MAX_BYTES - "shost".len());
        assert_eq!(count(of(&written, "host", [&*long], 0)), Some(1));
        assert_eq!(count(of(&written, "hosts", [&*long], 0)), None);
    }

    /// Check that no more than some days are remembered, those that came last.
    #[test]
    fn few_days_are_remembered() {
        let written = WrittenLabels::default();
        for day in 0..10 {
            written.note(&of(&written, "host", ["a"], day * DAY).expect("few"));
        }
        let days = written.days.lock().expect("not poisoned");
        let starts: Vec<i64> = days.iter().map(|day| day.start / DAY).collect();
        assert_eq!(starts, [7, 8, 9]);
    }
}
