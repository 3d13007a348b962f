// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The search in a table: see `fleetprof_abi` for its form.

use fleetprof_abi::{GRANULE_SHIFT, IndexWord, ObjectTable, PAGE_WORDS, Row, Rule};

use crate::Machine;

const WORD_BITS: u32 = PAGE_WORDS.trailing_zeros();
const WORD_MASK: usize = PAGE_WORDS - 1;

/// A granule has 256 bytes, and so at most as many rows: the search halves them until one is left.
const STEPS: u32 = 8;

/// The rule for a position in the file of the current table; `None` outside of it.
#[inline(always)]
pub fn rule_at(machine: &mut impl Machine, position: u64) -> Option<Rule> {
    let table = *machine.table();
    let granule = (position >> GRANULE_SHIFT).wrapping_sub(u64::from(table.first_granule));
    if granule >= u64::from(table.granules) {
        return None;
    }
    let word = table.index.wrapping_add(granule as u32);
    let page = machine.page(page_of(&table, word))?;
    let index = IndexWord(page[word as usize & WORD_MASK]);
    let count = index.count();
    let number =
        if count == 0 { index.number() } else { row_at(machine, &table, index, position)? };
    let word = number.wrapping_mul(Rule::WORDS);
    let page = machine.page(page_of(&table, word))?;
    // Rules begin at multiples of their length, so none crosses the end of a page.
    let at = word as usize & (WORD_MASK - 3);
    Some(Rule::from_words([page[at], page[at + 1], page[at + 2], page[at + 3]]))
}

#[inline(always)]
fn row_at(
    machine: &mut impl Machine,
    table: &ObjectTable,
    index: IndexWord,
    position: u64,
) -> Option<u32> {
    let word = table.rows.wrapping_add(index.number());
    let page = machine.page(page_of(table, word))?;
    let low = position as u32 & 0xff;
    // The row sought is one of `rows` from `from` on; the first holds from the granule's start on.
    let (mut from, mut rows) = (word, index.count());
    for _ in 0..STEPS {
        if rows <= 1 {
            break;
        }
        let half = rows / 2;
        let middle = from.wrapping_add(half);
        if Row(page[middle as usize & WORD_MASK]).low() <= low {
            from = machine.forget(middle);
            rows = machine.forget(rows.wrapping_sub(half));
        } else {
            rows = machine.forget(half);
        }
    }
    Some(Row(page[from as usize & WORD_MASK]).rule())
}

#[inline(always)]
fn page_of(table: &ObjectTable, word: u32) -> u32 {
    table.first_page.wrapping_add(word >> WORD_BITS)
}
