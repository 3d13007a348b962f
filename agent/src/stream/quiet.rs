//! Keeps a repeated message from filling the log: once at every change of its cause, then at most
//! once per interval with the number of those left out. Pure: the caller logs.

use std::time::{Duration, Instant};

/// Decides whether a message is to be logged.
#[derive(Debug)]
pub(super) struct Quiet<C> {
    interval: Duration,
    last: Option<(C, Instant)>,
    left_out: u64,
}

// === impl Quiet ===

impl<C: PartialEq> Quiet<C> {
    /// One message per cause and `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, last: None, left_out: 0 }
    }

    /// `Some(messages left out since the last one)` when this one is to be logged.
    pub(super) fn admit(&mut self, cause: C, now: Instant) -> Option<u64> {
        match &self.last {
            Some((last, at)) if *last == cause && now < *at + self.interval => {
                self.left_out += 1;
                None
            }
            _ => {
                self.last = Some((cause, now));
                Some(std::mem::take(&mut self.left_out))
            }
        }
    }

    /// The trouble is over; whether there was any.
    pub(super) fn over(&mut self) -> bool {
        self.left_out = 0;
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_each_change_of_cause_and_one_per_interval() {
        let mut quiet = Quiet::new(Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(quiet.admit("refused", at(0)), Some(0));
        assert_eq!(quiet.admit("refused", at(1)), None);
        assert_eq!(quiet.admit("refused", at(59)), None);
        assert_eq!(quiet.admit("refused", at(60)), Some(2));
        assert_eq!(quiet.admit("timeout", at(61)), Some(0));
        assert!(quiet.over());
        assert!(!quiet.over());
        assert_eq!(quiet.admit("timeout", at(62)), Some(0));
    }
}
