//! What the header of a page claims, in Thrift's compact form: memory is taken as it says.

/// Field of type i32, with a number one above that of the field before.
const NEXT_I32: u8 = 0x15;
/// A structure, whose number is four above that of the field before; three above, where there is a checksum.
const DICTIONARY: [u8; 2] = [0x4c, 0x3c];
/// Kind of a page that holds a dictionary.
const DICTIONARY_PAGE: u64 = 2;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Size without compression.
    bytes: u64,
    /// Values of a dictionary.
    values: Option<u64>,
}

// === impl Claim ===

impl Claim {
    /// Whether a page can be so, and is not too large. No value of a dictionary takes less than a byte.
    pub(super) fn is_credible(self, most_bytes: u64) -> bool {
        self.bytes <= most_bytes && self.values.is_none_or(|values| values <= self.bytes)
    }
}

/// `None` when the header is cut off, has other fields, or negative numbers.
pub(super) fn claim(header: &[u8]) -> Option<Claim> {
    let mut header = header.iter().copied();
    let kind = field(&mut header)?;
    let bytes = field(&mut header)?;
    let _compressed = field(&mut header)?;
    if kind != DICTIONARY_PAGE {
        return Some(Claim { bytes, values: None });
    }
    let [without_checksum, with_checksum] = DICTIONARY;
    match header.next()? {
        NEXT_I32 => {
            // The sign of a checksum says nothing.
            varint(&mut header, 35)?;
            (header.next()? == with_checksum).then_some(())?;
        }
        other => (other == without_checksum).then_some(())?,
    }
    Some(Claim { bytes, values: Some(field(&mut header)?) })
}

/// The next field, a number that is not negative.
fn field(header: &mut impl Iterator<Item = u8>) -> Option<u64> {
    (header.next()? == NEXT_I32).then_some(())?;
    let number = varint(header, 35)?;
    // Zigzag: odd ones are negative.
    (number & 1 == 0).then_some(number >> 1)
}

/// A number of seven bits to a byte, the low ones first, and of no more bits than `most`.
pub(in crate::format::read) fn varint(
    bytes: &mut impl Iterator<Item = u8>,
    most: u32,
) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..most).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check headers of a page of data, of a dictionary with and without a checksum, and of ones that lie.
    #[test]
    fn headers_are_believed_as_far_as_they_can_be() {
        let data = [0x15, 0x00, 0x15, 0x14, 0x15, 0x10, 0x2c, 0x15, 0x06];
        assert_eq!(claim(&data), Some(Claim { bytes: 10, values: None }));
        let dictionary = [0x15, 0x04, 0x15, 0x14, 0x15, 0x10, 0x4c, 0x15, 0x06];
        let expected = Claim { bytes: 10, values: Some(3) };
        assert_eq!(claim(&dictionary), Some(expected));
        assert!(expected.is_credible(10) && !expected.is_credible(9));
        let summed = [0x15, 0x04, 0x15, 0x14, 0x15, 0x10, 0x15, 0x03, 0x3c, 0x15, 0x06];
        assert_eq!(claim(&summed), Some(expected));
        let many = [0x15, 0x04, 0x15, 0x14, 0x15, 0x10, 0x4c, 0x15, 0x80, 0x80, 0x80, 0x80, 0x08];
        assert!(!claim(&many).expect("a claim").is_credible(1 << 30));
        let negative = [0x15, 0x04, 0x15, 0x13, 0x15, 0x10, 0x4c, 0x15, 0x06];
        assert_eq!(claim(&negative), None);
        assert_eq!(claim(&dictionary[..8]), None);
    }
}
