//! A table, in the form that the walk reads, of the few rows that a case has.

use fleetprof_abi::{
    GRANULE_BYTES, GRANULE_SHIFT, IndexWord, ObjectTable, PAGE_WORDS, Row, Rule, StopReason,
};

use crate::machine::Table;

/// The table of `rows`, which are in order of their position. What holds between them is not known:
/// a walk that asks for another position of a granule gets the row before it.
#[must_use]
pub fn table(rows: &[(u64, Rule)]) -> Table {
    let granule = |position: u64| position >> GRANULE_SHIFT;
    let first = rows.first().map_or(0, |(position, _)| granule(*position));
    let last = rows.last().map_or(0, |(position, _)| granule(*position));
    let granules = usize::try_from(last - first + 1).unwrap_or_default();
    let elsewhere = Rule::stop(StopReason::Damaged);
    let rules = std::iter::once(elsewhere).chain(rows.iter().map(|(_, rule)| *rule));
    let mut words: Vec<u32> = rules.flat_map(Rule::to_words).collect();
    let index = words.len();
    words.resize(index + granules, IndexWord::whole(0).0);
    let start = words.len();
    // Rule 0 is none of the rows'.
    let numbered: Vec<(u64, u32)> =
        rows.iter().zip(1..).map(|((position, _), number)| (*position, number)).collect();
    for chunk in numbered.chunk_by(|(a, _), (b, _)| granule(*a) == granule(*b)) {
        let at = index + (granule(chunk[0].0) - first) as usize;
        if let [(_, rule)] = chunk {
            words[at] = IndexWord::whole(*rule).0;
            continue;
        }
        // The rows of a granule lie in one page.
        if words.len() % PAGE_WORDS + chunk.len() > PAGE_WORDS {
            words.resize(words.len().next_multiple_of(PAGE_WORDS), 0);
        }
        words[at] = IndexWord::rows((words.len() - start) as u32, chunk.len() as u32).0;
        words.extend(chunk.iter().enumerate().map(|(number, (position, rule))| {
            // The first row of a granule is that of its beginning.
            let low = if number == 0 { 0 } else { position % GRANULE_BYTES };
            Row::new(low as u8, *rule).0
        }));
    }
    words.resize(words.len().next_multiple_of(PAGE_WORDS), 0);
    let descriptor = ObjectTable {
        first_granule: u32::try_from(first).unwrap_or(u32::MAX),
        granules: granules as u32,
        index: index as u32,
        rows: start as u32,
        ..ObjectTable::default()
    };
    Table { descriptor, words }
}
