//! Where the kernel keeps a few fields of a task, from its own type information (BTF).
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux`. Out: [`TaskOffsets`]. Only structures and their
//! members are looked at. The format is stable and small; the crates that read it are either
//! LGPL-licensed or build an index of all 100,000 types, which would stay in the agent's memory.

use fleetprof_abi::TaskOffsets;
use thiserror::Error;

/// Why the bytes are not usable BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// The first bytes are not those of BTF in this machine's byte order.
    #[error("not BTF of this machine's byte order")]
    BadMagic,
    /// A length or an offset points outside the data.
    #[error("truncated or damaged at type {0}")]
    Damaged(usize),
    /// A kind of type that this version does not know the length of.
    #[error("type {0} has the unknown kind {1}")]
    UnknownKind(usize, u32),
    /// `struct task_struct` is missing.
    #[error("no struct task_struct")]
    NoTask,
}

/// Structures nested deeper than this are not searched.
const MAX_DEPTH: usize = 8;

/// Bytes of a kernel stack where the kernel's types do not tell.
const USUAL_STACK_BYTES: u32 = 16 * 1024;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// Reads the offsets the programs need. A field the kernel does not have gets offset 0.
pub(super) fn task_offsets(btf: &[u8]) -> Result<TaskOffsets, BtfError> {
    let types = Types::parse(btf)?;
    let task = types.find_struct("task_struct")?.ok_or(BtfError::NoTask)?;
    let offset = |name| Ok(types.member_offset(task, name, 0)?.unwrap_or(0));
    let stack_bytes = types.size_of("thread_union")?.unwrap_or(USUAL_STACK_BYTES);
    let registers = types.size_of("pt_regs")?.unwrap_or(0);
    let user_registers = if registers == 0 { 0 } else { stack_bytes.saturating_sub(registers) };
    Ok(TaskOffsets {
        group_leader: offset("group_leader")?,
        start_boottime: offset("start_boottime")?,
        mm: offset("mm")?,
        stack: offset("stack")?,
        user_registers,
        reserved: 0,
    })
}

/// The type section, indexed by type id.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; index 0 is the type with id 1.
    starts: Vec<u32>,
}

/// The fixed head of a type.
struct Head {
    name: u32,
    kind: u32,
    has_bitfields: bool,
    members: usize,
}

impl<'a> Types<'a> {
    fn parse(btf: &'a [u8]) -> Result<Self, BtfError> {
        let magic = btf.get(..2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::BadMagic);
        }
        let field = |at| u32_at(btf, at).ok_or(BtfError::Damaged(0));
        let header_len = field(4)? as usize;
        let section = |offset: usize, len: usize| {
            let start = header_len.checked_add(offset)?;
            btf.get(start..start.checked_add(len)?)
        };
        let types = section(field(8)? as usize, field(12)? as usize);
        let strings = section(field(16)? as usize, field(20)? as usize);
        let (Some(types), Some(strings)) = (types, strings) else {
            return Err(BtfError::Damaged(0));
        };
        let mut this = Self { types, strings, starts: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            let id = this.starts.len() + 1;
            this.starts.push(u32::try_from(at).map_err(|_| BtfError::Damaged(id))?);
            let head = this.head(id)?;
            at += 12 + tail_len(&head).ok_or(BtfError::UnknownKind(id, head.kind))?;
        }
        Ok(this)
    }

    fn start(&self, id: usize) -> Result<usize, BtfError> {
        let index = id.checked_sub(1).ok_or(BtfError::Damaged(id))?;
        self.starts.get(index).map(|start| *start as usize).ok_or(BtfError::Damaged(id))
    }

    fn head(&self, id: usize) -> Result<Head, BtfError> {
        let start = self.start(id)?;
        let field = |at: usize| u32_at(self.types, start + at).ok_or(BtfError::Damaged(id));
        let info = field(4)?;
        Ok(Head {
            name: field(0)?,
            kind: (info >> 24) & 0x1f,
            has_bitfields: info >> 31 != 0,
            members: (info & 0xffff) as usize,
        })
    }

    fn name_is(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn find_struct(&self, name: &str) -> Result<Option<usize>, BtfError> {
        for id in 1..=self.starts.len() {
            let head = self.head(id)?;
            if head.kind == KIND_STRUCT && self.name_is(head.name, name) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Bytes of a structure or union; `None` when there is none of this name.
    fn size_of(&self, name: &str) -> Result<Option<u32>, BtfError> {
        for id in 1..=self.starts.len() {
            let head = self.head(id)?;
            if matches!(head.kind, KIND_STRUCT | KIND_UNION) && self.name_is(head.name, name) {
                let size = u32_at(self.types, self.start(id)? + 8);
                return size.map(Some).ok_or(BtfError::Damaged(id));
            }
        }
        Ok(None)
    }

    /// Byte offset of a member, also of one inside anonymous structures: that is where the members
    /// are when the kernel was built with randomized structure layouts.
    fn member_offset(&self, id: usize, name: &str, depth: usize) -> Result<Option<u32>, BtfError> {
        let head = self.head(id)?;
        if depth > MAX_DEPTH || !matches!(head.kind, KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        let members = self.start(id)? + 12;
        for index in 0..head.members {
            let field = |at: usize| {
                u32_at(self.types, members + index * 12 + at).ok_or(BtfError::Damaged(id))
            };
            let (member_name, type_id, position) = (field(0)?, field(4)?, field(8)?);
            let bits = if head.has_bitfields { position & 0x00ff_ffff } else { position };
            if self.name_is(member_name, name) {
                return Ok(Some(bits / 8));
            }
            if self.name_is(member_name, "") && type_id != 0 {
                let inner = self.member_offset(type_id as usize, name, depth + 1)?;
                if let Some(inner) = inner {
                    let sum = (bits / 8).checked_add(inner).ok_or(BtfError::Damaged(id))?;
                    return Ok(Some(sum));
                }
            }
        }
        Ok(None)
    }
}

/// Bytes that follow the head of a type.
fn tail_len(head: &Head) -> Option<usize> {
    Some(match head.kind {
        // Pointers, forward declarations, type definitions, qualifiers, functions, floats, tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Enumerations, function prototypes.
        6 | 13 => head.members * 8,
        // Structures, unions, data sections, 64-bit enumerations.
        KIND_STRUCT | KIND_UNION | 15 | 19 => head.members * 12,
        _ => return None,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
