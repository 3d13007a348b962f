//! Which files answer a question, and which rows of them: each sample once, at one level.
//!
//! Pure. A file that was merged into the next level stays for a while, so most samples are there two or
//! three times. Of a day that is asked for as a whole, the daily files are read, and what is not in them
//! yet; of parts of days, the hourly ones; where it must be finer, those of the agents' windows, as far
//! as they are still there.

mod functions;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    catalog::FileRow,
    level::{DAY, HOUR, Level, MINUTE},
};

pub use functions::{FunctionPiece, split_functions};

/// Ranges up to this are answered with the agents' windows, nanoseconds.
const FINE_RANGE: i64 = 15 * MINUTE;

/// What a question needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of this service only.
    pub service: Option<String>,
    /// Samples the middle of whose window is inside, Unix nanoseconds, the end exclusive.
    pub range: (i64, i64),
    /// Labels that must be there.
    pub labels: Vec<String>,
    /// Steps that must be told apart, nanoseconds; 0: none.
    pub step: i64,
}

/// A file and the part of it to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Which.
    pub file: FileRow,
    /// Rows the middle of whose window is inside, Unix nanoseconds, the end exclusive.
    pub range: (i64, i64),
}

/// What is read for a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadPlan {
    /// In the order of time.
    pub pieces: Vec<Piece>,
    /// What the answer will lack, in sentences.
    pub lacks: Vec<String>,
}

/// The files of one day.
#[derive(Default)]
struct Day<'a> {
    daily: Vec<&'a FileRow>,
    hours: BTreeMap<i64, Hour<'a>>,
}

/// The files of one hour.
#[derive(Default)]
struct Hour<'a> {
    hourly: Vec<&'a FileRow>,
    fine: Vec<&'a FileRow>,
}

/// Chooses among all files, of all levels, of the days that the range of a wish touches.
pub fn choose(files: &[FileRow], wish: &Wish) -> ReadPlan {
    let mut days: BTreeMap<i64, Day<'_>> = BTreeMap::new();
    for row in files {
        let bucket = row.file.bucket;
        let day = days.entry(bucket - bucket.rem_euclid(DAY)).or_default();
        match row.file.level {
            Level::Daily => day.daily.push(row),
            Level::Hourly => day.hours.entry(bucket).or_default().hourly.push(row),
            Level::Fine => day.hours.entry(bucket).or_default().fine.push(row),
        }
    }
    let mut plan = ReadPlan::default();
    for (start, day) in &days {
        day.choose(*start, wish, &mut plan);
    }
    plan
}

/// The days that a range touches, whole.
pub(crate) fn days((start, end): (i64, i64)) -> (i64, i64) {
    let first = start.saturating_sub(start.rem_euclid(DAY));
    let past = end.saturating_sub(1);
    (first, past.saturating_sub(past.rem_euclid(DAY)).saturating_add(DAY))
}

/// Whether a file is of one of some whole days.
pub(crate) fn is_of_days(row: &FileRow, (start, end): (i64, i64)) -> bool {
    (start..end).contains(&row.file.bucket)
}

/// The days of a span, neighbours as one, of which no daily file is among `files`.
pub(crate) fn days_without_daily(files: &[FileRow], (start, end): (i64, i64)) -> Vec<(i64, i64)> {
    let daily = files.iter().filter(|row| row.file.level == Level::Daily);
    let there: BTreeSet<i64> = daily.map(|row| row.file.bucket).collect();
    let mut without: Vec<(i64, i64)> = Vec::new();
    let mut day = start;
    while day < end {
        let next = day.saturating_add(DAY);
        match without.last_mut() {
            _ if there.contains(&day) => {}
            Some(last) if last.1 == day => last.1 = next,
            _ => without.push((day, next)),
        }
        day = next;
    }
    without
}

// === impl Wish ===

impl Wish {
    /// The days that daily files can answer, if they have them; the end is exclusive.
    pub(crate) fn whole_days(&self) -> (i64, i64) {
        if !self.allows(Level::Daily) {
            return (0, 0);
        }
        let (start, end) = self.range;
        (start.saturating_add((-start).rem_euclid(DAY)), end.saturating_sub(end.rem_euclid(DAY)))
    }

    /// Whether a level tells apart what is asked for.
    pub(crate) fn allows(&self, level: Level) -> bool {
        let width = match level {
            Level::Fine => 0,
            Level::Hourly => MINUTE,
            Level::Daily => HOUR,
        };
        let kept = |name: &String| level.labels().is_none_or(|kept| kept.contains(&name.as_str()));
        let fine_enough = self.step == 0 || width <= self.step;
        fine_enough && self.labels.iter().all(kept) && (width == 0 || self.span() > FINE_RANGE)
    }

    /// Samples of files, of the service that is asked for.
    fn samples<'a>(&self, rows: impl Iterator<Item = &'a FileRow>) -> u64 {
        let wanted = |name: &str| self.service.as_deref().is_none_or(|service| service == name);
        let sums = rows.flat_map(|row| &row.file.services).filter(|sum| wanted(&sum.service));
        sums.fold(0, |sum: u64, service| sum.saturating_add(service.samples))
    }

    fn span(&self) -> i64 {
        self.range.1.saturating_sub(self.range.0)
    }

    /// Whether a span of time is asked for as a whole.
    fn covers(&self, start: i64, width: i64) -> bool {
        self.range.0 <= start && start.saturating_add(width) <= self.range.1
    }

    /// The labels asked for that a level does not keep.
    fn lost_labels(&self, level: Level) -> Vec<&str> {
        let kept = level.labels().unwrap_or_default();
        self.labels.iter().map(String::as_str).filter(|name| !kept.contains(name)).collect()
    }
}

// === impl Day ===

impl Day<'_> {
    fn choose(&self, start: i64, wish: &Wish, plan: &mut ReadPlan) {
        // What is in the daily files came from hourly ones; if those are gone, only the daily ones are left.
        let hourly = self.hours.values().flat_map(|hour| &hour.hourly).copied();
        let hourly_is_whole =
            wish.samples(hourly.filter(|row| row.rolled)) >= wish.samples(self.daily());
        let daily_suffices = wish.allows(Level::Daily) && wish.covers(start, DAY);
        let use_daily = !self.daily.is_empty() && (daily_suffices || !hourly_is_whole);
        if use_daily {
            if !daily_suffices {
                plan.note_lack(wish, Level::Daily, start);
            }
            plan.take(self.daily(), wish);
        }
        for (start, hour) in &self.hours {
            hour.choose(*start, use_daily, wish, plan);
        }
    }

    fn daily(&self) -> impl Iterator<Item = &FileRow> {
        self.daily.iter().copied()
    }
}

// === impl Hour ===

impl Hour<'_> {
    /// `in_daily`: what was merged into daily files is read from there.
    fn choose(&self, start: i64, in_daily: bool, wish: &Wish, plan: &mut ReadPlan) {
        let hourly = || self.hourly.iter().copied().filter(|row| !(in_daily && row.rolled));
        let fine_is_whole = wish.samples(self.fine().filter(|row| row.rolled))
            >= wish.samples(self.hourly.iter().copied());
        if in_daily || wish.allows(Level::Hourly) || !fine_is_whole {
            if !in_daily && !self.hourly.is_empty() && !wish.allows(Level::Hourly) {
                plan.note_lack(wish, Level::Hourly, start);
            }
            plan.take(hourly(), wish);
            plan.take(self.fine().filter(|row| !row.rolled), wish);
        } else {
            plan.take(self.fine(), wish);
        }
    }

    fn fine(&self) -> impl Iterator<Item = &FileRow> {
        self.fine.iter().copied()
    }
}

// === impl ReadPlan ===

impl ReadPlan {
    fn take<'a>(&mut self, rows: impl Iterator<Item = &'a FileRow>, wish: &Wish) {
        for row in rows {
            let (start, end) = row.file.range();
            if start >= wish.range.1 || end <= wish.range.0 {
                continue;
            }
            if let Some(damage) = row.damage() {
                self.lacks.push(damage);
                continue;
            }
            self.pieces.push(Piece { file: row.clone(), range: wish.range });
        }
    }

    /// Says what a level that has to do lacks. Less exact edges of a range are no lack.
    fn note_lack(&mut self, wish: &Wish, level: Level, start: i64) {
        let labels = wish.lost_labels(level);
        if labels.is_empty() {
            return;
        }
        let from = fleetprof_proto::time_range::format_instant(start);
        let text = format!(
            "{level} data from {from} on has no label {labels}: finer data are not kept so long",
            level = level.as_str(),
            labels = labels.join(", ")
        );
        if self.lacks.len() < 1000 && !self.lacks.contains(&text) {
            self.lacks.push(text);
        }
    }
}

#[cfg(test)]
mod tests;
