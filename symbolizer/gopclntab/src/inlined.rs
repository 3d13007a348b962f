//! Inlined calls: what the data of a function says about each.

use crate::header::{Format, FunctionTable};

/// A call that was inlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlinedCall<'a> {
    /// Name of the function that was called.
    pub name: Option<&'a str>,
    /// Bytes from the entry of the function around to an instruction that has the call's line and
    /// that is in whatever the call was in.
    pub call: u32,
}

// === impl InlinedCall ===

impl<'a> InlinedCall<'a> {
    /// The call with this number, of those in `calls`: the bytes from
    /// [`crate::Function::inlined_calls`] on.
    #[must_use]
    pub fn get(table: &FunctionTable<'a>, calls: &[u8], number: i32) -> Option<Self> {
        let (bytes, name, call) = match table.format {
            Format::Go118 => (20, 12, 16),
            Format::Go120 => (16, 4, 8),
        };
        let at = usize::try_from(number).ok()?.checked_mul(bytes)?;
        let record = calls.get(at..)?.get(..bytes)?;
        let word = |at: usize| Some(u32::from_le_bytes(*record.get(at..)?.first_chunk()?));
        Some(Self { name: table.name(word(name)?), call: word(call)? })
    }
}
