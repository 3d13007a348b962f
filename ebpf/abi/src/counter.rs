//! Slots of the kernel's per-CPU counter array.

use crate::ResultCode;

/// Slot that counts samples taken. It moves first, so that at any moment
/// taken ≥ the sum of all result counters; the difference is in flight.
pub const TAKEN: u32 = 0;

/// Number of slots.
pub const COUNTERS: u32 = 1 + ResultCode::ALL.len() as u32;

/// Slot that counts samples which ended in `code`.
#[must_use]
pub const fn counter_of(code: ResultCode) -> u32 {
    // Not `u32::from`: that is not const.
    1 + code.number() as u32
}
