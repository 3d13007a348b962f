//! What a build met.

/// Why a rule of DWARF could not be kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Unsupported {
    /// The CFA is computed in a way that has no rule.
    CfaExpression,
    /// An offset of the CFA, or its register, is too large.
    CfaRange,
    /// The return address is in a place that has no rule.
    ReturnAddress,
    /// The caller's frame pointer cannot be told; the walk goes on without it.
    FramePointer,
    /// The caller's value of a tracked register cannot be told; the walk goes on without it.
    SavedRegister,
    /// A signal frame whose code is no trampoline of Linux: its own rules are used.
    SignalFrame,
    /// Unwind instructions that cannot be read; their functions are stops.
    Damaged,
    /// A function table of Go of an unknown format, or whose code was not found.
    Go,
}

/// Figures of a table and of its making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Functions with unwind information that were used.
    pub functions: u64,
    /// Entries that were not: discarded by the linker, outside of code, or damaged.
    pub ignored: u64,
    /// Bytes of the sections with unwind information, uncompressed.
    pub frame_bytes: u64,
    /// Bytes of code.
    pub code_bytes: u64,
    /// Bytes of code without unwind information, padding between functions not counted.
    pub unknown_bytes: u64,
    /// States that the unwind information describes, before equal neighbours are merged.
    pub states: u64,
    /// Changes of the rule from one position to the next: the rows that a plain table would have.
    pub changes: u64,
    /// Rows of the table; granules with one rule need none.
    pub rows: u64,
    /// Distinct rules.
    pub rules: u64,
    /// Granules of 256 bytes.
    pub granules: u64,
    /// Bytes of the table, whole pages.
    pub table_bytes: u64,
    /// States that could not be kept as they are, by [`Unsupported`].
    pub unsupported: [u64; Unsupported::COUNT],
}

// === impl Unsupported ===

impl Unsupported {
    /// Number of reasons.
    pub const COUNT: usize = 8;

    /// All reasons, in the order of [`Stats::unsupported`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::CfaExpression,
        Self::CfaRange,
        Self::ReturnAddress,
        Self::FramePointer,
        Self::SavedRegister,
        Self::SignalFrame,
        Self::Damaged,
        Self::Go,
    ];

    /// Name for metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CfaExpression => "cfa_expression",
            Self::CfaRange => "cfa_range",
            Self::ReturnAddress => "return_address",
            Self::FramePointer => "frame_pointer",
            Self::SavedRegister => "saved_register",
            Self::SignalFrame => "signal_frame",
            Self::Damaged => "damaged",
            Self::Go => "go",
        }
    }
}

// === impl Stats ===

impl Stats {
    /// Whether so much of the code has no unwind information that there may be more of it elsewhere,
    /// in a file with debug information.
    #[must_use]
    pub fn wants_debug_file(&self) -> bool {
        self.unknown_bytes > self.code_bytes / 16
    }

    /// Counts a state that could not be kept.
    pub(crate) fn count(&mut self, reason: Unsupported) {
        self.unsupported[reason as usize] += 1;
    }
}
