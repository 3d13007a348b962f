//! Symbols: names by address, from an object's symbol tables.
//!
//! In: symbols of any number of tables, as they come, the best table last. Out: regions of code that do
//! not overlap, each with its symbol. Of several symbols for one place the one with the greatest size
//! counts, of those the last, as LLVM chooses, so that both say the same. A symbol without a size
//! reaches to the next one, and not out of its section.

use crate::code::Code;

/// A symbol of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol<'a> {
    /// Relative to the beginning of the code.
    pub(crate) address: u32,
    pub(crate) rank: Rank,
    /// 0: unknown.
    pub(crate) size: u32,
    pub(crate) name: &'a [u8],
    /// The source file of a symbol that is local to it; empty: unknown.
    pub(crate) file: &'a [u8],
}

/// How much a symbol's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Made up for a linkage stub.
    Stub,
    /// As the linker wrote it.
    Own,
}

/// The symbols of an object, by address.
#[derive(Debug, Default)]
pub(crate) struct Symbols<'a> {
    symbols: Vec<Symbol<'a>>,
    regions: Vec<Region>,
}

/// Code that one symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u32,
    pub(crate) end: u32,
    symbol: u32,
}

/// How many symbols back one is looked for that reaches beyond its successors.
const REACH: usize = 8;

// === impl Symbols ===

impl<'a> Symbols<'a> {
    pub(crate) fn new(mut symbols: Vec<Symbol<'a>>, code: &Code) -> Self {
        symbols.sort_by_key(|symbol| (symbol.address, symbol.rank, symbol.size));
        let mut places: Vec<Region> = Vec::new();
        for (number, symbol) in symbols.iter().enumerate() {
            let Some(range) = code.range_of(symbol.address) else { continue };
            let end = match symbol.size {
                0 => range.end,
                size => symbol.address.saturating_add(size).min(range.end),
            };
            let place = Region { start: symbol.address, end, symbol: number as u32 };
            match places.last_mut() {
                Some(last) if last.start == place.start => *last = place,
                _ => places.push(place),
            }
        }
        for number in 1..places.len() {
            let next = places[number].start;
            let place = &mut places[number - 1];
            if symbols[place.symbol as usize].size == 0 {
                place.end = place.end.min(next);
            }
        }
        let regions = cut(&places);
        Self { symbols, regions }
    }

    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The number of the region that holds an address.
    #[inline]
    pub(crate) fn find(&self, address: u32) -> Option<usize> {
        let after = self.regions.partition_point(|region| region.start <= address);
        let number = after.checked_sub(1)?;
        (address < self.regions[number].end).then_some(number)
    }

    /// What names a region's code.
    #[inline]
    pub(crate) fn symbol(&self, region: &Region) -> &Symbol<'a> {
        &self.symbols[region.symbol as usize]
    }

    /// The name that a region's code has, if it is known where the symbol ends and it is not `known`.
    /// Compilers split and clone functions (`f.cold`, `f.constprop.0`), and debug information has one
    /// name for all of them; of what is in an anonymous namespace it lacks the mangled name.
    #[inline]
    pub(crate) fn other_name(&self, region: &Region, known: &[u8]) -> Option<&'a [u8]> {
        let symbol = self.symbol(region);
        let is_other = symbol.size > 0 && symbol.rank == Rank::Own && symbol.name != known;
        is_other.then_some(symbol.name)
    }
}

/// Ends each place where the next begins, and gives what is left behind a short one to the longer one
/// around it.
fn cut(places: &[Region]) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::with_capacity(places.len());
    for (number, place) in places.iter().enumerate() {
        let next = places.get(number + 1).map_or(u32::MAX, |next| next.start);
        let mut at = place.end.min(next);
        if place.start < at {
            regions.push(Region { end: at, ..*place });
        }
        let before = &places[number.saturating_sub(REACH)..number];
        while at < next {
            let Some(around) = before.iter().rev().find(|around| around.end > at) else { break };
            let end = around.end.min(next);
            regions.push(Region { start: at, end, ..*around });
            at = end;
        }
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(address: u32, size: u32, name: &'static str) -> Symbol<'static> {
        Symbol { address, size, rank: Rank::Own, name: name.as_bytes(), file: b"" }
    }

    fn names(symbols: Vec<Symbol<'static>>) -> Vec<(u32, u32, &'static str)> {
        let code = Code::new(vec![0x1000..0x1100, 0x1100..0x1200]).expect("code");
        let symbols = Symbols::new(symbols, &code);
        let name = |region: &Region| str::from_utf8(symbols.symbol(region).name).expect("text");
        symbols.regions().iter().map(|region| (region.start, region.end, name(region))).collect()
    }

    #[test]
    fn sizes_and_sections_bound_names() {
        let found = names(vec![
            symbol(0, 0, "start"),
            symbol(0x20, 0x10, "alias"),
            symbol(0x20, 0x10, "f"),
            symbol(0x20, 0, "longest"),
            symbol(0xf0, 0, "last"),
            symbol(0x100, 0xfff, "next"),
            symbol(0x5000, 1, "elsewhere"),
        ]);
        let expected =
            [(0, 0x20, "start"), (0x20, 0x30, "f"), (0xf0, 0x100, "last"), (0x100, 0x200, "next")];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_behind_an_inner_symbol_is_the_outer_ones() {
        let found = names(vec![symbol(0, 0x40, "outer"), symbol(0x10, 8, "inner")]);
        assert_eq!(found, [(0, 0x10, "outer"), (0x10, 0x18, "inner"), (0x18, 0x40, "outer")]);
    }

    #[test]
    fn a_name_that_says_the_same_is_no_other() {
        let code = Code::new(vec![0..0x100, 0x200..0x300]).expect("code");
        let symbols = Symbols::new(vec![symbol(0, 16, "f.cold"), symbol(16, 0, "label")], &code);
        let at = |address| &symbols.regions()[symbols.find(address).expect("covered")];
        assert_eq!(symbols.other_name(at(3), b"f"), Some(&b"f.cold"[..]));
        assert_eq!(symbols.other_name(at(3), b"f.cold"), None);
        assert_eq!(symbols.other_name(at(16), b"f"), None);
    }
}
