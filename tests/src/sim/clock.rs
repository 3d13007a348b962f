//! Which instants the fleet lives through, and how fast.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The time that is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Where it begins.
    pub from_unix_nanos: i64,
    /// Where it ends: no window reaches over it. None: never.
    pub until_unix_nanos: Option<i64>,
    /// Simulated seconds per second; none: as fast as the collectors take it.
    pub scale: Option<f64>,
}

/// A running [`Pace`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pace: Pace,
    started: Instant,
}

// === impl Pace ===

impl Pace {
    /// Real time from now on, for so long.
    pub fn now(length: Option<Duration>) -> Self {
        let from = unix_nanos();
        let until = length.map(|length| from.saturating_add(nanos(length)));
        Self { from_unix_nanos: from, until_unix_nanos: until, scale: Some(1.0) }
    }

    /// The past up to now, as fast as it can be delivered.
    pub fn backfill(from_unix_nanos: i64, until_unix_nanos: i64) -> Self {
        Self { from_unix_nanos, until_unix_nanos: Some(until_unix_nanos), scale: None }
    }
}

// === impl Clock ===

impl Clock {
    pub(super) fn start(pace: Pace) -> Self {
        Self { pace, started: Instant::now() }
    }

    /// Whether a window that ends then is still part of it.
    pub(super) fn includes(&self, end_unix_nanos: i64) -> bool {
        self.pace.until_unix_nanos.is_none_or(|until| end_unix_nanos <= until)
    }

    /// When a simulated instant is there; `None`: it is already.
    pub(super) fn due(&self, unix_nanos: i64) -> Option<Instant> {
        let scale = self.pace.scale?;
        let ahead = unix_nanos.saturating_sub(self.pace.from_unix_nanos).max(0);
        let due = self.started + Duration::from_secs_f64(ahead as f64 / 1e9 / scale);
        (due > Instant::now()).then_some(due)
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace
    }
}

/// Now.
pub(super) fn unix_nanos() -> i64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A length as a number.
pub(super) fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
