//! What a symbolizer gets: messages of its workers, names in binaries.

use fleetprof_symbolizer::{demangle::demangle, fuzz};

/// Longest name that demangling may make, and longest that it tries.
const MAX_NAME_BYTES: usize = 16 << 10;

/// Messages of a worker that a binary may have taken over.
pub(crate) fn wire(bytes: &[u8]) {
    fuzz::wire(bytes);
}

/// Binaries on their way to a symbol table.
pub(crate) fn conversion(bytes: &[u8]) {
    fuzz::conversion(bytes);
}

/// Symbol tables.
pub(crate) fn table(bytes: &[u8]) {
    fuzz::table(bytes);
}

/// Names as they stand in symbol tables.
pub(crate) fn names(bytes: &[u8]) {
    for name in bytes.split(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(name);
        if let Some(demangled) = demangle(&name) {
            assert!(!demangled.is_empty() && demangled != name);
            assert!(demangled.len() <= MAX_NAME_BYTES, "{} bytes", demangled.len());
        }
    }
}
