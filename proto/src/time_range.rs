//! Ranges of time as people type them: text and the present instant in, Unix nanoseconds out.
//!
//! An instant is one of
//! - `now`;
//! - back from now: `-15m`, `-1h30m`, `-90s`, `-7d`, `-2w`, or the same after `now`: `now-15m`
//!   (whole numbers, units `w d h m s` from large to small; a day is 24 hours);
//! - RFC 3339 with a zone: `2026-11-22T10:00:00Z`, `2026-11-22T11:00:00+01:00` (a space for the `T`
//!   and absent seconds are fine);
//! - seconds since the Unix epoch: `1795341600`, `1795341600.25`.
//!
//! A date without a zone is refused: the person who types it and the server that reads it need not
//! be in the same zone, so whatever it was taken for would be wrong for somebody.
//!
//! Nothing here reads a clock or the system's time zone.

use std::fmt;

use jiff::{Timestamp, civil};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Longest text that is looked at, bytes: instants are short, and errors repeat the text.
pub const MAX_INSTANT_BYTES: usize = 64;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Units of a relative instant, largest first, and their seconds.
const UNITS: [(char, i64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A range that is not empty: `start` is before `end`; `end` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start_unix_nanos: i64,
    end_unix_nanos: i64,
}

/// Text that is not an instant, or two instants that are not a range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Nothing but white space.
    #[error("the time is empty: write for example now, -15m or 2026-11-22T10:00:00Z")]
    Empty,
    /// Longer than [`MAX_INSTANT_BYTES`].
    #[error("a time of {0} bytes is too long: write for example now, -15m or 2026-11-22T10:00:00Z")]
    TooLong(usize),
    /// None of the accepted forms.
    #[error(
        "{text:?} is not a time: write now, -15m, -1h30m, now-7d, 2026-11-22T10:00:00Z or Unix seconds"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// `15m`: a duration that does not say in which direction.
    #[error("{text:?} is a duration, not a time: write -{text} for that long ago")]
    Unsigned {
        /// What was given.
        text: String,
    },
    /// A duration with a unit that is unknown, repeated, or out of order.
    #[error(
        "{text:?} is not a duration: write whole numbers with the units w, d, h, m, s, largest first, as in -1h30m"
    )]
    Duration {
        /// What was given.
        text: String,
    },
    /// A date and time without a zone.
    #[error("{text:?} has no time zone: append Z for UTC or an offset such as +01:00")]
    NoZone {
        /// What was given.
        text: String,
    },
    /// Not representable in 64 bits of nanoseconds (1677 to 2262).
    #[error(
        "{text:?} is outside the years 1677 to 2262{}",
        if *milliseconds { "; if these are milliseconds, divide by 1000" } else { "" }
    )]
    OutOfRange {
        /// What was given.
        text: String,
        /// It would be a plausible instant if read as milliseconds.
        milliseconds: bool,
    },
    /// Start and end are the same instant.
    #[error("the range is empty: it starts and ends at {}", RangeEnd(.from, *.start))]
    EmptyRange {
        /// Start as given.
        from: String,
        /// Start, nanoseconds since the Unix epoch.
        start: i64,
    },
    /// The end is before the start.
    #[error(
        "the range is reversed: it starts at {}, after its end at {}; swap the two",
        RangeEnd(.from, *.start),
        RangeEnd(.to, *.end)
    )]
    Reversed {
        /// Start as given; empty when it came as a number.
        from: String,
        /// Start, nanoseconds since the Unix epoch.
        start: i64,
        /// End as given; empty when it came as a number.
        to: String,
        /// End, nanoseconds since the Unix epoch.
        end: i64,
    },
}

/// One end of a range in an error: the instant, and the text it came from where there was one.
struct RangeEnd<'a>(&'a str, i64);

/// Writes an instant as RFC 3339 in UTC with as many digits as it needs: `2026-11-22T10:00:00Z`.
#[must_use]
pub fn format_instant(unix_nanos: i64) -> String {
    // Every i64 of nanoseconds is within jiff's range (years -9999 to 9999); the fallback is only
    // there because the type system cannot know.
    Timestamp::from_nanosecond(i128::from(unix_nanos))
        .map_or_else(|_| format!("{unix_nanos} ns"), |instant| instant.to_string())
}

/// Reads an instant in one of the forms of this module's introduction. `now_unix_nanos` and the
/// result are nanoseconds since the Unix epoch.
///
/// # Errors
/// Says what is wrong with the text and what to write.
pub fn parse_instant(text: &str, now_unix_nanos: i64) -> Result<i64, TimeError> {
    if text.len() > MAX_INSTANT_BYTES {
        return Err(TimeError::TooLong(text.len()));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(TimeError::Empty);
    }
    let relative = text.strip_prefix("now").unwrap_or(text);
    if relative.is_empty() {
        return Ok(now_unix_nanos);
    }
    if let Some(duration) = relative.strip_prefix('-') {
        return ago(duration, now_unix_nanos, text);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return unix_seconds(text);
    }
    calendar(text)
}

// === impl TimeRange ===

impl TimeRange {
    /// A range from two instants, nanoseconds since the Unix epoch; `end` is exclusive.
    ///
    /// # Errors
    /// Fails when the range is empty or reversed.
    pub fn new(start_unix_nanos: i64, end_unix_nanos: i64) -> Result<Self, TimeError> {
        Self::from_named("", start_unix_nanos, "", end_unix_nanos)
    }

    /// Reads both ends (see [`parse_instant`]); `now_unix_nanos` is the instant that `now` means in
    /// both.
    ///
    /// # Errors
    /// Fails on malformed text and on an empty or reversed range; the error names both ends.
    pub fn parse(from: &str, to: &str, now_unix_nanos: i64) -> Result<Self, TimeError> {
        let start = parse_instant(from, now_unix_nanos)?;
        let end = parse_instant(to, now_unix_nanos)?;
        Self::from_named(from.trim(), start, to.trim(), end)
    }

    fn from_named(from: &str, start: i64, to: &str, end: i64) -> Result<Self, TimeError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        match start.cmp(&end) {
            std::cmp::Ordering::Less => Ok(Self { start_unix_nanos: start, end_unix_nanos: end }),
            std::cmp::Ordering::Equal => Err(TimeError::EmptyRange { from, start }),
            std::cmp::Ordering::Greater => Err(TimeError::Reversed { from, start, to, end }),
        }
    }

    /// First instant inside, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn start_unix_nanos(self) -> i64 {
        self.start_unix_nanos
    }

    /// First instant after, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn end_unix_nanos(self) -> i64 {
        self.end_unix_nanos
    }

    /// Length, nanoseconds; at least 1.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.end_unix_nanos.abs_diff(self.start_unix_nanos)
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start_unix_nanos, self.end_unix_nanos);
        write!(f, "{} to {}", format_instant(start), format_instant(end))
    }
}

// === impl RangeEnd ===

impl fmt::Display for RangeEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_instant(self.1))?;
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({:?})", self.0) }
    }
}

// === the forms of an instant ===

fn ago(duration: &str, now: i64, text: &str) -> Result<i64, TimeError> {
    let out_of_range = || TimeError::OutOfRange { text: text.to_owned(), milliseconds: false };
    match duration_seconds(duration) {
        Duration::Seconds(seconds) => seconds
            .checked_mul(NANOS_PER_SECOND)
            .and_then(|nanos| now.checked_sub(nanos))
            .ok_or_else(out_of_range),
        Duration::TooLong => Err(out_of_range()),
        Duration::Malformed => Err(TimeError::Duration { text: text.to_owned() }),
    }
}

enum Duration {
    Seconds(i64),
    TooLong,
    Malformed,
}

/// `1h30m`: numbers with strictly falling units, so that a slip such as `1m30m` is not a guess.
fn duration_seconds(text: &str) -> Duration {
    if text.is_empty() {
        return Duration::Malformed;
    }
    let mut units = UNITS.as_slice();
    let mut rest = text;
    let mut total = Some(0_i64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let mut after = after.chars();
        let unit = after.next().and_then(|c| units.iter().position(|(name, _)| *name == c));
        let (Some(unit), false) = (unit, number.is_empty()) else {
            return Duration::Malformed;
        };
        // Digits only, so the one way to fail is to be too large; the rest must still be checked.
        total = number
            .parse::<i64>()
            .ok()
            .and_then(|number| number.checked_mul(units[unit].1))
            .and_then(|seconds| total?.checked_add(seconds));
        units = &units[unit + 1..];
        rest = after.as_str();
    }
    total.map_or(Duration::TooLong, Duration::Seconds)
}

/// Digits with at most one point: seconds since the Unix epoch.
fn unix_seconds(text: &str) -> Result<i64, TimeError> {
    let malformed = || TimeError::Malformed { text: text.to_owned() };
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let fraction = match fraction {
        None => 0,
        Some(digits) if digits.is_empty() || digits.len() > 9 || digits.contains('.') => {
            return Err(malformed());
        }
        Some(digits) => format!("{digits:0<9}").parse::<i64>().map_err(|_| malformed())?,
    };
    if whole.is_empty() {
        return Err(malformed());
    }
    let seconds = whole.parse::<i64>().ok();
    seconds
        .and_then(|seconds| seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(fraction))
        .ok_or_else(|| TimeError::OutOfRange {
            text: text.to_owned(),
            milliseconds: seconds.is_some_and(|it| it / 1000 < i64::MAX / NANOS_PER_SECOND),
        })
}

fn calendar(text: &str) -> Result<i64, TimeError> {
    let owned = || text.to_owned();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return i64::try_from(instant.as_nanosecond())
            .map_err(|_| TimeError::OutOfRange { text: owned(), milliseconds: false });
    }
    if !matches!(duration_seconds(text), Duration::Malformed) {
        return Err(TimeError::Unsigned { text: owned() });
    }
    if text.parse::<civil::DateTime>().is_ok() || text.parse::<civil::Date>().is_ok() {
        return Err(TimeError::NoZone { text: owned() });
    }
    Err(TimeError::Malformed { text: owned() })
}
