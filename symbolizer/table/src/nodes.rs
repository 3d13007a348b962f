//! Nodes: the functions of a piece of code, from the one it was inlined into outwards.
//!
//! A node is a function, and unless it is the outermost one the place it was called from and the node
//! of its caller. Nodes that are equal in all of this are one. In the table a node is named by its
//! position, so that no index is needed; its caller lies before it:
//!
//! ```text
//! distance to the caller's position (0: outermost), function (0: none, else its number + 1), then,
//! unless outermost, the call: zigzag(line − line of the caller's function) · 4
//!                             + 2 when there is no line + 1 when a file follows that is not the caller's
//! ```

use crate::bytes::{Cursor, put_varint, unzigzag, zigzag};

/// A node in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodedNode {
    /// The function's number + 1, or 0.
    pub(crate) function: u32,
    pub(crate) call: Option<CodedCall>,
}

/// Where a node was called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodedCall {
    /// Position of the caller's node.
    pub(crate) caller: u32,
    /// Line, relative to the caller's function (around the ends of 32 bits); none: there is no line.
    pub(crate) line: Option<i32>,
    /// The file, if it is not the one that the caller's function has; 0: no file.
    pub(crate) file: Option<u32>,
}

const NO_LINE: u64 = 2;
const OTHER_FILE: u64 = 1;

// === impl CodedNode ===

impl CodedNode {
    /// Appends the node to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let position = out.len() as u64;
        let distance = self.call.map_or(0, |call| position - u64::from(call.caller));
        put_varint(out, distance);
        put_varint(out, u64::from(self.function));
        let Some(call) = self.call else { return };
        let line = call.line.map_or(NO_LINE, |line| zigzag(line.into()) << 2);
        let file = call.file.map_or(0, |_| OTHER_FILE);
        put_varint(out, line | file);
        if let Some(file) = call.file {
            put_varint(out, u64::from(file));
        }
    }

    /// Reads the node at `position`.
    #[inline]
    pub(crate) fn read(bytes: &[u8], position: u32) -> Option<Self> {
        let mut cursor = Cursor::starting_at(bytes, position as usize);
        let distance = cursor.varint32()?;
        let function = cursor.varint32()?;
        if distance == 0 {
            return Some(Self { function, call: None });
        }
        let call = cursor.varint()?;
        let line = if call & NO_LINE == 0 { Some(unzigzag(call >> 2) as i32) } else { None };
        let file = if call & OTHER_FILE == 0 { None } else { Some(cursor.varint32()?) };
        let caller = position.checked_sub(distance)?;
        Some(Self { function, call: Some(CodedCall { caller, line, file }) })
    }
}
