//! How finely samples are kept.

use fleetprof_proto::{batch::Window, labels};

/// Nanoseconds of a minute.
pub const MINUTE: i64 = 60_000_000_000;
/// Nanoseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Nanoseconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// How finely the samples of a file are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// As they came.
    Fine,
    /// Without hosts, by the minute.
    Hourly,
    /// By the hour.
    Daily,
}

// === impl Level ===

impl Level {
    /// All of them, finest first.
    pub const ALL: [Self; 3] = [Self::Fine, Self::Hourly, Self::Daily];

    /// Its name in catalogs and paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
        }
    }

    /// The level with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// The number that catalogs know it by.
    pub fn number(self) -> i64 {
        match self {
            Self::Fine => 0,
            Self::Hourly => 1,
            Self::Daily => 2,
        }
    }

    /// The level with this number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.number() == number)
    }

    /// Time that one file covers at most, nanoseconds; files start at multiples of it.
    pub fn span(self) -> i64 {
        match self {
            Self::Fine | Self::Hourly => HOUR,
            Self::Daily => DAY,
        }
    }

    /// The labels it keeps; `None`: all.
    pub fn labels(self) -> Option<&'static [&'static str]> {
        use labels::{CLUSTER, INSTANCE_TYPE, NAMESPACE, RUNTIME, SERVICE, VERSION, ZONE};
        match self {
            Self::Fine => None,
            Self::Hourly => {
                Some(&[SERVICE, VERSION, NAMESPACE, CLUSTER, ZONE, INSTANCE_TYPE, RUNTIME])
            }
            Self::Daily => Some(&[SERVICE, VERSION, NAMESPACE, CLUSTER, RUNTIME]),
        }
    }

    /// The window that samples of this one get at this level: that of its resolution which the middle
    /// is in.
    pub fn window(self, window: Window) -> Window {
        let width = match self {
            Self::Fine => return window,
            Self::Hourly => MINUTE,
            Self::Daily => HOUR,
        };
        let start = floor(midpoint(window), width);
        Window { start_unix_nanos: start, end_unix_nanos: start + width }
    }

    /// The start of the span of files that a window belongs to, Unix nanoseconds.
    pub fn bucket(self, window: Window) -> i64 {
        floor(midpoint(window), self.span())
    }
}

/// The middle of a window, Unix nanoseconds.
pub fn midpoint(window: Window) -> i64 {
    // Half the sum, rounded down, without overflow.
    let (start, end) = (window.start_unix_nanos, window.end_unix_nanos);
    (start >> 1) + (end >> 1) + (start & end & 1)
}

fn floor(at: i64, width: i64) -> i64 {
    at - at.rem_euclid(width)
}
