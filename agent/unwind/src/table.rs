//! A finished table: the words that the walk reads.

use crate::error::BuildError;
use crate::stats::Stats;
use crate::writer::Parts;
use fleetprof_abi::{
    Architecture, GRANULE_SHIFT, IndexWord, MAX_NUMBER, ObjectState, ObjectTable, PAGE_WORDS, Row,
    Rule,
};

/// An unwind table of one object, keyed by position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnwindTable {
    pub(crate) architecture: Architecture,
    pub(crate) words: Vec<u32>,
    pub(crate) layout: Layout,
    pub(crate) stats: Stats,
}

/// Where the parts of a table are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) first_granule: u32,
    pub(crate) granules: u32,
    pub(crate) index: u32,
    pub(crate) rows: u32,
}

// === impl UnwindTable ===

impl UnwindTable {
    /// Rules, index and rows, in whole pages.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// How the walk finds its way in [`Self::words`]; the page that they begin at is still to be
    /// filled in.
    #[must_use]
    pub fn descriptor(&self) -> ObjectTable {
        ObjectTable {
            used_ns: 0,
            state: ObjectState::Ready as u32,
            first_page: 0,
            first_granule: self.layout.first_granule,
            granules: self.layout.granules,
            index: self.layout.index,
            rows: self.layout.rows,
        }
    }

    /// The processor that the code is for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// What was built, and from what.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The rule at a position of the file; none outside of the table.
    #[must_use]
    pub fn lookup(&self, position: u64) -> Option<Rule> {
        let granule = u32::try_from(position >> GRANULE_SHIFT).ok()?;
        let granule = granule.checked_sub(self.layout.first_granule)?;
        if granule >= self.layout.granules {
            return None;
        }
        let word = IndexWord(*self.words.get(self.layout.index as usize + granule as usize)?);
        let low = (position & ((1 << GRANULE_SHIFT) - 1)) as u32;
        let number = match word.count() {
            0 => word.number(),
            count => {
                let first = self.layout.rows as usize + word.number() as usize;
                let rows = self.words.get(first..first + count as usize)?;
                let after = rows.partition_point(|&row| Row(row).low() <= low);
                Row(*rows.get(after.checked_sub(1)?)?).rule()
            }
        };
        self.rule(number)
    }

    /// A rule by its number.
    pub(crate) fn rule(&self, number: u32) -> Option<Rule> {
        let first = number.checked_mul(Rule::WORDS)? as usize;
        let end = first + Rule::WORDS as usize;
        let words = self.words.get(first..end.min(self.layout.index as usize))?;
        Some(Rule::from_words(words.try_into().ok()?))
    }

    /// Puts the parts together: rules that are named most come first, and no granule's rows lie in
    /// two pages.
    pub(crate) fn lay_out(
        architecture: Architecture,
        parts: &Parts,
        mut stats: Stats,
    ) -> Result<Self, BuildError> {
        let mut order: Vec<u32> = (0..parts.rules.len() as u32)
            .filter(|&number| parts.uses.get(number as usize).is_some_and(|&uses| uses > 0))
            .collect();
        order.sort_by_key(|&number| std::cmp::Reverse(parts.uses[number as usize]));
        let mut renumbered = vec![0; parts.rules.len()];
        for (new, &old) in order.iter().enumerate() {
            renumbered[old as usize] = new as u32;
        }
        let index = order.len() * Rule::WORDS as usize;
        let rows = index + parts.index.len();
        let mut words = Vec::with_capacity(rows + parts.rows.len() + 2 * PAGE_WORDS);
        words.extend(order.iter().flat_map(|&old| parts.rules[old as usize].to_words()));
        words.resize(rows, 0);
        for (granule, word) in parts.index.iter().enumerate() {
            let number = word.number() as usize;
            words[index + granule] =
                match word.count() {
                    0 => IndexWord::whole(renumbered[number]).0,
                    count => {
                        let in_page = words.len() % PAGE_WORDS;
                        if in_page + count as usize > PAGE_WORDS {
                            words.resize(words.len() + PAGE_WORDS - in_page, 0);
                        }
                        let first = words.len() - rows;
                        let of_granule = &parts.rows[number..number + count as usize];
                        words.extend(of_granule.iter().map(|row| {
                            Row::new(row.low() as u8, renumbered[row.rule() as usize]).0
                        }));
                        IndexWord::rows(first as u32, count).0
                    }
                };
        }
        if words.len() - rows > MAX_NUMBER as usize {
            return Err(BuildError::TooLarge { what: "rows", limit: u64::from(MAX_NUMBER) });
        }
        words.resize(words.len().next_multiple_of(PAGE_WORDS), 0);
        stats.changes = parts.changes;
        stats.rows = parts.rows.len() as u64;
        stats.rules = order.len() as u64;
        stats.granules = parts.index.len() as u64;
        stats.table_bytes = words.len() as u64 * 4;
        let layout = Layout {
            first_granule: parts.first_granule,
            granules: parts.index.len() as u32,
            index: index as u32,
            rows: rows as u32,
        };
        Ok(Self { architecture, words, layout, stats })
    }
}
