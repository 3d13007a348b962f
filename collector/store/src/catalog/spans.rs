//! Spans of time as bytes. Pure.
//!
//! Encoded as one byte of version, the first start as 8 bytes (little endian, Unix nanoseconds), then
//! variable-length numbers: the length of the first span, and for each further one its distance from
//! the end of the one before and its length.

use super::varint;

/// First byte of the encoding.
const VERSION: u8 = 1;

/// For a row of the catalog.
///
/// # Errors
/// With what is wrong: there must be one at least, each with some length, in order and disjoint.
pub(super) fn encode(spans: &[(i64, i64)]) -> Result<Vec<u8>, &'static str> {
    let Some((first, _)) = spans.first() else { return Err("it has no span of time") };
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&first.to_le_bytes());
    let mut last_end = None;
    for (start, end) in spans {
        if let Some(last_end) = last_end {
            varint::put(
                &mut bytes,
                distance(last_end, *start).ok_or("its spans are not in order")?,
            );
        }
        let length = distance(*start, *end).filter(|length| *length > 0);
        varint::put(&mut bytes, length.ok_or("one of its spans is empty")?);
        last_end = Some(*end);
    }
    Ok(bytes)
}

/// From a row of the catalog.
///
/// # Errors
/// With what is wrong, when these bytes were not written by [`encode`].
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<(i64, i64)>, &'static str> {
    const SHORT: &str = "has spans of time that end in the middle";
    const WIDE: &str = "has spans of time beyond all numbers";
    let (version, rest) = bytes.split_first().ok_or(SHORT)?;
    if *version != VERSION {
        return Err("has spans of time in an encoding of an unknown version");
    }
    let (first, mut rest) = rest.split_first_chunk().ok_or(SHORT)?;
    let mut start = i64::from_le_bytes(*first);
    let mut spans = Vec::new();
    loop {
        let length = varint::take(&mut rest).ok_or(SHORT)?;
        let end = start.checked_add_unsigned(length).ok_or(WIDE)?;
        spans.push((start, end));
        if rest.is_empty() {
            return Ok(spans);
        }
        let gap = varint::take(&mut rest).ok_or(SHORT)?;
        start = end.checked_add_unsigned(gap).ok_or(WIDE)?;
    }
}

/// From one time to a later one; `None` when it is earlier.
fn distance(from: i64, to: i64) -> Option<u64> {
    (to >= from).then(|| to.abs_diff(from))
}

#[cfg(test)]
mod tests;
