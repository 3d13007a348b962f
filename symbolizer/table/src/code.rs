//! Where an object has code, and addresses relative to its beginning.

use std::ops::Range;

/// The executable addresses of an object.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    base: u64,
    /// Ascending, not overlapping, within 4 GiB of the base.
    ranges: Vec<Range<u32>>,
}

// === impl Code ===

impl Code {
    /// From executable ranges in any order; `None` when there is no code. Code further than 4 GiB
    /// behind the first is left out: no branch reaches it.
    pub(crate) fn new(mut found: Vec<Range<u64>>) -> Option<Self> {
        found.retain(|range| range.start < range.end);
        found.sort_unstable_by_key(|range| range.start);
        let base = found.first()?.start;
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for range in found {
            let Ok(start) = u32::try_from(range.start - base) else { break };
            let end = u32::try_from(range.end - base).unwrap_or(u32::MAX);
            match ranges.last_mut() {
                // Sections that touch stay apart: a symbol does not reach into the next one.
                Some(last) if start < last.end => last.end = last.end.max(end),
                _ => ranges.push(start..end),
            }
        }
        Some(Self { base, ranges })
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn ranges(&self) -> &[Range<u32>] {
        &self.ranges
    }

    /// The range that holds an address.
    #[inline]
    pub(crate) fn range_of(&self, address: u32) -> Option<Range<u32>> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        self.ranges.get(after.checked_sub(1)?).filter(|range| address < range.end).cloned()
    }

    /// An address relative to the base, if there is code.
    pub(crate) fn relative(&self, address: u64) -> Option<u32> {
        let relative = u32::try_from(address.checked_sub(self.base)?).ok()?;
        self.range_of(relative).map(|_| relative)
    }

    /// The part of `start..end` that is in the code range of `start`. Linkers leave the debug
    /// information of functions that they dropped, at addresses without code.
    #[inline]
    pub(crate) fn clip(&self, start: u64, end: u64) -> Option<(u32, u32)> {
        let relative = u32::try_from(start.checked_sub(self.base)?).ok()?;
        let range = self.range_of(relative)?;
        let length = u32::try_from(end.checked_sub(start)?).unwrap_or(u32::MAX);
        let end = relative.saturating_add(length).min(range.end);
        (relative < end).then_some((relative, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_outside_of_code_are_none() {
        let code =
            Code::new(vec![0x2000..0x3000, 0x1000..0x1800, 0x1800..0x1900, 9..9]).expect("code");
        assert_eq!(code.base(), 0x1000);
        assert_eq!(code.ranges(), [0..0x800, 0x800..0x900, 0x1000..0x2000]);
        assert_eq!(code.clip(0x17f0, 0x1810), Some((0x7f0, 0x800)));
        assert_eq!(code.clip(0x2ff0, u64::MAX), Some((0x1ff0, 0x2000)));
        for (start, end) in [(0, 0x2000), (0x1900, 0x2100), (0x2000, 0x2000), (0x2000, 0x1fff)] {
            assert_eq!(code.clip(start, end), None);
        }
        assert_eq!(code.relative(0x1fff), None);
        assert_eq!(code.relative(0x2000), Some(0x1000));
        assert!(Code::new(Vec::new()).is_none());
    }
}
