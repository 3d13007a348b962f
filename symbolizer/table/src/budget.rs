//! What a conversion may still use.

use std::time::Instant;

use crate::error::{ConvertError, Limits};

/// Steps, time and bytes that are left.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    steps: u64,
    checked: u64,
    unpacked: u64,
    started: Instant,
}

// === impl Budget ===

impl Budget {
    /// Steps between two looks at the clock.
    const STEPS_PER_LOOK: u64 = 1 << 14;

    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, steps: 0, checked: 0, unpacked: 0, started: Instant::now() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Uses `steps`.
    #[inline]
    pub(crate) fn step(&mut self, steps: u64) -> Result<(), ConvertError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps - self.checked >= Self::STEPS_PER_LOOK { self.look() } else { Ok(()) }
    }

    /// Looks at the clock now.
    pub(crate) fn look(&mut self) -> Result<(), ConvertError> {
        self.checked = self.steps;
        if self.steps > self.limits.steps {
            let limit = self.limits.steps;
            return Err(ConvertError::TooLarge { what: "entries of debug information", limit });
        }
        if self.started.elapsed() > self.limits.time {
            return Err(ConvertError::TooSlow(self.limits.time));
        }
        Ok(())
    }

    /// Takes room for `bytes` to unpack.
    pub(crate) fn unpack(&mut self, bytes: u64) -> Result<(), ConvertError> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        let limit = self.limits.unpacked_bytes;
        if self.unpacked > limit {
            return Err(ConvertError::TooLarge { what: "unpacked bytes", limit });
        }
        Ok(())
    }
}
