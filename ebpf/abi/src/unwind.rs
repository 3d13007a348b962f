//! Unwind tables as the walk reads them, in the kernel and in the agent.
//!
//! A table says for every position in a file how to get from a frame to its caller. It is a run of
//! 32-bit words in pages of [`PAGE_WORDS`], of three parts:
//!
//! ```text
//! rules   4 words each: the distinct ways to unwind of this file (`Rule`)
//! index   1 word for every 256 bytes of the file (a granule), from `first_granule` on
//! rows    1 word each: where within a granule another rule begins
//! ```
//!
//! Most granules need one rule, and then the index word is all: two memory accesses give the rule.
//! The rows of a granule lie in one page, so that a search needs one page only.

use core::mem::{align_of, size_of};

mod rule;

pub use rule::{
    Architecture, FpRule, LOST, REGISTERS, RaRule, Rule, RuleKind, SAME_VALUE, StopReason, TRACKED,
};

/// Words in a page of a table, of 4 bytes each.
pub const PAGE_WORDS: usize = 1024;

/// Pages in a chunk: the unit in which the kernel gives memory for tables.
pub const CHUNK_PAGES: u32 = 256;

/// Most chunks there can be: 1 GiB of tables.
pub const MAX_CHUNKS: u32 = 1024;

/// Logarithm of the bytes of code in a granule.
pub const GRANULE_SHIFT: u32 = 8;

/// Bytes of code in a granule.
pub const GRANULE_BYTES: u64 = 1 << GRANULE_SHIFT;

/// Most rules of a table, and most rows: their numbers have 24 bits.
pub const MAX_NUMBER: u32 = (1 << 24) - 1;

/// Most objects with a table, or waiting for one, at a time.
pub const MAX_OBJECTS: u32 = 16 * 1024;

/// Most processes whose mappings the kernel side knows.
pub const MAX_PROCESSES: u32 = 16 * 1024;

/// Most mappings of all these processes together.
pub const MAX_MAPPINGS: u32 = 64 * 1024;

/// A word of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct IndexWord(pub u32);

/// A row: from the byte `low` of a granule on, rule `rule` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Row(pub u32);

/// An object's table in the kernel: where its parts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ObjectTable {
    /// When a walk last used it, `CLOCK_BOOTTIME` nanoseconds, to within a second.
    pub used_ns: u64,
    /// An [`ObjectState`], and the table's [number](Self::number).
    pub state: u32,
    /// First page of the table.
    pub first_page: u32,
    /// Position in the file, divided by 256, of the first granule.
    pub first_granule: u32,
    /// Granules.
    pub granules: u32,
    /// Word at which the index begins, counted from the first page.
    pub index: u32,
    /// Word at which the rows begin.
    pub rows: u32,
}

/// A rule that a walk found lately: one of a cache that is looked into before the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CachedRule {
    /// Position in the file.
    pub position: u64,
    /// [Number](ObjectTable::number) of the table; 0: nothing is here.
    pub table: u32,
    /// Keeps the layout free of implicit padding; zero.
    pub reserved: u32,
    /// The rule, as a table has it.
    pub rule: [u32; Rule::WORDS as usize],
}

/// Rules that a cache holds: the kernel limits a per-CPU value to 32 KiB.
pub const CACHED_RULES: usize = 1024;

/// Whether an object has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ObjectState {
    /// Not yet, or not any more: samples that need it have their stack copied.
    Missing = 0,
    /// It can be used.
    Ready = 1,
    /// It has no unwind information, or that could not be read: frame pointers are tried.
    Failed = 2,
}

/// A range of a process's memory that holds code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MappingEntry {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Address − `bias` = position in the object's file.
    pub bias: u64,
    /// Number of the object; [`NO_OBJECT`] for code without a file.
    pub object: u32,
    /// Keeps the layout free of implicit padding; zero.
    pub reserved: u32,
}

/// In [`MappingEntry::object`]: generated code, frame pointers are tried.
pub const NO_OBJECT: u32 = u32::MAX;

/// A process whose mappings the kernel side knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessEntry {
    /// Start of the process, `CLOCK_BOOTTIME` nanoseconds; another one is another process.
    pub start_boottime_ns: u64,
    /// Address of its `mm_struct`: another one is another program.
    pub mm: u64,
    /// When a walk last used it, as in [`ObjectTable`].
    pub used_ns: u64,
    /// Its first mapping; they are in order of address.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

// === impl IndexWord ===

impl IndexWord {
    /// The whole granule has one rule.
    #[must_use]
    pub const fn whole(rule: u32) -> Self {
        Self(rule & MAX_NUMBER)
    }

    /// The granule has `count` rows, 2 to 256, from row number `first` on.
    #[must_use]
    pub const fn rows(first: u32, count: u32) -> Self {
        Self(((count - 1) << 24) | (first & MAX_NUMBER))
    }

    /// Rows, or 0 when the granule has one rule.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        let more = self.0 >> 24;
        if more == 0 { 0 } else { more + 1 }
    }

    /// Number of the rule, or of the first row.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 & MAX_NUMBER
    }
}

// === impl Row ===

impl Row {
    /// From byte `low` of the granule on, `rule` holds.
    #[must_use]
    pub const fn new(low: u8, rule: u32) -> Self {
        Self(((low as u32) << 24) | (rule & MAX_NUMBER))
    }

    /// First byte of the granule it is for.
    #[inline(always)]
    #[must_use]
    pub const fn low(self) -> u32 {
        self.0 >> 24
    }

    /// Number of the rule.
    #[inline(always)]
    #[must_use]
    pub const fn rule(self) -> u32 {
        self.0 & MAX_NUMBER
    }
}

// === impl ObjectTable ===

impl ObjectTable {
    /// Bits of the state.
    const STATE_BITS: u32 = 8;

    /// Most tables that can be told apart by their number.
    pub const MAX_NUMBER: u32 = u32::MAX >> Self::STATE_BITS;

    /// A state, with the number of the table.
    #[must_use]
    pub const fn state_with(state: ObjectState, number: u32) -> u32 {
        state as u32 | (number << Self::STATE_BITS)
    }

    /// An [`ObjectState`], as a number.
    #[inline(always)]
    #[must_use]
    pub const fn state(&self) -> u32 {
        self.state & ((1 << Self::STATE_BITS) - 1)
    }

    /// Which table it is, of all that were ever here; 0 where there is none.
    #[inline(always)]
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.state >> Self::STATE_BITS
    }
}

// === impl CachedRule ===

impl CachedRule {
    /// Where in a cache the rule for a position of a table may be.
    #[inline(always)]
    #[must_use]
    pub const fn slot(table: u32, position: u64) -> usize {
        // Fibonacci hashing: neighbours of the same code spread over the whole.
        let hash = (position as u32 ^ table.rotate_left(16)).wrapping_mul(0x9e37_79b1);
        (hash >> (u32::BITS - CACHED_RULES.trailing_zeros())) as usize
    }
}

const _: () = {
    assert!(size_of::<ObjectTable>() == 32 && align_of::<ObjectTable>() == 8);
    assert!(size_of::<CachedRule>() == 32 && align_of::<CachedRule>() == 8);
    assert!(CACHED_RULES.is_power_of_two() && CACHED_RULES * size_of::<CachedRule>() <= 32 * 1024);
    assert!(size_of::<MappingEntry>() == 32 && align_of::<MappingEntry>() == 8);
    assert!(size_of::<ProcessEntry>() == 32 && align_of::<ProcessEntry>() == 8);
    // A granule's rows fit a page.
    assert!(GRANULE_BYTES as usize <= PAGE_WORDS);
};
