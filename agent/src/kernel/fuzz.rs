//! The way for fuzzers to the texts by which the kernel describes itself.

use std::{collections::BTreeMap, path::Path};

use fleetprof_symbolizer::kallsyms::Kallsyms;

use super::{
    KernelMap,
    kallsyms::{Listing, Symbol, read},
    map::{Code, Source},
    survey::{Found, module_line},
};
use crate::fuzz::Pieces;

/// Shorter than the real buffer, so that lines cross its end.
const BUFFER_BYTES: usize = 256;

/// Modules that are listed: for each one the kernel is asked for its build ID.
const MAX_MODULES: usize = 64;

/// Pieces of code whose functions are listed, each time with a pass over all symbols.
const MAX_LISTINGS: usize = 8;

/// Longest name that the symbolizer keeps.
const MAX_NAME_BYTES: usize = 4096;

/// Reads any bytes as `/proc/kallsyms` and as `/proc/modules`.
///
/// # Panics
/// When pieces of code overlap, or the symbolizer does not find a function in a listing made here.
pub fn texts(bytes: &[u8]) {
    let mut found = Found::default();
    let piece = 1 + usize::from(bytes.len() as u8);
    let mut source = Pieces::new(bytes, piece);
    let outcome = read(&mut source, &mut [0; BUFFER_BYTES], &mut |symbol| found.add(symbol));
    assert!(outcome.is_ok(), "memory can be read");

    let text = String::from_utf8_lossy(bytes);
    let listed: Vec<_> = text.lines().filter_map(module_line).take(MAX_MODULES).collect();
    let Some(map) = found.into_map(&listed, Path::new("/nonexistent")) else { return };
    lie_apart(&map);
    let symbols: Vec<Symbol<'_>> =
        bytes.split(|byte| *byte == b'\n').filter_map(Symbol::parse).collect();
    for code in map.iter().take(MAX_LISTINGS) {
        if let Source::Kallsyms { module } = &code.source {
            functions_are_found(code, module.as_deref(), &symbols);
        }
    }
}

fn lie_apart(map: &KernelMap) {
    let ranges: Vec<(u64, u64)> = map.iter().map(|code| (code.start, code.end)).collect();
    assert!(ranges.iter().all(|(start, end)| start < end), "{ranges:x?}");
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:x?}");
    for (start, end) in ranges {
        assert_eq!(map.find(start).map(|code| code.start), Some(start));
        assert_eq!(map.find(end - 1).map(|code| code.start), Some(start));
    }
    // Whether a call came from outside the kernel is asked of any addresses.
    let _entered = map.is_system_call(&[0, u64::MAX]);
}

/// What is uploaded for a piece of code names its functions.
fn functions_are_found(code: &Code, module: Option<&[u8]>, symbols: &[Symbol<'_>]) {
    let mut listing = Listing::new(code.base..code.end, module);
    symbols.iter().for_each(|symbol| listing.add(symbol));
    let listing = listing.finish();
    // Of several names for an address one is chosen.
    let mut functions: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
    for symbol in symbols {
        let is_here = symbol.module == module && (code.base..code.end).contains(&symbol.address);
        let is_kept = symbol.name.len() <= MAX_NAME_BYTES && symbol.name.is_ascii();
        if is_here && is_kept && symbol.is_function() {
            functions.entry(symbol.address - code.base).or_default().push(symbol.name);
        }
    }
    let parsed = match Kallsyms::parse(&listing) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(functions.is_empty(), "{error}: {functions:?}");
            return;
        }
    };
    for (offset, names) in functions {
        let name = parsed.lookup(offset).map(str::as_bytes);
        assert!(name.is_some_and(|name| names.contains(&name) || !name.is_ascii()), "{offset:x}");
    }
}
