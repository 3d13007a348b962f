//! Names and paths: sorted, so that each needs only what differs from the one before it.
//!
//! In: distinct strings. Out: groups of [`GROUP`] strings, of which the first is whole and each other
//! is the length of the beginning it shares with its predecessor, and the rest. Reading one decodes
//! its group up to it.

use crate::bytes::{Cursor, put_varint, u32_at};

/// Strings of a group.
const GROUP: usize = 16;

/// The two sections that strings become.
#[derive(Debug, Default)]
pub(crate) struct StringSections {
    /// Where each group begins, four bytes each.
    pub(crate) groups: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

/// Packs strings, which must be in the order that they are to be numbered in.
pub(crate) fn pack<'a>(strings: impl Iterator<Item = &'a [u8]>) -> StringSections {
    let mut packed = StringSections::default();
    let mut before: &[u8] = &[];
    for (number, string) in strings.enumerate() {
        let shared = if number % GROUP == 0 {
            packed.groups.extend_from_slice(&(packed.bytes.len() as u32).to_le_bytes());
            0
        } else {
            let shared = shared(before, string);
            put_varint(&mut packed.bytes, shared as u64);
            shared
        };
        let rest = &string[shared..];
        put_varint(&mut packed.bytes, rest.len() as u64);
        packed.bytes.extend_from_slice(rest);
        before = string;
    }
    packed
}

/// Appends the bytes of string `number` to `out`; `None`, and `out` as it was, when there is none.
pub(crate) fn unpack(groups: &[u8], bytes: &[u8], number: u32, out: &mut Vec<u8>) -> Option<()> {
    let first = out.len();
    let found = unpack_onto(groups, bytes, number, out);
    if found.is_none() {
        out.truncate(first);
    }
    found
}

fn unpack_onto(groups: &[u8], bytes: &[u8], number: u32, out: &mut Vec<u8>) -> Option<()> {
    let first = out.len();
    let number = number as usize;
    let start = u32_at(groups, number / GROUP * 4)?;
    let mut cursor = Cursor::starting_at(bytes, start as usize);
    for member in 0..=number % GROUP {
        let shared = if member == 0 { 0 } else { usize::try_from(cursor.varint()?).ok()? };
        let length = usize::try_from(cursor.varint()?).ok()?;
        let rest = cursor.slice(length)?;
        if shared > out.len() - first {
            return None;
        }
        out.truncate(first + shared);
        out.extend_from_slice(rest);
    }
    Some(())
}

fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_come_back(mut strings in proptest::collection::vec("[ab]{0,6}x?", 0..100)) {
            strings.sort();
            let packed = pack(strings.iter().map(String::as_bytes));
            for (number, string) in strings.iter().enumerate() {
                let mut out = b"kept".to_vec();
                unpack(&packed.groups, &packed.bytes, number as u32, &mut out).expect("there");
                prop_assert_eq!(&out[..4], b"kept");
                prop_assert_eq!(&out[4..], string.as_bytes());
            }
        }

        #[test]
        fn any_bytes_are_harmless(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), number in 0..40_u32
        ) {
            let mut out = Vec::new();
            let _ = unpack(&bytes[..bytes.len() / 2], &bytes, number, &mut out);
            prop_assert!(out.len() <= bytes.len() * 2);
        }
    }
}
