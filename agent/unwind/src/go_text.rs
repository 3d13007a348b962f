//! Where Go's text starts: its function table counts from there, and need not say where that is.
//!
//! In: the functions of the table, the code. Out: the start for which the instructions are where the
//! table says that frames are opened. What the header says, and the start of `.text`, are guesses
//! that are checked like any other: a loader may have to fill in the first, and C code may come
//! before Go's.

use crate::code_map::CodeMap;
use crate::elf::Image;
use crate::go::{around, opening};
use crate::source::Window;
use fleetprof_gopclntab::{Function, FunctionTable};

/// The start of Go's text.
pub(crate) struct TextStart {
    address: u64,
    code: CodeMap,
}

/// A place where a frame is opened: bytes from the start of the text to the function, and from there.
#[derive(Clone, Copy)]
struct Probe {
    function: u32,
    opened: u32,
}

/// Functions that are looked at: enough that chance does not matter.
const PROBES: usize = 64;
/// Of so many, one may be opened in a way that is not known here.
const TOLERANCE: usize = 16;
/// Functions are aligned like this at least.
const ALIGNMENT: u64 = 16;

// === impl TextStart ===

impl TextStart {
    /// Finds the start; `None` when there is none that fits. Searches at most `scan_bytes` of code.
    pub(crate) fn find(
        image: &Image<'_>,
        table: &FunctionTable<'_>,
        scan_bytes: u64,
    ) -> Option<Self> {
        let probes = probes(table);
        let mut search =
            Search { image, probes: &probes, window: Window::new(image.file, image.length) };
        let guesses = [table.text_start(), image.section(".text").map(|section| section.address)];
        let guessed = guesses.into_iter().flatten().find(|&address| search.fits(address));
        let address = guessed.or_else(|| search.all(scan_bytes))?;
        Some(Self { address, code: image.code.clone() })
    }

    /// Positions of a function's code.
    pub(crate) fn range(&self, function: &Function<'_>) -> Option<(u64, u64)> {
        let address = self.address.checked_add(function.start.into())?;
        self.code.range(address, (function.end - function.start).into())
    }
}

struct Search<'s> {
    image: &'s Image<'s>,
    probes: &'s [Probe],
    window: Window<'s>,
}

// === impl Search ===

impl Search<'_> {
    /// Whether frames are opened where they should be, if the text starts at `address`.
    fn fits(&mut self, address: u64) -> bool {
        let mut misses = self.probes.len() / TOLERANCE;
        let mut hits = 0;
        for probe in self.probes {
            if self.opens(address, *probe) {
                hits += 1;
            } else if misses == 0 {
                return false;
            } else {
                misses -= 1;
            }
        }
        hits > 0
    }

    fn opens(&mut self, address: u64, probe: Probe) -> bool {
        let function = address.checked_add(probe.function.into());
        let position = function.and_then(|address| self.image.code.position(address));
        position.is_some_and(|(base, _)| {
            let (before, after) = around(&mut self.window, base, probe.opened);
            opening(self.image.architecture, before, after).is_some()
        })
    }

    /// Tries all addresses of code.
    fn all(&mut self, mut scan_bytes: u64) -> Option<u64> {
        let first = *self.probes.first()?;
        // Reads what `fits` does not, so that each reads in rising order.
        let mut ahead = Search {
            image: self.image,
            probes: self.probes,
            window: Window::new(self.image.file, self.image.length),
        };
        for segment in self.image.code.segments() {
            let size = segment.size.min(scan_bytes);
            scan_bytes -= size;
            let start = segment.address.next_multiple_of(ALIGNMENT);
            let candidates = (start..segment.address + size).step_by(ALIGNMENT as usize);
            let found = candidates
                .into_iter()
                .find(|&address| ahead.opens(address, first) && self.fits(address));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Functions that the compiler made, with frames.
fn probes(table: &FunctionTable<'_>) -> Vec<Probe> {
    table
        .functions()
        .filter(|(_, function)| !function.is_assembly())
        .filter_map(|(_, function)| {
            let opened = function.stack_deltas().find(|range| range.value > 0)?.start;
            (opened > 0).then_some(Probe { function: function.start, opened })
        })
        .take(PROBES)
        .collect()
}
