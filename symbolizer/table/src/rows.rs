//! The rows of a table: where code changes its function, file or line.
//!
//! In: rows by rising address. Out: blocks of [`BLOCK_ROWS`] rows in two to four bytes each, and back.
//! A block is decoded from its beginning and needs nothing but itself, so that a lookup is one search
//! among the blocks' first addresses and at most one block of work.
//!
//! Optimized code goes back and forth between a function and the calls inlined into it, so a decoder
//! keeps [`SLOTS`] contexts (a node with a file), each with the line it was last at. A row is the
//! distance from the row before it, and one of
//!
//! ```text
//! 0ddddddd            the same slot; the line moves by d (zigzag; 127: a varint follows)
//! 10sssddd            slot s; the line moves by d since the slot was last used (7: a varint follows)
//! 110sss zf           a new context in slot s: node (relative to the last new one), then, without z,
//!                     the line relative to its function's; with f, the file instead of its function's
//! 11100000            nothing is known from here on
//! ```

use crate::bytes::{Cursor, put_varint, unzigzag, zigzag};

/// Contexts that a block remembers.
pub(crate) const SLOTS: usize = 8;

/// Rows of a block.
pub(crate) const BLOCK_ROWS: usize = 32;

const SAME_ESCAPE: u8 = 0x7f;
const SLOT: u8 = 0x80;
const SLOT_ESCAPE: u8 = 7;
const NEW: u8 = 0xc0;
const NEW_ZERO_LINE: u8 = 2;
const NEW_FILE: u8 = 1;
const GAP: u8 = 0xe0;

/// What a row says about its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the innermost node is in the section of nodes.
    pub(crate) node: u32,
    /// The file, if it is not the one that the node's function has; 0: no file.
    pub(crate) file: Option<u32>,
    /// The line, relative to the function's (around the ends of 32 bits); none: there is no line.
    pub(crate) line: Option<i32>,
}

/// Blocks of rows, and where they begin.
#[derive(Debug, Default)]
pub(crate) struct RowWriter {
    pub(crate) bytes: Vec<u8>,
    /// Address of the first row of each block.
    pub(crate) addresses: Vec<u32>,
    /// Where each block begins in `bytes`.
    pub(crate) offsets: Vec<u32>,
    pub(crate) rows: u64,
    in_block: usize,
    last_address: u32,
    context: Context,
    /// When each slot was used last.
    used: [u32; SLOTS],
    clock: u32,
}

/// Rows of one block, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct RowReader<'a> {
    cursor: Cursor<'a>,
    context: Context,
    address: u32,
    is_first: bool,
    is_gap: bool,
}

/// What both sides remember.
#[derive(Clone, Debug, Default)]
struct Context {
    slots: [Place; SLOTS],
    current: usize,
    last_node: u32,
}

// === impl RowWriter ===

impl RowWriter {
    /// Adds the row at `address`, which is not below the last one's; none: nothing is known.
    pub(crate) fn push(&mut self, address: u32, place: Option<Place>) {
        if self.in_block == BLOCK_ROWS || self.addresses.is_empty() {
            self.addresses.push(address);
            self.offsets.push(self.bytes.len() as u32);
            self.in_block = 0;
            self.context = Context::default();
            self.used = [0; SLOTS];
            self.clock = 0;
        } else {
            put_varint(&mut self.bytes, u64::from(address - self.last_address));
        }
        self.in_block += 1;
        self.rows += 1;
        self.last_address = address;
        match place {
            None => self.bytes.push(GAP),
            Some(place) => self.push_place(place),
        }
    }

    fn push_place(&mut self, place: Place) {
        self.clock += 1;
        match self.slot_of(&place) {
            Some(slot) => self.push_known(slot, place),
            None => self.push_new(place),
        }
        self.used[self.context.current] = self.clock;
    }

    /// The slot whose context differs in the line at most.
    fn slot_of(&self, place: &Place) -> Option<usize> {
        let same = |slot: &Place| {
            (slot.node, slot.file, slot.line.is_some())
                == (place.node, place.file, place.line.is_some())
        };
        (0..SLOTS).find(|slot| self.used[*slot] > 0 && same(&self.context.slots[*slot]))
    }

    fn push_known(&mut self, slot: usize, place: Place) {
        let before = self.context.slots[slot].line.unwrap_or(0);
        let moved = zigzag(place.line.unwrap_or(0).wrapping_sub(before).into());
        let (kind, escape) = if slot == self.context.current {
            (0, SAME_ESCAPE)
        } else {
            (SLOT | (slot as u8) << 3, SLOT_ESCAPE)
        };
        if moved < u64::from(escape) {
            self.bytes.push(kind | moved as u8);
        } else {
            self.bytes.push(kind | escape);
            put_varint(&mut self.bytes, moved);
        }
        self.context.slots[slot] = place;
        self.context.current = slot;
    }

    fn push_new(&mut self, place: Place) {
        let slot = (0..SLOTS).min_by_key(|slot| self.used[*slot]).unwrap_or(0);
        let zero_line = if place.line.is_none() { NEW_ZERO_LINE } else { 0 };
        let with_file = if place.file.is_some() { NEW_FILE } else { 0 };
        self.bytes.push(NEW | (slot as u8) << 2 | zero_line | with_file);
        let distance = i64::from(place.node) - i64::from(self.context.last_node);
        put_varint(&mut self.bytes, zigzag(distance));
        if let Some(line) = place.line {
            put_varint(&mut self.bytes, zigzag(line.into()));
        }
        if let Some(file) = place.file {
            put_varint(&mut self.bytes, u64::from(file));
        }
        self.context.last_node = place.node;
        self.context.slots[slot] = place;
        self.context.current = slot;
    }
}

// === impl RowReader ===

impl<'a> RowReader<'a> {
    /// The rows of `block`, whose first one is at `address`.
    pub(crate) fn new(block: &'a [u8], address: u32) -> Self {
        let cursor = Cursor::new(block);
        Self { cursor, context: Context::default(), address, is_first: true, is_gap: false }
    }

    /// The next row: its address and what is known from there on. `Err` when the bytes are none of a
    /// writer's.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Option<Place>)>, ()> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        if !self.is_first {
            let distance = self.cursor.varint32().ok_or(())?;
            self.address = self.address.checked_add(distance).ok_or(())?;
        }
        self.is_first = false;
        self.read()?;
        Ok(Some((self.address, self.place())))
    }

    /// What is known at an address that is not before the block. Reads at most one block's rows,
    /// however many there are.
    pub(crate) fn seek(mut self, wanted: u32) -> Result<Option<Place>, ()> {
        self.read()?;
        for _ in 1..BLOCK_ROWS {
            if self.cursor.is_at_end() {
                break;
            }
            let distance = self.cursor.varint32().ok_or(())?;
            self.address = self.address.checked_add(distance).ok_or(())?;
            if self.address > wanted {
                break;
            }
            self.read()?;
        }
        Ok(self.place())
    }

    fn place(&self) -> Option<Place> {
        (!self.is_gap).then(|| self.context.slots[self.context.current])
    }

    /// Reads what a row says.
    #[inline(always)]
    fn read(&mut self) -> Result<(), ()> {
        let op = self.cursor.byte().ok_or(())?;
        self.is_gap = op == GAP;
        if op < SLOT {
            self.go_on(self.context.current, op, SAME_ESCAPE)
        } else if op < NEW {
            let slot = usize::from(op >> 3 & 7);
            self.context.current = slot;
            self.go_on(slot, op & 7, SLOT_ESCAPE)
        } else if op < GAP {
            self.begin(op)
        } else if op == GAP {
            Ok(())
        } else {
            Err(())
        }
    }

    #[inline]
    fn go_on(&mut self, slot: usize, moved: u8, escape: u8) -> Result<(), ()> {
        let moved = if moved == escape {
            self.cursor.signed().ok_or(())?
        } else {
            unzigzag(u64::from(moved))
        };
        if let Some(line) = &mut self.context.slots[slot].line {
            *line = line.wrapping_add(moved as i32);
        }
        Ok(())
    }

    #[inline]
    fn begin(&mut self, op: u8) -> Result<(), ()> {
        let slot = usize::from(op >> 2 & 7);
        let distance = self.cursor.signed().ok_or(())?;
        let node = i64::from(self.context.last_node).checked_add(distance).ok_or(())?;
        let node = u32::try_from(node).map_err(|_| ())?;
        let line = match op & NEW_ZERO_LINE {
            0 => Some(self.cursor.signed().ok_or(())? as i32),
            _ => None,
        };
        let file = match op & NEW_FILE {
            0 => None,
            _ => Some(self.cursor.varint32().ok_or(())?),
        };
        self.context.slots[slot] = Place { node, file, line };
        self.context.current = slot;
        self.context.last_node = node;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = Option<Place>> {
        let node = prop_oneof![0..20_u32, any::<u32>()];
        let line = prop_oneof![-80..80_i32, any::<i32>()];
        let place = (node, proptest::option::of(0..3_u32), proptest::option::of(line))
            .prop_map(|(node, file, line)| Place { node, file, line });
        proptest::option::weighted(0.9, place)
    }

    proptest! {
        #[test]
        fn rows_come_back(rows in proptest::collection::vec((0..300_u32, place()), 1..400)) {
            let mut writer = RowWriter::default();
            let mut expected = Vec::new();
            let mut address = 7;
            for (distance, place) in rows {
                address += distance;
                writer.push(address, place);
                expected.push((address, place));
            }
            let mut found = Vec::new();
            for (number, first) in writer.addresses.iter().enumerate() {
                let start = writer.offsets[number] as usize;
                let end = writer.offsets.get(number + 1).map_or(writer.bytes.len(), |end| *end as usize);
                let mut reader = RowReader::new(&writer.bytes[start..end], *first);
                while let Some(row) = reader.next().expect("as written") {
                    found.push(row);
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = RowReader::new(&bytes, u32::MAX - 1000);
            let mut rows = 0;
            while let Ok(Some(_)) = reader.next() {
                rows += 1;
            }
            prop_assert!(rows <= bytes.len());
        }
    }
}
