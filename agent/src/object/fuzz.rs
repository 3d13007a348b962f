//! The way for fuzzers to the headers of other people's binaries.

use super::{
    links::{AltLink, is_package},
    outline,
};

/// Reads any bytes as an ELF file of which a part is uploaded.
///
/// Also what it says of further files.
///
/// # Panics
/// When the parts are not in order, or not within the file.
pub fn outline(bytes: &[u8]) {
    if let Some(link) = AltLink::read(bytes) {
        assert!(!link.path.is_empty() && !link.path.contains(&0), "{link:?}");
    }
    is_package(bytes);
    let Some(kept) = outline::needed(bytes, bytes.len() as u64) else { return };
    let mut end = None;
    for range in kept {
        assert!(range.start < range.end && range.end <= bytes.len() as u64, "{range:?}");
        assert!(end.is_none_or(|end| end < range.start), "{range:?} after {end:?}");
        end = Some(range.end);
    }
}
