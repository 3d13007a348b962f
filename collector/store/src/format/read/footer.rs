//! The footer of a Parquet file that may be forged: looked through before Parquet's reader gets it.
//!
//! That reader makes room for as many columns as an element of the schema says to have below it, up to 16 GB,
//! before it looks for them; a process that cannot have so much ends. The elements of a schema are a tree, so
//! all of them together have fewer below them than there are. The encoding is Thrift's compact protocol.

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::file::varint;

/// Structures within structures that are followed: Parquet's have six.
const MAX_DEPTH: usize = 16;
/// The list of the schema's elements in the footer, and the number of those below one.
const SCHEMA: i64 = 2;
const CHILDREN: i64 = 5;
const NAME: i64 = 4;
const LOGICAL_TYPE: i64 = 10;

/// Kinds of values.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// What is left of the bytes.
struct Bytes<'a>(&'a [u8]);

/// What the footer of a Parquet file says, its length and the magic bytes behind it left out. It may be of anyone.
///
/// # Errors
/// Why it is none.
pub fn parse(footer: &[u8]) -> Result<ParquetMetaData, String> {
    check(footer).ok_or("its schema is no tree")?;
    ParquetMetaDataReader::decode_metadata(footer).map_err(|error| error.to_string())
}

/// `None`: the schema is wrong, or what comes before it.
fn check(footer: &[u8]) -> Option<()> {
    let (mut bytes, mut id) = (Bytes(footer), 0);
    while let Some(kind) = bytes.field(&mut id)? {
        match (id, kind) {
            (SCHEMA, LIST) => bytes.schema()?,
            (1, I32) | (3, I64) | (4 | 5 | 7, LIST) | (6, BINARY) => bytes.skip(kind, 0)?,
            // Parquet's reader goes by the numbers of fields alone, and would go on elsewhere. None is encrypted.
            (1..=9, _) => return None,
            _ => bytes.skip(kind, 0)?,
        }
    }
    Some(())
}

// === impl Bytes ===

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        varint(&mut std::iter::from_fn(|| self.byte()), u64::BITS)
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    fn pass(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    /// The kind of the next field of a structure, whose number becomes `id`; `Some(None)` at its end.
    fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head & 0xf == 0 {
            return Some(None);
        }
        *id = match head >> 4 {
            0 => self.signed()?,
            more => id.checked_add(more.into())?,
        };
        // Of larger ones, Parquet's reader takes the last 16 bits.
        i16::try_from(*id).ok()?;
        Some(Some(head & 0xf))
    }

    /// How many values a list has, and of which kind.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 0xf { self.number()? } else { (head >> 4).into() };
        Some((count, head & 0xf))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            TRUE | FALSE => Some(()),
            BYTE => self.pass(1),
            I16 | I32 | I64 => self.number().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let length = self.number()?;
                self.pass(length)
            }
            LIST | SET => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))
            }
            MAP => {
                let count = self.number()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0xf, depth)
                })
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Truth values of lists have a byte; those of fields are in its head.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Option<()> {
        if matches!(kind, TRUE | FALSE) { self.pass(1) } else { self.skip(kind, depth + 1) }
    }

    fn schema(&mut self) -> Option<()> {
        let (count, kind) = self.list()?;
        if kind != STRUCT {
            return None;
        }
        let mut below = 0_u64;
        for _ in 0..count {
            let mut id = 0;
            while let Some(kind) = self.field(&mut id)? {
                match (id, kind) {
                    (CHILDREN, I32) => {
                        let children = u64::try_from(self.signed()?).ok()?;
                        below = below.checked_add(children)?;
                    }
                    (NAME, BINARY) | (LOGICAL_TYPE, STRUCT) | (1..=9, I32) => self.skip(kind, 0)?,
                    (1..=LOGICAL_TYPE, _) => return None,
                    _ => self.skip(kind, 0)?,
                }
            }
        }
        (below < count.max(1)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with a schema of elements that have so many below them, and a field after it.
    fn footer(children: &[i64]) -> Vec<u8> {
        let mut bytes = vec![0x15, 4, 0x19, 0xfc, u8::try_from(children.len()).expect("few")];
        for count in children {
            // A name, and how many there are below.
            bytes.extend([0x48, 1, b'x', 0x15]);
            let mut count = ((count << 1) ^ (count >> 63)).cast_unsigned();
            while count >= 0x80 {
                bytes.push((count & 0x7f) as u8 | 0x80);
                count >>= 7;
            }
            bytes.extend([count as u8, 0]);
        }
        bytes.extend([0x16, 2, 0]);
        bytes
    }

    /// Check that trees pass, and nothing that says to have more than there is.
    #[test]
    fn a_schema_is_a_tree() {
        for (children, is_one) in [
            (&[2, 0, 0][..], true),
            (&[1, 1, 0][..], true),
            (&[0][..], true),
            (&[1][..], false),
            (&[3, 0, 0][..], false),
            (&[2, 1, 0][..], false),
            (&[i64::from(i32::MAX), 0][..], false),
            (&[-1, 0][..], false),
            (&[i64::MAX, i64::MAX, i64::MAX][..], false),
        ] {
            assert_eq!(check(&footer(children)).is_some(), is_one, "{children:?}");
        }
    }

    /// Check that what is cut off, of another kind than it should be, or nested without end is refused, not
    /// followed.
    #[test]
    fn other_bytes_are_refused() {
        let whole = footer(&[1, 0]);
        for end in 0..whole.len() {
            assert!(check(&whole[..end]).is_none(), "{end}");
        }
        let deep = vec![0x1c; 100_000];
        let long_list = [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let other_kind = [0x25, 2, 0];
        // Field 65,538, of which 16 bits are 2: the schema.
        let wide_number = [0x09, 0x84, 0x80, 0x08, 0x0c, 0];
        for bytes in [&deep[..], &long_list, &other_kind, &wide_number, &[0xff; 32]] {
            assert!(check(bytes).is_none());
        }
    }
}
