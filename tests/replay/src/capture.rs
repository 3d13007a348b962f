//! A thread at one moment: its registers, its stack, its code, and the frames that another unwinder
//! found in them.

use std::rc::Rc;

use fleetprof_abi::Architecture;

/// A thread at one moment.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Its processor.
    pub architecture: Architecture,
    /// Registers by DWARF number.
    pub registers: Vec<(u8, u64)>,
    /// Address of the instruction it was at.
    pub ip: u64,
    /// Its stack, and others that it was on before.
    pub stack: Vec<Memory>,
    /// Its code.
    pub mappings: Rc<[Mapping]>,
    /// The frames that the other unwinder found, innermost first.
    pub truth: Vec<TrueFrame>,
}

/// A piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Address of the first byte.
    pub base: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Code of a file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Position in the file of the first byte.
    pub position: u64,
    /// The file; `[vdso]` and the like for what is none.
    pub path: Rc<str>,
}

/// A frame that another unwinder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueFrame {
    /// Where it is.
    pub place: TruePlace,
    /// Its function, as far as it is known.
    pub function: String,
}

/// How another unwinder says where a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TruePlace {
    /// gdb: the address, and whether it is that of an interrupted instruction.
    Address(u64, bool),
    /// perf: the position in a file. For callers that is one byte before the return address, but not
    /// so for the trampoline of a signal.
    Position(u64, String),
}

// === impl Capture ===

impl Capture {
    /// The 8 bytes at `address`.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        self.stack.iter().find_map(|stack| stack.word(address))
    }
}

// === impl Memory ===

impl Memory {
    /// The 8 bytes at `address`.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        let from = usize::try_from(address.checked_sub(self.base)?).ok()?;
        let bytes = self.bytes.get(from..from.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// One past the last address.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.bytes.len() as u64)
    }
}

// === impl Mapping ===

impl Mapping {
    /// Position in the file of an address, which must be one of its own.
    #[must_use]
    pub fn position_of(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.position)
    }
}

/// The mapping that holds `address`.
#[must_use]
pub fn mapping_of(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
}

/// Adds a mapping; what it covers of others is gone.
pub fn map_over(mappings: &mut Vec<Mapping>, new: Mapping) {
    let mut kept = Vec::with_capacity(mappings.len() + 2);
    for old in mappings.drain(..) {
        if old.end <= new.start || new.end <= old.start {
            kept.push(old);
            continue;
        }
        if old.start < new.start {
            kept.push(Mapping { end: new.start, ..old.clone() });
        }
        if new.end < old.end {
            let position = old.position_of(new.end);
            kept.push(Mapping { start: new.end, position, ..old });
        }
    }
    kept.push(new);
    *mappings = kept;
}
