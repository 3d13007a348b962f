//! How long to wait before the next attempt: full jitter over an exponentially growing span.
//!
//! Full jitter spreads a fleet whose collector came back over the whole span, where a fixed or a
//! slightly varied wait would bring all agents at once. Pure: the caller waits.

use std::time::Duration;

/// Waits between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: fastrand::Rng,
}

// === impl Backoff ===

impl Backoff {
    /// The first wait is up to `first`, every further one up to twice as long, at most `longest`.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0, random: fastrand::Rng::new() }
    }

    /// The span the next wait is taken from.
    fn span(&self) -> Duration {
        self.first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.longest)
    }

    /// After a failure: how long to wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.span().mul_f64(self.random.f64());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        let mut spans = Vec::new();
        for _ in 0..9 {
            spans.push(backoff.span().as_millis());
            assert!(backoff.span() >= backoff.next());
        }
        assert_eq!(spans, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        backoff.failures = u32::MAX;
        assert!(backoff.next() <= Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.span(), Duration::from_millis(250));
    }

    #[test]
    fn waits_are_spread_over_the_whole_span() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        backoff.random = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..100).map(|_| backoff.next().as_millis()).collect();
        for quarter in 0..4 {
            assert!(waits.iter().any(|wait| wait / 250 == quarter), "{waits:?}");
        }
    }
}
