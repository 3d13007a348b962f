// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Everything the programs share, and the few lines that touch it.

use aya_ebpf::{
    Global, btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf},
};
use fleetprof_abi::{
    CACHED_RULES, CHUNK_PAGES, COUNTERS, CachedRule, MAX_CHUNKS, MAX_KERNEL_FRAMES, MAX_MAPPINGS,
    MAX_OBJECTS, MAX_PROCESSES, MAX_USER_FRAMES, MappingEntry, ObjectTable, PAGE_WORDS,
    ProcessEntry, ResultCode, Scratch, Settings, TaskOffsets, Unwinder, counter_of,
};
use fleetprof_walk::Walk;

/// The walk of the sample being taken: one value, because each look-up of a map costs.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct State {
    /// The registers of the frame that the walk has reached.
    pub walk: Walk,
    /// What the walk has around it.
    pub around: Surroundings,
}

/// Where a walk is among the maps, and the part of the stack that it read last.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Surroundings {
    /// The current mapping.
    pub mapping: MappingEntry,
    /// The table of its code.
    pub table: ObjectTable,
    /// The process's mappings.
    pub first: u32,
    pub count: u32,
    /// Whatever the verifier is to forget, see `Machine::forget`.
    pub forgotten: u32,
    pub reserved: u32,
    /// Address of the first word of `window`.
    pub window_start: u64,
    /// Part of the stack: frames are small, and to read some words costs hardly more than one.
    pub window: [u64; WINDOW_WORDS],
}

/// Words of the stack that are read at a time.
pub const WINDOW_WORDS: usize = 16;

/// A `window_start` from which no stack can be read.
pub const NO_WINDOW: u64 = 1 << 63;

/// A page of tables, in a type that Linux 6.1 accepts for a value.
pub type Page = [u64; PAGE_WORDS / 2];

/// Set by the agent before it loads the programs; constant for the verifier.
#[unsafe(no_mangle)]
pub static SETTINGS: Global<Settings> = Global::new(Settings {
    weight_ns: 0,
    wakeup_bytes: 0,
    pid: 0,
    max_stack: 0,
    task: TaskOffsets {
        group_leader: 0,
        start_boottime: 0,
        mm: 0,
        stack: 0,
        user_registers: 0,
        reserved: 0,
    },
});

/// Records for the agent. The size is the agent's choice; this one only satisfies the verifier.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Samples taken and how they ended.
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// The sample being taken.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The programs that walk user stacks, by [`Unwinder`].
#[map]
pub static UNWINDERS: ProgramArray = ProgramArray::with_max_entries(Unwinder::SLOTS, 0);

/// The program that writes the record.
#[map]
pub static OUTPUT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The walk of the sample being taken.
#[map]
pub static STATE: PerCpuArray<State> = PerCpuArray::with_max_entries(1, 0);

/// Rules that walks on this CPU found lately. A table is searched in several pages that nothing else
/// uses; a rule that is here is one cache line.
#[map]
pub static RULES: PerCpuArray<[CachedRule; CACHED_RULES]> = PerCpuArray::with_max_entries(1, 0);

/// Processes whose mappings are here, by process id.
#[map]
pub static PROCESSES: HashMap<u32, ProcessEntry> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Their mappings, each process's in a row.
#[map]
pub static MAPPINGS: Array<MappingEntry> = Array::with_max_entries(MAX_MAPPINGS, 0);

/// The objects mapped: where their tables are.
#[map]
pub static OBJECTS: Array<ObjectTable> = Array::with_max_entries(MAX_OBJECTS, 0);

/// Unwind tables, in chunks of pages that come and go.
#[btf_map]
pub static TABLES: btf_maps::ArrayOfMaps<
    btf_maps::Array<Page, { CHUNK_PAGES as usize }>,
    { MAX_CHUNKS as usize },
> = btf_maps::ArrayOfMaps::new();

/// Counts one in a slot of `COUNTS`.
#[inline(always)]
pub fn count(slot: u32) {
    if let Some(counter) = COUNTS.get_ptr_mut(slot) {
        // SAFETY: the pointer is this CPU's slot, and no other program runs on this CPU meanwhile.
        unsafe { *counter += 1 };
    }
}

/// Counts the end of a sample.
#[inline(always)]
pub fn end(code: ResultCode) {
    count(counter_of(code));
}

/// This CPU's scratch memory.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the pointer is this CPU's value, valid for any bytes, and only the program that runs
    // on this CPU now uses it.
    Some(unsafe { &mut *scratch })
}

/// This CPU's walk.
#[inline(always)]
pub fn state() -> Option<&'static mut State> {
    let state = STATE.get_ptr_mut(0)?;
    // SAFETY: as for `scratch`.
    Some(unsafe { &mut *state })
}

/// This CPU's rules.
#[inline(always)]
pub fn rules() -> Option<&'static mut [CachedRule; CACHED_RULES]> {
    let rules = RULES.get_ptr_mut(0)?;
    // SAFETY: as for `scratch`.
    Some(unsafe { &mut *rules })
}

/// Bytes the kernel's own stack walk may fill, at most `frames` frames.
///
/// The kernel clears what the walk leaves of the room it is given, so asking for no more than it
/// can fill saves time.
#[inline(always)]
pub fn stack_room(frames: usize) -> u32 {
    let frames = (SETTINGS.load().max_stack as usize).min(frames);
    (frames * size_of::<u64>()) as u32
}

const _: () = assert!(MAX_KERNEL_FRAMES <= MAX_USER_FRAMES);
