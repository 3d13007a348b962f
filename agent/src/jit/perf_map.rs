//! Perf maps: a line of text for each piece of generated code.
//!
//! In: bytes of the file, as they come. Out: a [`Record`] for each whole line `START SIZE NAME`, both
//! numbers hexadecimal. The name is whatever follows, spaces and all. Pure.

use super::record::{MAX_PIECE_BYTES, Parsed, Record};

/// Reads a perf map piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerfMap {
    /// In a line that is too long to be one.
    skips_line: bool,
}

/// Most bytes of a file looked at for the end of a line.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The longest number: 16 digits and a prefix.
const MAX_NUMBER_BYTES: usize = 18;

// === impl PerfMap ===

impl PerfMap {
    /// Hands out the whole lines of `bytes`. What is left over has to come again, with more behind it.
    pub(super) fn parse(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Record<'_>)) -> Parsed {
        let mut parsed = Parsed::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            parsed.consumed += end as u64 + 1;
            rest = after;
            if std::mem::take(&mut self.skips_line) {
                continue;
            }
            match parse_line(line) {
                Some(record) if line.len() <= MAX_LINE_BYTES => sink(record),
                _ if line.trim_ascii().is_empty() => {}
                _ => parsed.malformed += 1,
            }
        }
        if self.skips_line || rest.len() > MAX_LINE_BYTES {
            parsed.malformed += u64::from(!self.skips_line);
            parsed.consumed += rest.len() as u64;
            self.skips_line = true;
        }
        parsed
    }
}

const _: () =
    assert!(MAX_LINE_BYTES < MAX_PIECE_BYTES, "a piece must show that a line is too long");

fn parse_line(line: &[u8]) -> Option<Record<'_>> {
    let line = line.trim_ascii_start();
    let (start, rest) = number(line)?;
    let (size, name) = number(rest.trim_ascii_start())?;
    let name = name.trim_ascii();
    (size > 0 && !name.is_empty()).then_some(Record::Load { start, size, name, time_ns: 0 })
}

/// A hexadecimal number, with or without its prefix, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().take(MAX_NUMBER_BYTES + 1).position(u8::is_ascii_whitespace)?;
    let (word, rest) = text.split_at(end);
    let digits = word.strip_prefix(b"0x").or_else(|| word.strip_prefix(b"0X")).unwrap_or(word);
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, byte| {
        Some(value << 4 | u64::from(char::from(*byte).to_digit(16)?))
    })?;
    Some((value, rest))
}

#[cfg(test)]
mod tests;
