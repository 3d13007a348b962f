//! What merging there is to do. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::{
    catalog::FileRow,
    level::{DAY, HOUR, Level, MINUTE},
};

/// When files are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeLimits {
    /// How long after the end of an hour its files are merged for good, nanoseconds: what comes later is
    /// merged later.
    pub grace: i64,
    /// How long samples stay in fine files only, nanoseconds: recent ones are answered from many small
    /// files.
    pub delay: i64,
    /// Fine files of one hour that are merged into a larger one.
    pub files: usize,
    /// Most rows of samples that one fine file gets by merging.
    pub rows: u64,
}

/// A piece of work: some files become others.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Files of one hour or day become fewer of the same level.
    Merge {
        /// Their level.
        level: Level,
        /// Their hour or day.
        bucket: i64,
        /// Whether their samples are in the next level, too.
        rolled: bool,
        /// The files.
        inputs: Vec<FileRow>,
    },
    /// Samples of one hour or day are put into the next level, too.
    Roll {
        /// The next level.
        level: Level,
        /// Its hour or day.
        bucket: i64,
        /// The files, of the level before.
        inputs: Vec<FileRow>,
    },
}

/// Services whose outputs are made together; `None`: all go into one.
pub(super) type Pass = Option<BTreeSet<String>>;

/// Most rows that are taken apart at a time: the files of many small services are read once for a lot of them,
/// those of large services once for each.
const PASS_ROWS: u64 = 200_000;

type Buckets<'a> = BTreeMap<i64, Vec<&'a FileRow>>;

/// Jobs whose time has come. No file is in two of them.
pub(super) fn due(files: &[FileRow], now: i64, limits: &MergeLimits) -> Vec<Job> {
    let of = |level: Level| {
        let mut buckets = Buckets::new();
        let sound = files.iter().filter(|row| row.damaged.is_none());
        for row in sound.filter(|row| row.file.level == level) {
            buckets.entry(row.file.bucket).or_default().push(row);
        }
        buckets
    };
    let (fine, hourly, daily) = (of(Level::Fine), of(Level::Hourly), of(Level::Daily));
    let mut jobs = Vec::new();
    for (hour, rows) in &fine {
        let closed = now >= hour + HOUR + limits.grace;
        roll_fine(*hour, rows, closed, now, limits, &mut jobs);
        merge_fine(*hour, rows, closed, limits, &mut jobs);
    }
    let has_unrolled =
        |hour: i64| fine.get(&hour).is_some_and(|rows| rows.iter().any(|row| !row.rolled));
    for (hour, rows) in &hourly {
        if now >= hour + HOUR + limits.grace && !has_unrolled(*hour) {
            merge_by_service(Level::Hourly, *hour, rows, &mut jobs);
        }
    }
    roll_hourly(&hourly, has_unrolled, now, limits, &mut jobs);
    for (day, rows) in &daily {
        merge_by_service(Level::Daily, *day, rows, &mut jobs);
    }
    // What an earlier job changes is looked at again in the next round.
    let mut taken = HashSet::new();
    jobs.retain(|job: &Job| {
        let ids = || job.inputs().iter().map(|row| row.file.id);
        let is_free = !ids().any(|id| taken.contains(&id));
        taken.extend(ids());
        is_free
    });
    jobs
}

/// What arrived becomes hourly after a while, and when its hour is over.
fn roll_fine(
    hour: i64,
    rows: &[&FileRow],
    closed: bool,
    now: i64,
    limits: &MergeLimits,
    jobs: &mut Vec<Job>,
) {
    let unrolled: Vec<&FileRow> = rows.iter().copied().filter(|row| !row.rolled).collect();
    let Some(oldest) = unrolled.iter().map(|row| row.created).min() else { return };
    if closed || now - oldest >= limits.delay || unrolled.len() >= 16 * limits.files {
        for inputs in groups(&unrolled, 2 * limits.rows) {
            jobs.push(Job::Roll { level: Level::Hourly, bucket: hour, inputs });
        }
    }
}

/// Small files of an hour become one, when there are many or the hour is over.
fn merge_fine(
    hour: i64,
    rows: &[&FileRow],
    closed: bool,
    limits: &MergeLimits,
    jobs: &mut Vec<Job>,
) {
    let small = rows.iter().copied().filter(|row| row.rolled && row.file.rows < limits.rows / 2);
    let small: Vec<&FileRow> = small.collect();
    if small.len() < if closed { 2 } else { limits.files } {
        return;
    }
    for inputs in groups(&small, limits.rows).into_iter().filter(|group| group.len() > 1) {
        jobs.push(Job::Merge { level: Level::Fine, bucket: hour, rolled: true, inputs });
    }
}

/// Files of several services, and several files of one service, become one for each service.
fn merge_by_service(level: Level, bucket: i64, rows: &[&FileRow], jobs: &mut Vec<Job>) {
    for rolled in [false, true] {
        let rows: Vec<&FileRow> = rows.iter().copied().filter(|row| row.rolled == rolled).collect();
        let mixed = |row: &FileRow| row.file.service.is_none();
        let holds =
            |row: &FileRow, name: &str| row.file.services.iter().any(|it| it.service == name);
        let is_due = |row: &&FileRow| match &row.file.service {
            None => true,
            Some(service) => {
                rows.iter().any(|other| other.file.id != row.file.id && holds(other, service))
            }
        };
        let inputs: Vec<FileRow> = rows.iter().copied().filter(is_due).cloned().collect();
        if inputs.len() > 1 || inputs.iter().any(mixed) {
            jobs.push(Job::Merge { level, bucket, rolled, inputs });
        }
    }
}

/// When a day is over and its hours are merged, each service gets its day.
fn roll_hourly(
    hourly: &Buckets<'_>,
    has_unrolled: impl Fn(i64) -> bool,
    now: i64,
    limits: &MergeLimits,
    jobs: &mut Vec<Job>,
) {
    let mut days: BTreeMap<i64, Vec<&FileRow>> = BTreeMap::new();
    for (hour, rows) in hourly {
        let unrolled = rows.iter().copied().filter(|row| !row.rolled);
        days.entry(hour - hour.rem_euclid(DAY)).or_default().extend(unrolled);
    }
    for (day, rows) in days {
        let mut hours = (0..24).map(|hour| day + hour * HOUR);
        let is_mixed = rows.iter().any(|row| row.file.service.is_none());
        if now < day + DAY + 2 * limits.grace || is_mixed || hours.any(&has_unrolled) {
            continue;
        }
        let mut services: BTreeMap<&str, Vec<FileRow>> = BTreeMap::new();
        for row in rows {
            let service = row.file.service.as_deref().unwrap_or_default();
            services.entry(service).or_default().push(row.clone());
        }
        for inputs in services.into_values() {
            jobs.push(Job::Roll { level: Level::Daily, bucket: day, inputs });
        }
    }
}

/// In order, as many together as have at most so many rows, but at least one.
fn groups(rows: &[&FileRow], most: u64) -> Vec<Vec<FileRow>> {
    let mut groups: Vec<Vec<FileRow>> = Vec::new();
    let mut sum = u64::MAX;
    for row in rows {
        sum = sum.saturating_add(row.file.rows);
        match groups.last_mut() {
            Some(group) if sum <= most => group.push((*row).clone()),
            _ => {
                sum = row.file.rows;
                groups.push(vec![(*row).clone()]);
            }
        }
    }
    groups
}

// === impl MergeLimits ===

impl Default for MergeLimits {
    fn default() -> Self {
        Self { grace: 2 * MINUTE, delay: 5 * MINUTE, files: 16, rows: 150_000 }
    }
}

// === impl Job ===

impl Job {
    /// The level of its outputs.
    pub fn level(&self) -> Level {
        match self {
            Self::Merge { level, .. } | Self::Roll { level, .. } => *level,
        }
    }

    /// The hour or day of its outputs, Unix nanoseconds.
    pub fn bucket(&self) -> i64 {
        match self {
            Self::Merge { bucket, .. } | Self::Roll { bucket, .. } => *bucket,
        }
    }

    /// The files it is made from.
    pub fn inputs(&self) -> &[FileRow] {
        match self {
            Self::Merge { inputs, .. } | Self::Roll { inputs, .. } => inputs,
        }
    }

    /// Level and hour or day of the files that it retires or adds.
    pub(crate) fn touched(&self) -> impl Iterator<Item = (Level, i64)> {
        let own = std::iter::once((self.level(), self.bucket()));
        own.chain(self.inputs().iter().map(|row| (row.file.level, row.file.bucket)))
    }

    /// What others must not work on at the same time.
    pub(super) fn place(&self) -> &'static str {
        match self.inputs().first().map(|row| row.file.level) {
            Some(level) => level.as_str(),
            None => self.level().as_str(),
        }
    }

    /// How the outputs are made: the inputs are read once for each.
    pub(super) fn passes(&self) -> Vec<Pass> {
        if !self.splits() {
            return vec![None];
        }
        let mut passes: Vec<BTreeSet<String>> = Vec::new();
        let mut sum = u64::MAX;
        for (service, rows) in self.rows_by_service() {
            sum = sum.saturating_add(rows);
            match passes.last_mut() {
                Some(pass) if sum <= PASS_ROWS => {
                    pass.insert(service.to_owned());
                }
                _ => {
                    sum = rows;
                    passes.push(BTreeSet::from([service.to_owned()]));
                }
            }
        }
        passes.into_iter().map(Some).collect()
    }

    /// Rows that services have in the inputs, as if each row of a file stood for as many samples.
    fn rows_by_service(&self) -> BTreeMap<&str, u64> {
        let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
        for FileRow { file, .. } in self.inputs() {
            let samples: u128 = file.services.iter().map(|sum| u128::from(sum.samples)).sum();
            for sum in &file.services {
                let share = u128::from(file.rows) * u128::from(sum.samples) / samples.max(1);
                let known = rows.entry(&sum.service).or_default();
                *known = known.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
            }
        }
        rows
    }

    /// Whether each service gets a file of its own.
    fn splits(&self) -> bool {
        match self {
            Self::Merge { level, .. } => *level != Level::Fine,
            Self::Roll { level, .. } => *level == Level::Daily,
        }
    }
}

#[cfg(test)]
mod tests;
