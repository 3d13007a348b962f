//! Rules by rising position → granules, rows and distinct rules.
//!
//! Memory is that of the table: nothing is kept per function.

use crate::error::{BuildError, Limits};
use fleetprof_abi::{GRANULE_SHIFT, IndexWord, MAX_NUMBER, Row, Rule};
use rustc_hash::FxHashMap;

/// Parts of a table before its layout.
pub(crate) struct Parts {
    pub(crate) first_granule: u32,
    pub(crate) rules: Vec<Rule>,
    /// How often each rule is named.
    pub(crate) uses: Vec<u32>,
    pub(crate) index: Vec<IndexWord>,
    pub(crate) rows: Vec<Row>,
    pub(crate) changes: u64,
}

/// Collects a table.
pub(crate) struct Writer {
    numbers: FxHashMap<Rule, u32>,
    parts: Parts,
    /// Rows of the granule that is being written; the first one is for its first byte.
    pending: Vec<Row>,
    granule: u64,
    /// Where the last rule was said to begin.
    position: u64,
    limits: Limits,
}

// === impl Writer ===

impl Writer {
    /// A table from `position` on, where `rule` holds.
    pub(crate) fn new(position: u64, rule: Rule, limits: Limits) -> Result<Self, BuildError> {
        let granule = position >> GRANULE_SHIFT;
        let first_granule = u32::try_from(granule)
            .map_err(|_| BuildError::Damaged { what: "position of the code" })?;
        let mut writer = Self {
            numbers: FxHashMap::default(),
            parts: Parts {
                first_granule,
                rules: Vec::new(),
                uses: Vec::new(),
                index: Vec::new(),
                rows: Vec::new(),
                changes: 0,
            },
            pending: Vec::with_capacity(256),
            granule,
            position,
            limits,
        };
        let number = writer.number(rule)?;
        writer.pending.push(Row::new(0, number));
        Ok(writer)
    }

    /// From `position` on, `rule` holds. Positions never fall: rows that do not rise would be found
    /// in the wrong order, and tell wrong frames.
    pub(crate) fn set(&mut self, position: u64, rule: Rule) -> Result<(), BuildError> {
        debug_assert!(position >= self.position, "{position:#x} after {:#x}", self.position);
        if position < self.position {
            return Err(BuildError::Damaged { what: "order of the rules" });
        }
        self.position = position;
        let number = self.number(rule)?;
        let granule = position >> GRANULE_SHIFT;
        if self.current() == number {
            return Ok(());
        }
        self.advance(granule)?;
        let low = (position & ((1 << GRANULE_SHIFT) - 1)) as u8;
        if self.pending.last().is_some_and(|last| last.low() == u32::from(low)) {
            // Nothing is between: the later rule holds.
            self.pending.pop();
            if self.pending.last().is_some_and(|last| last.rule() == number) {
                return Ok(());
            }
        }
        self.parts.changes += 1;
        self.pending.push(Row::new(low, number));
        Ok(())
    }

    /// The parts, up to the granule before or with `end`.
    pub(crate) fn finish(mut self, end: u64) -> Result<Parts, BuildError> {
        self.advance((end >> GRANULE_SHIFT) + u64::from(end & ((1 << GRANULE_SHIFT) - 1) != 0))?;
        Ok(self.parts)
    }

    fn current(&self) -> u32 {
        self.pending.last().map_or(0, |row| row.rule())
    }

    fn number(&mut self, rule: Rule) -> Result<u32, BuildError> {
        if let Some(&number) = self.numbers.get(&rule) {
            return Ok(number);
        }
        let number = self.parts.rules.len() as u32;
        if number >= MAX_NUMBER {
            return Err(BuildError::TooLarge { what: "rules", limit: u64::from(MAX_NUMBER) });
        }
        self.parts.rules.push(rule);
        self.parts.uses.push(0);
        self.numbers.insert(rule, number);
        Ok(number)
    }

    fn advance(&mut self, granule: u64) -> Result<(), BuildError> {
        while self.granule < granule {
            let current = self.current();
            self.flush()?;
            self.pending.clear();
            self.pending.push(Row::new(0, current));
            self.granule += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BuildError> {
        let parts = &mut self.parts;
        for row in &self.pending {
            if let Some(uses) = parts.uses.get_mut(row.rule() as usize) {
                *uses = uses.saturating_add(1);
            }
        }
        let word = match self.pending.as_slice() {
            [row] => IndexWord::whole(row.rule()),
            rows => {
                let first = parts.rows.len();
                let limit = self.limits.rows.min(MAX_NUMBER - 1024);
                if first + rows.len() > limit as usize {
                    return Err(BuildError::TooLarge { what: "rows", limit: u64::from(limit) });
                }
                parts.rows.extend_from_slice(rows);
                IndexWord::rows(first as u32, rows.len() as u32)
            }
        };
        parts.index.push(word);
        let words = parts.index.len() + parts.rows.len() + 4 * parts.rules.len();
        let limit = self.limits.table_bytes;
        if words as u64 * 4 > limit {
            return Err(BuildError::TooLarge { what: "table", limit });
        }
        Ok(())
    }
}
