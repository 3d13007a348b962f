//! The processes whose mappings are in the kernel's memory.
//!
//! In: what a sampled process maps. Out: entries in the kernel's maps. Processes that were forked
//! from one another and map the same share their entries.

use std::sync::{Arc, Weak};

use fleetprof_abi::{MAX_MAPPINGS, MAX_PROCESSES, MappingEntry, NO_OBJECT, ProcessEntry};
use fleetprof_proto::ids::{ObjectId, ObjectKind};
use rustc_hash::FxHashMap;
use tracing::debug;

use super::{
    arena::{Arena, Run},
    kernel::KernelSide,
    objects::{ObjectNumber, Objects},
};
use crate::{
    object::CodeObject,
    process::{Bound, Mapping, MappingSet},
    sampler::SamplerError,
};

/// Which program of which process: a pid alone names many, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Process id.
    pub(super) pid: u32,
    /// Start of the process, `CLOCK_BOOTTIME` nanoseconds.
    pub(super) start_ns: u64,
    /// Address of its memory descriptor.
    pub(super) mm: u64,
}

/// The processes in the kernel's memory.
pub(super) struct Processes {
    by_pid: FxHashMap<u32, Known>,
    /// By the number of their first entry.
    runs: FxHashMap<u32, SharedRun>,
    /// By the address of the set it was made from.
    by_set: FxHashMap<usize, u32>,
    entries: Arena,
    evicted: u64,
}

struct Known {
    program: Program,
    first: u32,
}

/// Entries that some processes share.
struct SharedRun {
    /// While it can be upgraded, its address is that of this set and of no other.
    set: Weak<MappingSet>,
    address: usize,
    run: Run,
    objects: Vec<ObjectNumber>,
    processes: u32,
}

// === impl Processes ===

impl Default for Processes {
    fn default() -> Self {
        Self {
            by_pid: FxHashMap::default(),
            runs: FxHashMap::default(),
            by_set: FxHashMap::default(),
            entries: Arena::new(MAX_MAPPINGS),
            evicted: 0,
        }
    }
}

impl Processes {
    /// Whether the kernel knows what a process of this id maps.
    pub(super) fn has(&self, pid: u32) -> bool {
        self.by_pid.contains_key(&pid)
    }

    /// Whether the kernel knows what this program maps.
    pub(super) fn knows(&self, program: Program) -> bool {
        self.by_pid.get(&program.pid).is_some_and(|known| known.program == program)
    }

    /// Puts a program's mappings into the kernel's memory.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is known of the process then.
    pub(super) fn add(
        &mut self,
        program: Program,
        bound: &Bound,
        objects: &mut Objects,
        kernel: &impl KernelSide,
    ) -> Result<(), SamplerError> {
        self.remove(program.pid, objects, kernel);
        let run = match self.run_of(bound.mappings()) {
            Some(run) => run,
            None => self.fill(bound, objects, kernel)?,
        };
        let Some(shared) = self.runs.get_mut(&run.first) else { return Ok(()) };
        shared.processes += 1;
        let entry = ProcessEntry {
            start_boottime_ns: program.start_ns,
            mm: program.mm,
            used_ns: 0,
            first: run.first,
            count: run.count,
        };
        self.by_pid.insert(program.pid, Known { program, first: run.first });
        let added = kernel.set_process(program.pid, entry);
        if added.is_err() {
            self.remove(program.pid, objects, kernel);
        }
        added
    }

    /// Forgets a process: it ended, or maps something else now.
    pub(super) fn remove(&mut self, pid: u32, objects: &mut Objects, kernel: &impl KernelSide) {
        let Some(known) = self.by_pid.remove(&pid) else { return };
        kernel.remove_process(pid);
        if let Some(shared) = self.runs.get_mut(&known.first) {
            shared.processes -= 1;
            if shared.processes == 0 {
                self.drop_run(known.first, objects);
            }
        }
    }

    /// Forgets all: what they map is not certain any more.
    pub(super) fn clear(&mut self, objects: &mut Objects, kernel: &impl KernelSide) {
        let pids: Vec<u32> = self.by_pid.keys().copied().collect();
        for pid in pids {
            self.remove(pid, objects, kernel);
        }
    }

    /// Says that no walk is under way any more that was at the call before.
    pub(super) fn settle(&mut self) {
        self.entries.settle();
    }

    /// How many are known, and how many made way for others.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.by_pid.len(), self.evicted)
    }

    /// The entries that were made from this very set.
    fn run_of(&self, set: &Arc<MappingSet>) -> Option<Run> {
        let first = self.by_set.get(&(Arc::as_ptr(set) as usize))?;
        let shared = self.runs.get(first)?;
        let is_same = shared.set.upgrade().is_some_and(|shared| Arc::ptr_eq(&shared, set));
        is_same.then_some(shared.run)
    }

    fn fill(
        &mut self,
        bound: &Bound,
        objects: &mut Objects,
        kernel: &impl KernelSide,
    ) -> Result<Run, SamplerError> {
        let set = bound.mappings();
        // Each run has an entry at least, and so a number of its own.
        let count = u32::try_from(set.len().max(1)).unwrap_or(u32::MAX);
        if self.by_pid.len() + 1 >= MAX_PROCESSES as usize {
            self.evict(objects, kernel);
        }
        let Some(run) = self.entries.take(count) else {
            // What is freed can be used at the next attempt.
            self.evict(objects, kernel);
            return Err(SamplerError::NoRoom { what: "mappings of processes" });
        };
        let mut used = Vec::new();
        let entries = set.iter().map(|mapping| {
            let object = bound.object(mapping);
            let number = number_of(mapping, &object, objects, kernel);
            (number, entry_of(mapping, &object, number))
        });
        let entries: Vec<_> = entries.collect();
        used.extend(entries.iter().filter_map(|(number, _)| *number));
        // A run of none says so: the last entry is left from before.
        let nothing = MappingEntry { object: NO_OBJECT, ..MappingEntry::default() };
        let filled = entries.iter().map(|(_, entry)| *entry);
        for (index, entry) in (run.first..).zip(filled.chain(set.is_empty().then_some(nothing))) {
            if let Err(error) = kernel.set_mapping(index, entry) {
                self.entries.release(run);
                used.into_iter().for_each(|number| objects.release(number));
                return Err(error);
            }
        }
        let address = Arc::as_ptr(set) as usize;
        self.by_set.insert(address, run.first);
        let set = Arc::downgrade(set);
        self.runs.insert(run.first, SharedRun { set, address, run, objects: used, processes: 0 });
        Ok(run)
    }

    /// Gives back entries that no process refers to any more.
    fn drop_run(&mut self, first: u32, objects: &mut Objects) {
        if let Some(shared) = self.runs.remove(&first) {
            if self.by_set.get(&shared.address) == Some(&first) {
                self.by_set.remove(&shared.address);
            }
            self.entries.release(shared.run);
            shared.objects.into_iter().for_each(|number| objects.release(number));
        }
    }

    /// Forgets the quarter of the processes that were not sampled for longest.
    fn evict(&mut self, objects: &mut Objects, kernel: &impl KernelSide) {
        let used = |pid: &u32| (kernel.process(*pid).map_or(0, |entry| entry.used_ns), *pid);
        let mut pids: Vec<(u64, u32)> = self.by_pid.keys().map(used).collect();
        pids.sort_unstable();
        let gone = pids.len().div_ceil(4);
        for (_, pid) in pids.into_iter().take(gone) {
            self.remove(pid, objects, kernel);
        }
        self.evicted += gone as u64;
        debug!(gone, "processes forgotten to make room in the kernel's maps");
    }
}

/// The number of the object behind a mapping; `None` when there is none with a table.
pub(super) fn number_of(
    mapping: &Mapping,
    object: &CodeObject,
    objects: &mut Objects,
    kernel: &impl KernelSide,
) -> Option<ObjectNumber> {
    let kind = object.kind();
    if !matches!(kind, ObjectKind::File | ObjectKind::Vdso) || mapping.start >= mapping.end {
        return None;
    }
    let id = ObjectId { kind, build_id: object.build_id()?.clone() };
    objects.number(&id, kernel)
}

/// Address − bias = position in the object.
pub(super) fn bias_of(mapping: &Mapping, object: &CodeObject) -> u64 {
    match object.kind() {
        ObjectKind::File => mapping.start.wrapping_sub(mapping.file_offset),
        _ => mapping.start,
    }
}

fn entry_of(mapping: &Mapping, object: &CodeObject, number: Option<ObjectNumber>) -> MappingEntry {
    MappingEntry {
        start: mapping.start,
        end: mapping.end,
        bias: bias_of(mapping, object),
        object: number.map_or(NO_OBJECT, |number| number.0),
        reserved: 0,
    }
}
