//! Code without unwind information: between functions, and where there is none at all.
//!
//! Padding between two functions is never executed, and no return address points into it. It gets
//! the rule that holds at the first instruction of a function, because that saves a row, and
//! because it is right for a leaf of a few instructions without unwind information. Code in a gap is
//! unknown, but for the trampolines of signal handlers, which are known by their bytes.

use crate::error::BuildError;
use crate::frames::Output;
use crate::machine::{self, TRAMPOLINE_BYTES};
use crate::source::Window;
use fleetprof_abi::{Architecture, Rule, RuleKind};

/// A hole below this is padding to the next function, as all linkers align functions.
const SMALL: u64 = 16;
/// The longest padding that is looked at: to the next cache line, with reserve.
const LONG_PADDING: u64 = 256;
/// Bytes of code that are searched at a time.
const CHUNK: u64 = (Window::BYTES / 2) as u64;

/// Code without unwind information.
pub(crate) struct Gaps {
    pub(crate) architecture: Architecture,
    /// Bytes that may still be searched.
    pub(crate) scan_bytes: u64,
}

// === impl Gaps ===

impl Gaps {
    /// A trampoline begins right at `start`, so that its row begins in the function before.
    pub(crate) fn begins_with_trampoline(
        &self,
        window: &mut Window<'_>,
        start: u64,
        end: u64,
    ) -> bool {
        let length = (end - start).min(TRAMPOLINE_BYTES as u64) as usize;
        machine::trampoline(self.architecture, window.bytes(start, length)).is_some()
    }

    /// Writes the rules of the gap from `start` to `end`; `between` functions or at an edge.
    pub(crate) fn write(
        &mut self,
        window: &mut Window<'_>,
        start: u64,
        end: u64,
        between: bool,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        let length = end - start;
        if between && length <= LONG_PADDING {
            let code = window.bytes(start, length as usize);
            let is_padding = machine::is_padding(self.architecture, code)
                || (length < SMALL && machine::find_trampoline(self.architecture, code).is_none());
            if is_padding {
                return output.writer.set(start, machine::at_entry(self.architecture));
            }
        }
        output.stats.unknown_bytes += length;
        output.writer.set(start, Rule::plain(RuleKind::Unknown))?;
        let mut position = start;
        // Where the last rule begins.
        let mut ruled = start;
        while position < end && self.scan_bytes > 0 {
            let length = (end - position).min(CHUNK + TRAMPOLINE_BYTES as u64);
            let code = window.bytes(position, length as usize);
            let found = machine::find_trampoline(self.architecture, code).and_then(|at| {
                Some((at as u64, machine::trampoline(self.architecture, code.get(at..)?)?))
            });
            let step = match found {
                Some((at, bytes)) => {
                    let first = position + at;
                    // A walk looks up the byte before the address that a handler returns to. Where
                    // that is the end of another trampoline, it has this rule already.
                    let signal = Rule::plain(RuleKind::Signal);
                    output.writer.set(first.saturating_sub(1).max(ruled), signal)?;
                    ruled = first + bytes;
                    output.writer.set(ruled, Rule::plain(RuleKind::Unknown))?;
                    at + bytes
                }
                None => length.min(CHUNK),
            };
            output.budget.step(step / 64)?;
            self.scan_bytes = self.scan_bytes.saturating_sub(step);
            position += step;
        }
        Ok(())
    }
}
