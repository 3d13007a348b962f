//! Kernel addresses to objects. Pure.

use std::{ops::Range, sync::Arc};

use fleetprof_proto::ids::ObjectId;

use crate::object::CodeObject;

/// A piece of kernel code.
#[derive(Clone, Debug)]
pub struct Code {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// What offsets are relative to.
    pub base: u64,
    /// The object it is to the fleet.
    pub object: Arc<CodeObject>,
    pub(super) source: Source,
}

/// Where the symbols of a piece of code come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// kallsyms; of the kernel image when `module` is `None`.
    Kallsyms { module: Option<Vec<u8>> },
    /// The listing itself: generated code is one function.
    Generated(Vec<u8>),
}

/// All kernel code whose place is known, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct KernelMap {
    /// By start.
    codes: Vec<Code>,
    /// Functions through which system calls enter the kernel.
    entries: Vec<Range<u64>>,
    /// Why nothing is known.
    pub(super) unavailable: Option<String>,
}

/// The entry of a system call is among the outermost frames; stubs of the unwinder may stand before.
const OUTERMOST: usize = 4;

// === impl KernelMap ===

impl KernelMap {
    pub(super) fn new(mut codes: Vec<Code>, entries: Vec<Range<u64>>) -> Self {
        codes.sort_by_key(|code| code.start);
        // A module's size counts its data too, which lies elsewhere: where the next one begins, it ends.
        for next in 1..codes.len() {
            let start = codes[next].start;
            codes[next - 1].end = codes[next - 1].end.min(start);
        }
        codes.retain(|code| code.start < code.end);
        Self { codes, entries, unavailable: None }
    }

    pub(super) fn unavailable(why: String) -> Self {
        Self { unavailable: Some(why), ..Self::default() }
    }

    /// The code at an address.
    pub fn find(&self, address: u64) -> Option<&Code> {
        let index = self.codes.partition_point(|code| code.end <= address);
        self.codes.get(index).filter(|code| code.start <= address)
    }

    /// Whether these kernel frames (innermost first) were entered by a system call, not by an
    /// interrupt or a fault.
    pub fn is_system_call(&self, frames: &[u64]) -> bool {
        let outermost = frames.len().saturating_sub(OUTERMOST);
        frames[outermost..].iter().any(|address| {
            self.entries.iter().any(|entry| entry.contains(&address.wrapping_sub(1)))
        })
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether no kernel code is known.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// All code, in order of address.
    pub fn iter(&self) -> impl Iterator<Item = &Code> {
        self.codes.iter()
    }

    pub(super) fn find_object(&self, id: &ObjectId) -> Option<&Code> {
        self.codes.iter().find(|code| {
            code.object.kind() == id.kind && code.object.build_id() == Some(&id.build_id)
        })
    }

    pub(super) fn same_places(&self, other: &Self) -> bool {
        self.codes.len() == other.codes.len()
            && self.codes.iter().zip(&other.codes).all(|(one, other)| one.is_same(other))
    }

    /// Keeps the objects that `old` has already, so that caches by serial number stay right.
    pub(super) fn with_objects_of(mut self, old: &Self) -> Self {
        for code in &mut self.codes {
            if let Some(known) = old.find(code.start).filter(|known| known.is_same(code)) {
                code.object = Arc::clone(&known.object);
            }
        }
        self
    }
}

impl Code {
    fn is_same(&self, other: &Self) -> bool {
        (self.start, self.base) == (other.start, other.base)
            && self.object.kind() == other.object.kind()
            && self.object.build_id() == other.object.build_id()
            && self.object.path() == other.object.path()
    }
}

#[cfg(test)]
mod tests;
