//! Keeps others from filling the log: a place that logs what remote peers do wrong may do so a few
//! times a minute, and then says how often it was silent.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Messages per [`PERIOD`].
const MESSAGES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// A place that logs.
#[derive(Debug, Default)]
pub struct LogLimit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    messages: u32,
    silent: u64,
}

// === impl LogLimit ===

impl LogLimit {
    /// Whether to log now; if so, how many messages were left out before.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            state.since = Some(now);
            state.messages = 0;
        }
        if state.messages >= MESSAGES {
            state.silent += 1;
            return None;
        }
        state.messages += 1;
        Some(std::mem::take(&mut state.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a burst is cut, and that what was left out is said when there is room again.
    #[test]
    fn bursts_are_cut_and_counted() {
        let limit = LogLimit::default();
        let start = Instant::now();
        let allowed = (0..100).filter(|_| limit.allow_at(start).is_some()).count();
        assert_eq!(allowed, 20);
        assert_eq!(limit.allow_at(start + PERIOD), Some(80));
        assert_eq!(limit.allow_at(start + PERIOD), Some(0));
    }
}
