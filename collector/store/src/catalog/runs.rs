//! Which sequences of an agent instance are in the store: what makes resends harmless. Pure.
//!
//! Encoded as one byte of version, then two variable-length numbers for each gapless run: its first
//! sequence less the last of the run before (less 0 for the first run), and its last less its first.
//! Agents count 1, 2, 3, …: an instance that lost nothing takes 3 to 12 bytes.

use std::collections::BTreeMap;

use super::varint;

/// First byte of the encoding.
const VERSION: u8 = 1;

/// A set of sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// First to last sequence of each gapless run.
    runs: BTreeMap<u64, u64>,
}

// === impl Runs ===

impl Runs {
    /// Whether a sequence is in it.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.runs.range(..=sequence).next_back().is_some_and(|(_, last)| *last >= sequence)
    }

    /// The highest sequence.
    pub(super) fn latest(&self) -> Option<u64> {
        self.runs.last_key_value().map(|(_, last)| *last)
    }

    /// Adds a sequence; `false` when it was there.
    pub(super) fn insert(&mut self, sequence: u64) -> bool {
        if self.contains(sequence) {
            return false;
        }
        let before = self.runs.range(..sequence).next_back();
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(sequence) => *first,
            _ => sequence,
        };
        let after = sequence.checked_add(1).and_then(|next| self.runs.remove(&next));
        self.runs.insert(first, after.unwrap_or(sequence));
        true
    }

    /// For a row of the catalog. Never empty.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let mut end = 0;
        for (first, last) in &self.runs {
            varint::put(&mut bytes, first - end);
            varint::put(&mut bytes, last - first);
            end = *last;
        }
        bytes
    }

    /// From a row of the catalog; no bytes at all are the empty set (a row that was just made).
    ///
    /// # Errors
    /// With what is wrong, when these bytes were not written by [`Runs::encode`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let Some((version, mut rest)) = bytes.split_first() else { return Ok(Self::default()) };
        if *version != VERSION {
            return Err("has sequences in an encoding of an unknown version");
        }
        let (mut runs, mut end) = (BTreeMap::new(), 0u64);
        while !rest.is_empty() {
            let gap = varint::take(&mut rest).ok_or("has sequences that end in the middle")?;
            let more = varint::take(&mut rest).ok_or("has sequences that end in the middle")?;
            // Runs that touch would be one.
            if gap < 2 && !runs.is_empty() {
                return Err("has sequences that are not in order");
            }
            let first = end.checked_add(gap).ok_or("has sequences beyond all numbers")?;
            end = first.checked_add(more).ok_or("has sequences beyond all numbers")?;
            runs.insert(first, end);
        }
        Ok(Self { runs })
    }
}

#[cfg(test)]
mod tests;
