//! Values of a function by range of its code, as pairs of differences.

/// A range of a function's code, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Bytes from the function's entry to the first one.
    pub start: u32,
    /// To one past the last; greater than `start`.
    pub end: u32,
    /// What holds there.
    pub value: i32,
}

/// The values of a function, by rising range, without holes from its entry on. Damaged bytes end
/// them early.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    bytes: &'a [u8],
    quantum: u8,
    size: u32,
    position: u32,
    value: i32,
}

// === impl Values ===

impl<'a> Values<'a> {
    /// The values in `bytes` of a function of `size` bytes.
    pub(crate) fn new(bytes: &'a [u8], quantum: u8, size: u32) -> Self {
        Self { bytes, quantum, size, position: 0, value: -1 }
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = 0_u32;
        for shift in (0..32).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            let bits = u32::from(byte & 0x7f);
            number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Values<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        if self.position >= self.size {
            return None;
        }
        let difference = self.number()?;
        // Only the first may be 0: elsewhere it ends the values.
        if difference == 0 && self.position != 0 {
            self.bytes = &[];
            return None;
        }
        // The sign is in the lowest bit.
        let difference = ((difference >> 1) as i32) ^ -((difference & 1) as i32);
        self.value = self.value.wrapping_add(difference);
        let bytes = self.number()?.checked_mul(u32::from(self.quantum))?;
        let start = self.position;
        self.position = start.checked_add(bytes)?.min(self.size);
        (self.position > start).then_some(Range { start, end: self.position, value: self.value })
    }
}
