//! Tables as bytes on a disk.
//!
//! ```text
//! magic 8, version 4, CRC-32C of all that follows 4,
//! architecture 4, first granule 4, granules 4, index 4, rows 4, words 4, figures 8 each, words 4 each
//! ```
//! Little endian. What is read is checked to the last number: a damaged file gives an error, never a
//! wrong table.

use crate::bytes::{u32_at, u64_at};
use crate::error::DecodeError;
use crate::stats::{Stats, Unsupported};
use crate::table::{Layout, UnwindTable};
use fleetprof_abi::{Architecture, IndexWord, PAGE_WORDS, REGISTERS, Row, Rule};

/// Version that is written and read: that of the bytes, and of what tables are made from.
pub(crate) const VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"FPUNWIND";
/// Byte at which the checksum's part begins.
const BODY: usize = 16;
/// Figures besides those by reason.
const FIGURES: usize = 11;
const WORDS: usize = BODY + 24 + 8 * (FIGURES + Unsupported::COUNT);
/// Greatest numbers of `RuleKind`, `FpRule` and `RaRule`.
const LAST: (u8, u8, u8) = (7, 3, 3);

/// Writes the checksum of a table into it.
pub(crate) fn seal(table: &mut [u8]) {
    if let Some((header, body)) = table.split_at_mut_checked(BODY) {
        header[BODY - 4..].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    }
}

// === impl UnwindTable ===

impl UnwindTable {
    /// The table as bytes, for a disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(WORDS + 4 * self.words.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        let Layout { first_granule, granules, index, rows } = self.layout;
        let words = self.words.len() as u32;
        for number in [self.architecture as u32, first_granule, granules, index, rows, words] {
            bytes.extend(number.to_le_bytes());
        }
        let stats = self.stats.figures().into_iter().chain(self.stats.unsupported);
        bytes.extend(stats.flat_map(u64::to_le_bytes));
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
        seal(&mut bytes);
        bytes
    }

    /// The table that [`Self::encode`] gave.
    ///
    /// # Errors
    /// When the bytes are of another version, or not exactly what was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(DecodeError::Magic);
        }
        let number = |at| u32_at(bytes, at).ok_or(DecodeError::Length);
        match number(8)? {
            VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        let (header, body) = bytes.split_at_checked(WORDS).ok_or(DecodeError::Length)?;
        if body.len() as u64 != u64::from(number(BODY + 20)?) * 4 {
            return Err(DecodeError::Length);
        }
        if crc32c::crc32c(&bytes[BODY..]) != number(BODY - 4)? {
            return Err(DecodeError::Checksum);
        }
        let mut figures = [0; FIGURES + Unsupported::COUNT];
        for (at, figure) in figures.iter_mut().enumerate() {
            *figure = u64_at(header, BODY + 24 + 8 * at).ok_or(DecodeError::Length)?;
        }
        let table = Self {
            architecture: match number(BODY)? {
                0 => Architecture::X86_64,
                1 => Architecture::Aarch64,
                _ => return Err(DecodeError::Invalid("architecture")),
            },
            layout: Layout {
                first_granule: number(BODY + 4)?,
                granules: number(BODY + 8)?,
                index: number(BODY + 12)?,
                rows: number(BODY + 16)?,
            },
            words: body.chunks_exact(4).filter_map(|word| u32_at(word, 0)).collect(),
            stats: Stats::from_figures(&figures),
        };
        table.check()?;
        Ok(table)
    }

    /// Every number leads to where it should.
    fn check(&self) -> Result<(), DecodeError> {
        let Layout { granules, index, rows, first_granule } = self.layout;
        let is_laid_out = index.is_multiple_of(Rule::WORDS)
            && index.checked_add(granules) == Some(rows)
            && rows as usize <= self.words.len()
            && self.words.len().is_multiple_of(PAGE_WORDS)
            && first_granule.checked_add(granules).is_some();
        if !is_laid_out {
            return Err(DecodeError::Invalid("layout"));
        }
        let rules = index / Rule::WORDS;
        for rule in (0..rules).filter_map(|number| self.rule(number)) {
            let numbers = (rule.kind, rule.fp(), rule.ra());
            let fits = numbers.0 <= LAST.0 && numbers.1 <= LAST.1 && numbers.2 <= LAST.2;
            if !fits || usize::from(rule.cfa_register) >= REGISTERS {
                return Err(DecodeError::Invalid("rule"));
            }
        }
        for word in &self.words[index as usize..rows as usize] {
            self.check_granule(IndexWord(*word), rules)?;
        }
        Ok(())
    }

    fn check_granule(&self, word: IndexWord, rules: u32) -> Result<(), DecodeError> {
        let count = word.count() as usize;
        if count == 0 {
            return if word.number() < rules { Ok(()) } else { Err(DecodeError::Invalid("index")) };
        }
        let first = self.layout.rows as usize + word.number() as usize;
        let rows = self.words.get(first..first + count).ok_or(DecodeError::Invalid("index"))?;
        let in_one_page = first / PAGE_WORDS == (first + count - 1) / PAGE_WORDS;
        let rises = rows.windows(2).all(|pair| Row(pair[0]).low() < Row(pair[1]).low());
        let from_zero = rows.first().is_some_and(|&row| Row(row).low() == 0);
        let named = rows.iter().all(|&row| Row(row).rule() < rules);
        if in_one_page && rises && from_zero && named {
            Ok(())
        } else {
            Err(DecodeError::Invalid("rows"))
        }
    }
}

// === impl Stats ===

impl Stats {
    fn figures(&self) -> [u64; FIGURES] {
        [
            self.functions,
            self.ignored,
            self.frame_bytes,
            self.code_bytes,
            self.unknown_bytes,
            self.states,
            self.changes,
            self.rows,
            self.rules,
            self.granules,
            self.table_bytes,
        ]
    }

    fn from_figures(figures: &[u64; FIGURES + Unsupported::COUNT]) -> Self {
        let [functions, ignored, frame_bytes, code_bytes, unknown_bytes, states, changes, ..] =
            *figures;
        let [.., rows, rules, granules, table_bytes, a, b, c, d, e, f, g, h] = *figures;
        Self {
            functions,
            ignored,
            frame_bytes,
            code_bytes,
            unknown_bytes,
            states,
            changes,
            rows,
            rules,
            granules,
            table_bytes,
            unsupported: [a, b, c, d, e, f, g, h],
        }
    }
}
