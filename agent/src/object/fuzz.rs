//! The way for fuzzers to the headers of other people's binaries.

use super::outline;

/// Reads any bytes as an ELF file of which a part is uploaded.
///
/// # Panics
/// When the parts are not in order, or not within the file.
pub fn outline(bytes: &[u8]) {
    let Some(kept) = outline::needed(bytes, bytes.len() as u64) else { return };
    let mut end = None;
    for range in kept {
        assert!(range.start < range.end && range.end <= bytes.len() as u64, "{range:?}");
        assert!(end.is_none_or(|end| end < range.start), "{range:?} after {end:?}");
        end = Some(range.end);
    }
}
