//! Records, codes and limits that the kernel side and the agent share.
//!
//! In: nothing. Out: plain `repr(C)` values with asserted layouts. It holds no logic beyond looking
//! up a code's name, and nothing that needs `std`, so the same source compiles for `bpfel` and the host.
#![no_std]
#![forbid(unsafe_code)]

mod counter;
mod result;
mod sample;
mod unwind;

pub use counter::{COUNTERS, TAKEN, counter_of};
pub use result::{Fate, ResultCode};
pub use sample::{
    COMM_LEN, MAX_FRAMES, MAX_KERNEL_FRAMES, MAX_RECORD_LEN, MAX_STACK_BYTES, MAX_USER_FRAMES,
    RED_ZONE_BYTES, SampleHeader, Scratch, Settings, TaskOffsets, Unwinder, WALK_BYTES,
};
pub use unwind::{
    Architecture, CACHED_RULES, CHUNK_PAGES, CachedRule, FpRule, GRANULE_BYTES, GRANULE_SHIFT,
    IndexWord, LOST, MAX_CHUNKS, MAX_MAPPINGS, MAX_NUMBER, MAX_OBJECTS, MAX_PROCESSES,
    MappingEntry, NO_OBJECT, ObjectState, ObjectTable, PAGE_WORDS, ProcessEntry, REGISTERS, RaRule,
    Row, Rule, RuleKind, SAME_VALUE, StopReason, TRACKED,
};

#[cfg(test)]
mod tests;
