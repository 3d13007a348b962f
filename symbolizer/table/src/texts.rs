//! Distinct names and paths while a table is being made.

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

use crate::error::{ConvertError, Limits};

/// Strings, each once, in the order they came in.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// Where each string ends.
    ends: Vec<u32>,
    numbers: HashTable<u32>,
    cut: u64,
}

// === impl Texts ===

impl Texts {
    /// The number of a string. One that is too long is cut; bytes that are no text are replaced.
    pub(crate) fn intern(&mut self, text: &[u8], limits: &Limits) -> Result<u32, ConvertError> {
        let lossy;
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(_) => {
                lossy = String::from_utf8_lossy(&text[..text.len().min(limits.name_bytes)]);
                &lossy
            }
        };
        let kept = &text[..text.floor_char_boundary(limits.name_bytes)];
        self.cut += u64::from(kept.len() < text.len());
        self.number(kept.as_bytes(), limits)
    }

    fn number(&mut self, text: &[u8], limits: &Limits) -> Result<u32, ConvertError> {
        let Self { bytes, ends, numbers, .. } = self;
        let string = |number: u32| slice(bytes, ends, number);
        let hash = FxBuildHasher.hash_one(text);
        if let Some(known) = numbers.find(hash, |number| string(*number) == text) {
            return Ok(*known);
        }
        let end = bytes.len() + text.len();
        if end > limits.text_bytes as usize {
            let limit = u64::from(limits.text_bytes);
            return Err(ConvertError::TooLarge { what: "bytes of names", limit });
        }
        let number = ends.len() as u32;
        numbers.insert_unique(hash, number, |number| FxBuildHasher.hash_one(string(*number)));
        bytes.extend_from_slice(text);
        ends.push(end as u32);
        Ok(number)
    }

    pub(crate) fn get(&self, number: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, number)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Strings that were longer than the limit.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before] as usize);
    &bytes[start..ends[number] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once_and_never_too_long() {
        let limits = Limits { name_bytes: 4, text_bytes: 20, ..Limits::default() };
        let mut texts = Texts::default();
        let mut intern = |text: &[u8]| texts.intern(text, &limits);
        assert_eq!(intern(b"").ok(), Some(0));
        assert_eq!(intern(b"main").ok(), Some(1));
        assert_eq!(intern(b"mainly").ok(), Some(1));
        assert_eq!(intern("aäü".as_bytes()).ok(), Some(2));
        assert_eq!(intern(b"a\xffb").ok(), Some(3));
        assert_eq!(intern(b"main").ok(), Some(1));
        for number in [b"1234", b"5678"] {
            intern(number).expect("room");
        }
        assert!(matches!(intern(b"more"), Err(ConvertError::TooLarge { .. })));
        assert_eq!(texts.get(0), b"");
        assert_eq!(texts.get(1), b"main");
        assert_eq!(texts.get(2), "aä".as_bytes());
        assert_eq!(texts.cut(), 3);
    }
}
