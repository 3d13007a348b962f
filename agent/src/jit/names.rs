//! Names of one process, each kept once, in one piece of text: a JVM has a hundred thousand.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// A name's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameId(u32);

/// The names.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    /// Where each begins and how long it is.
    spans: Vec<(u32, u16)>,
    by_text: HashTable<u32>,
}

/// Longest name kept, bytes; of longer ones, their beginning. Signatures of generic Java methods reach
/// some hundreds.
pub(super) const MAX_NAME_BYTES: usize = 1024;

// === impl Names ===

impl Names {
    /// The number of a name. `None` when there is no room for any more: at 4 GiB, which no process may
    /// have.
    pub(super) fn intern(&mut self, name: &[u8]) -> Option<NameId> {
        let name = &name[..name.len().min(MAX_NAME_BYTES)];
        let name = String::from_utf8_lossy(name);
        let name = &name[..floor(&name, MAX_NAME_BYTES)];
        let (text, spans) = (&self.text, &self.spans);
        let hash = hash(name);
        if let Some(known) = self.by_text.find(hash, |id| of(text, spans, *id) == name) {
            return Some(NameId(*known));
        }
        let id = u32::try_from(spans.len()).ok()?;
        let start = u32::try_from(text.len()).ok()?;
        let len = u16::try_from(name.len()).ok()?;
        self.text.push_str(name);
        self.spans.push((start, len));
        let (text, spans) = (&self.text, &self.spans);
        let rehash = |id: &u32| self::hash(of(text, spans, *id));
        self.by_text.insert_unique(hash, id, rehash);
        Some(NameId(id))
    }

    /// The name of a number that was given out here.
    pub(super) fn get(&self, NameId(id): NameId) -> &str {
        of(&self.text, &self.spans, id)
    }

    /// Memory it holds, bytes.
    pub(super) fn bytes(&self) -> usize {
        let spans = self.spans.capacity() * size_of::<(u32, u16)>();
        // A number and a byte of control for each place.
        self.text.capacity() + spans + self.by_text.capacity() * (size_of::<u32>() + 1) * 8 / 7
    }
}

/// The last boundary of characters up to `max` bytes.
fn floor(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

fn of<'a>(text: &'a str, spans: &[(u32, u16)], id: u32) -> &'a str {
    let Some((start, len)) = spans.get(id as usize) else { return "" };
    text.get(*start as usize..*start as usize + usize::from(*len)).unwrap_or_default()
}

fn hash(name: &str) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that equal names are one, and that each is found again among many.
    #[test]
    fn names_are_kept_once() {
        let mut names = Names::default();
        let ids: Vec<_> =
            (0..5_000).map(|number| names.intern(format!("f{number}").as_bytes())).collect();
        for (number, id) in ids.iter().enumerate() {
            let name = format!("f{number}");
            assert_eq!(names.intern(name.as_bytes()), *id);
            assert_eq!(names.get(id.expect("there is room")), name);
        }
        assert_eq!(names.spans.len(), 5_000);
    }

    /// Check long names, those cut within a character, and bytes that are no text.
    #[test]
    fn any_bytes_are_a_name_of_bounded_length() {
        let mut names = Names::default();
        let mut shown = |bytes: &[u8]| {
            let id = names.intern(bytes).expect("there is room");
            names.get(id).to_owned()
        };
        assert_eq!(shown(b""), "");
        assert_eq!(shown(&[b'x'; 5_000]).len(), MAX_NAME_BYTES);
        assert_eq!(shown("é".repeat(600).as_bytes()), "é".repeat(512));
        let cut = shown(&"é".repeat(600).into_bytes()[1..]);
        assert!((MAX_NAME_BYTES - 3..=MAX_NAME_BYTES).contains(&cut.len()), "{}", cut.len());
        assert_eq!(shown(b"a\xffb"), "a\u{fffd}b");
        assert!(shown(&[0xff; 5_000]).len() <= MAX_NAME_BYTES);
    }
}
