//! Waiting for something to become true, with a bound: the only way the harness waits.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Asks `condition` until it has a value.
///
/// # Panics
/// When there is none after `bound`; `what` completes "waited 5s for …".
pub fn until<T>(what: &str, bound: Duration, condition: impl FnMut() -> Option<T>) -> T {
    within(bound, condition).unwrap_or_else(|| panic!("waited {bound:?} for {what}"))
}

/// Asks `condition` until it has a value, or until `bound` is over.
pub fn within<T>(bound: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(STEP);
    }
}
