//! Which of two tables of one object says more.

use fleetprof_symbolizer::{SourceSet, identity::SymbolLevel};

/// Of an object that has no table.
pub(super) const NONE: u32 = 0;
/// Of a listing of a kernel's symbols: there is no other.
pub(super) const LISTING: u32 = 1;

/// What a table was made of as a number, greater for those that say more. Debug information counts most,
/// then that nothing it names is missing, then what else was there.
pub(super) fn of_table(sources: SourceSet) -> u32 {
    let has_lines = sources.has(SourceSet::DWARF);
    let marks = [
        has_lines,
        has_lines && !sources.has(SourceSet::INCOMPLETE),
        sources.has(SourceSet::SPLIT_DWARF),
        sources.has(SourceSet::SHARED_DWARF),
        !sources.has(SourceSet::DAMAGED),
        sources.has(SourceSet::SYMTAB),
        sources.has(SourceSet::OTHER),
        sources.has(SourceSet::MINI_DEBUG_INFO),
        sources.has(SourceSet::DYNSYM),
        sources.has(SourceSet::PLT),
        // More than nothing.
        true,
    ];
    marks.into_iter().fold(0, |merit, mark| merit << 1 | u32::from(mark))
}

/// For the catalog, which compares numbers.
pub(super) fn number_of(level: SymbolLevel) -> u32 {
    match level {
        SymbolLevel::Dynamic => 0,
        SymbolLevel::Functions => 1,
        SymbolLevel::DebugInfo => 2,
    }
}

/// The inverse; a later version may know more levels.
pub(super) fn level_of(number: u32) -> SymbolLevel {
    match number {
        0 => SymbolLevel::Dynamic,
        1 => SymbolLevel::Functions,
        _ => SymbolLevel::DebugInfo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_more_is_greater() {
        let of = |members: &[SourceSet]| {
            of_table(members.iter().fold(SourceSet::default(), |set, one| SourceSet(set.0 | one.0)))
        };
        let (lines, functions) = (SourceSet::DWARF, SourceSet::SYMTAB);
        let ascending = [
            NONE,
            of(&[SourceSet::DAMAGED]),
            of(&[]),
            of(&[SourceSet::DYNSYM]),
            of(&[SourceSet::MINI_DEBUG_INFO]),
            of(&[functions]),
            of(&[functions, SourceSet::DYNSYM]),
            of(&[lines, SourceSet::INCOMPLETE, functions]),
            of(&[lines, SourceSet::INCOMPLETE, SourceSet::SPLIT_DWARF]),
            of(&[lines, SourceSet::DAMAGED]),
            of(&[lines]),
            of(&[lines, functions]),
            of(&[lines, functions, SourceSet::SHARED_DWARF]),
        ];
        assert!(ascending.is_sorted_by(|less, more| less < more), "{ascending:?}");
        for level in [SymbolLevel::Dynamic, SymbolLevel::Functions, SymbolLevel::DebugInfo] {
            assert_eq!(level_of(number_of(level)), level);
        }
    }
}
