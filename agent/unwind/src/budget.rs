//! What a build may still use.

use crate::error::{BuildError, Limits};
use std::time::Instant;

/// Steps and time.
pub(crate) struct Budget {
    limits: Limits,
    steps: u64,
    checked: u64,
    started: Instant,
}

// === impl Budget ===

impl Budget {
    /// Steps between two looks at the clock.
    const STEPS_PER_LOOK: u64 = 1 << 16;

    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, steps: 0, checked: 0, started: Instant::now() }
    }

    /// Uses `steps`.
    pub(crate) fn step(&mut self, steps: u64) -> Result<(), BuildError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.limits.steps {
            let limit = self.limits.steps;
            return Err(BuildError::TooLarge { what: "unwind instructions", limit });
        }
        if self.steps - self.checked >= Self::STEPS_PER_LOOK {
            self.checked = self.steps;
            if self.started.elapsed() > self.limits.time {
                return Err(BuildError::TooSlow(self.limits.time));
            }
        }
        Ok(())
    }
}
