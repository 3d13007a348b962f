//! Addresses of code ↔ positions in the file.
//!
//! Tables are keyed by position: it is what a mapping of a running process tells, whatever its
//! base address is.

use crate::error::BuildError;

/// More segments with code than any linker makes.
const MAX_SEGMENTS: usize = 64;

/// Executable segments, in order of position, without overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeMap {
    segments: Vec<CodeSegment>,
}

/// An executable segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodeSegment {
    pub(crate) address: u64,
    pub(crate) position: u64,
    /// Bytes in the file.
    pub(crate) size: u64,
}

// === impl CodeMap ===

impl CodeMap {
    pub(crate) fn new(mut segments: Vec<CodeSegment>) -> Result<Self, BuildError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(BuildError::TooLarge { what: "segments", limit: MAX_SEGMENTS as u64 });
        }
        segments.sort_by_key(|segment| segment.position);
        let mut end = 0;
        for segment in &mut segments {
            // Twice the same bytes: the first segment has them.
            let skipped = end.max(segment.position) - segment.position;
            let skipped = skipped.min(segment.size);
            segment.position += skipped;
            segment.address += skipped;
            segment.size -= skipped;
            end = end.max(segment.end());
        }
        segments.retain(|segment| segment.size > 0);
        Ok(Self { segments })
    }

    pub(crate) fn segments(&self) -> &[CodeSegment] {
        &self.segments
    }

    /// Position of an address of code, and the end of its segment.
    pub(crate) fn position(&self, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.size).then(|| (segment.position + inside, segment.end()))
        })
    }

    /// Positions of `size` bytes from `address` on, cut at the end of the segment.
    pub(crate) fn range(&self, address: u64, size: u64) -> Option<(u64, u64)> {
        let (start, end) = self.position(address)?;
        let end = start.saturating_add(size).min(end);
        (end > start).then_some((start, end))
    }
}

// === impl CodeSegment ===

impl CodeSegment {
    /// Position one past the last byte.
    pub(crate) fn end(&self) -> u64 {
        // Sizes are cut at the end of the file.
        self.position + self.size
    }
}
