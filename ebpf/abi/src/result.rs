//! How a sample can end: one table from which number, name, sentence and counter all come.

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A record reached the ring buffer.
    Delivered,
    /// The sample was counted and lost in the kernel.
    Dropped,
}

macro_rules! result_codes {
    ($($variant:ident = $number:literal, $name:literal, $fate:ident, $sentence:literal;)+) => {
        /// How a sample ended. Every sample ends in exactly one.
        ///
        /// The numbers are stable: they travel to the collector and are stored. A code that falls
        /// out of use keeps its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ResultCode {
            $(#[doc = $sentence] $variant = $number,)+
        }

        impl ResultCode {
            /// Every code, ordered by number; `ALL[n].number() == n`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code with this number, `None` for a number this version does not know.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Stable `snake_case` name, used as a metric label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }

            /// Whether a sample with this code leaves the kernel.
            #[must_use]
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)+ }
            }
        }
    };
}

result_codes! {
    Complete = 0, "complete", Delivered,
        "The stack was walked to its root.";
    KernelOnly = 1, "kernel_only", Delivered,
        "A thread of the kernel, or one that is exiting: the kernel stack is the whole stack.";
    FramePointers = 2, "frame_pointers", Delivered,
        "User frames come from frame pointers; callers of code built without them can be missing.";
    UserTruncated = 3, "user_truncated", Delivered,
        "The user stack is deeper than the limit; its outermost frames are missing.";
    KernelTruncated = 4, "kernel_truncated", Delivered,
        "The kernel stack is deeper than the limit; its outermost frames are missing.";
    UserUnreadable = 5, "user_unreadable", Delivered,
        "The registers or the memory of the user stack could not be read; only kernel frames are known.";
    KernelUnreadable = 6, "kernel_unreadable", Delivered,
        "The kernel stack could not be read; only user frames are known.";
    NoUnwinder = 7, "no_unwinder", Delivered,
        "No unwinder program could be called; user frames are missing.";
    RingFull = 8, "ring_full", Dropped,
        "The ring buffer had no room, or was locked by an interrupted writer.";
    NoOutput = 9, "no_output", Dropped,
        "The program that writes the record could not be called.";
    NoScratch = 10, "no_scratch", Dropped,
        "The per-CPU scratch memory was not there.";
    Malformed = 11, "malformed", Dropped,
        "The record's lengths did not fit its limits.";
    StackCopied = 12, "stack_copied", Delivered,
        "The stack was copied for the agent to walk it: the tables of its code were not in the kernel yet.";
    NoMapping = 13, "no_mapping", Delivered,
        "A return address lies outside of all code of the process: the outermost frames are missing.";
    NoUnwindInfo = 14, "no_unwind_info", Delivered,
        "Code without unwind information keeps no frame pointer: the outermost frames are missing.";
    UnsupportedRule = 15, "unsupported_rule", Delivered,
        "The unwind information has a rule that cannot be followed: the outermost frames are missing.";
    BadUnwindInfo = 16, "bad_unwind_info", Delivered,
        "The unwind information is damaged, or there is data where code should be: the outermost frames are missing.";
    RegisterLost = 17, "register_lost", Delivered,
        "A frame is found by a register whose value is not known: the outermost frames are missing.";
    BadFrame = 18, "bad_frame", Delivered,
        "A frame does not lie further out than the one it called: the outermost frames are missing.";
    CopyTooShort = 19, "copy_too_short", Delivered,
        "The copied part of the stack does not reach its root: the outermost frames are missing.";
    TableLate = 20, "table_late", Delivered,
        "The tables of the code were not ready in time: the outermost frames are missing.";
    NoRegisters = 21, "no_registers", Delivered,
        "The registers of the user stack were not where this kernel keeps them: user frames are missing.";
    MappingChanged = 22, "mapping_changed", Delivered,
        "Other code was mapped where a frame is, and its callers were found by the tables of the old code: they are left out.";
}

impl ResultCode {
    /// Number on the wire and in the kernel.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}
