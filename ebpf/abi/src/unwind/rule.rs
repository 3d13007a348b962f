//! How a frame leads to its caller: the rules that a table consists of.

use core::mem::{align_of, size_of};
/// How the canonical frame address (CFA) of a frame is found: what its stack pointer was before
/// the call that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RuleKind {
    /// There is no way: `cfa_offset` is a [`StopReason`].
    Stop = 0,
    /// The function has no caller: its return address is undefined.
    Root = 1,
    /// CFA = register + offset.
    Cfa = 2,
    /// CFA = the 8 bytes at register + `deref_offset`, plus `deref_added` (OpenSSL's assembly keeps
    /// the stack pointer that way, and functions that align their stack).
    CfaDeref = 3,
    /// A stub of a procedure linkage table: CFA = stack pointer + 8, + 8 more in a stub of 16 bytes
    /// from its byte number `cfa_offset` on.
    Plt = 4,
    /// The trampoline that a signal handler returns to: the kernel saved all registers on the stack.
    Signal = 5,
    /// CFA = register + offset as well, but the register is a frame pointer that leads to another
    /// stack, or is 0 in the outermost frame (Go's runtime).
    FramePointer = 6,
    /// Code about which nothing is known: frame pointers are tried, and the frames found that way
    /// are marked.
    Unknown = 7,
}

/// Why the table cannot tell the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StopReason {
    /// A rule of DWARF that has no place in [`Rule`].
    Unsupported = 0,
    /// The unwind information is damaged.
    Damaged = 1,
    /// Data between functions, or padding that is never executed.
    NotCode = 2,
}

/// Where the caller's frame pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FpRule {
    /// It was not changed.
    Same = 0,
    /// In memory at CFA + offset.
    AtCfa = 1,
    /// In memory at frame pointer + offset.
    AtFp = 2,
    /// It cannot be told.
    Lost = 3,
}

/// Where the return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RaRule {
    /// In memory at CFA + offset.
    AtCfa = 0,
    /// In the link register (arm64), in the innermost frame only.
    InLinkRegister = 1,
    /// In memory at frame pointer + offset.
    AtFp = 2,
    /// In the register with the DWARF number `ra_offset`, in the innermost frame only (`vfork`).
    InRegister = 3,
}

/// How to get from a frame to its caller.
///
/// Registers have their DWARF numbers. `kind`, `fp` and `ra` are numbers of [`RuleKind`],
/// [`FpRule`] and [`RaRule`], as bytes: what is read from a map may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Rule {
    /// A [`RuleKind`].
    pub kind: u8,
    /// Register that the CFA is computed from.
    pub cfa_register: u8,
    /// Low 4 bits: an [`FpRule`]; high 4 bits: an [`RaRule`].
    pub fp_ra: u8,
    /// Where the caller's values of [`Architecture::tracked`] are: in memory at CFA + 8 × this, or
    /// [`SAME_VALUE`] or [`LOST`].
    pub saved: [i8; TRACKED],
    /// See [`FpRule`]; units of 8 bytes.
    pub fp_offset: i16,
    /// See [`RaRule`]; units of 8 bytes, or the number of a register.
    pub ra_offset: i16,
    /// See [`RuleKind`]; bytes. Of [`RuleKind::CfaDeref`] two numbers, see [`Rule::deref_offset`].
    pub cfa_offset: i32,
}

/// Registers besides stack and frame pointer whose values are followed through the walk, because
/// frames further out may be found by them.
pub const TRACKED: usize = 5;

/// In [`Rule::saved`]: the function did not change the register.
pub const SAME_VALUE: i8 = i8::MIN;

/// In [`Rule::saved`]: the caller's value cannot be told.
pub const LOST: i8 = i8::MIN + 1;

/// What differs between processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Architecture {
    /// AMD64.
    X86_64 = 0,
    /// ARM, 64 bit.
    Aarch64 = 1,
}

/// Room for the registers of a frame, by DWARF number.
pub const REGISTERS: usize = 32;

// === impl Rule ===

impl Rule {
    /// Words of a rule.
    pub const WORDS: u32 = 4;

    /// A rule that ends the walk.
    #[must_use]
    pub const fn stop(reason: StopReason) -> Self {
        Self { kind: RuleKind::Stop as u8, cfa_offset: reason as i32, ..Self::EMPTY }
    }

    /// A rule without parameters.
    #[must_use]
    pub const fn plain(kind: RuleKind) -> Self {
        Self { kind: kind as u8, ..Self::EMPTY }
    }

    /// Where the frame pointer and the return address are.
    #[must_use]
    pub const fn fp_ra(fp: FpRule, ra: RaRule) -> u8 {
        fp as u8 | ((ra as u8) << 4)
    }

    /// An [`FpRule`].
    #[inline(always)]
    #[must_use]
    pub const fn fp(&self) -> u8 {
        self.fp_ra & 15
    }

    /// An [`RaRule`].
    #[inline(always)]
    #[must_use]
    pub const fn ra(&self) -> u8 {
        self.fp_ra >> 4
    }

    /// What [`RuleKind::CfaDeref`] has in `cfa_offset`: where to read, and what to add to it.
    #[must_use]
    pub const fn deref(offset: i16, added: i16) -> i32 {
        (added as i32) << 16 | (offset as u16 as i32)
    }

    /// Of [`RuleKind::CfaDeref`]: bytes from the register to where the CFA is read.
    #[inline(always)]
    #[must_use]
    pub const fn deref_offset(&self) -> i16 {
        self.cfa_offset as i16
    }

    /// Of [`RuleKind::CfaDeref`]: bytes to add to what was read.
    #[inline(always)]
    #[must_use]
    pub const fn deref_added(&self) -> i16 {
        (self.cfa_offset >> 16) as i16
    }

    /// The rule as a table has it.
    #[must_use]
    pub const fn to_words(self) -> [u32; Self::WORDS as usize] {
        let [a, b, c, d, e] = self.saved;
        let [f0, f1] = self.fp_offset.to_le_bytes();
        let [r0, r1] = self.ra_offset.to_le_bytes();
        [
            u32::from_le_bytes([self.kind, self.cfa_register, self.fp_ra, a as u8]),
            u32::from_le_bytes([b as u8, c as u8, d as u8, e as u8]),
            u32::from_le_bytes([f0, f1, r0, r1]),
            self.cfa_offset as u32,
        ]
    }

    /// The rule that a table has.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; Self::WORDS as usize]) -> Self {
        let [kind, cfa_register, fp_ra, a] = words[0].to_le_bytes();
        let [b, c, d, e] = words[1].to_le_bytes();
        Self {
            kind,
            cfa_register,
            fp_ra,
            saved: [a as i8, b as i8, c as i8, d as i8, e as i8],
            fp_offset: words[2] as i16,
            ra_offset: (words[2] >> 16) as i16,
            cfa_offset: words[3] as i32,
        }
    }

    const EMPTY: Self = Self {
        kind: 0,
        cfa_register: 0,
        fp_ra: 0,
        saved: [SAME_VALUE; TRACKED],
        fp_offset: 0,
        ra_offset: 0,
        cfa_offset: 0,
    };
}

// === impl Architecture ===

impl Architecture {
    /// The processor this is compiled for; x86-64 where it is none that is supported.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// DWARF number of the stack pointer.
    #[inline(always)]
    #[must_use]
    pub const fn stack_pointer(self) -> u8 {
        match self {
            Self::X86_64 => 7,
            Self::Aarch64 => 31,
        }
    }

    /// DWARF number of the frame pointer.
    #[inline(always)]
    #[must_use]
    pub const fn frame_pointer(self) -> u8 {
        match self {
            Self::X86_64 => 6,
            Self::Aarch64 => 29,
        }
    }

    /// DWARF number of the return address: `rip`, or the link register.
    #[inline(always)]
    #[must_use]
    pub const fn return_address(self) -> u8 {
        match self {
            Self::X86_64 => 16,
            Self::Aarch64 => 30,
        }
    }

    /// DWARF numbers of the registers in [`Rule::saved`].
    #[inline(always)]
    #[must_use]
    pub const fn tracked(self) -> [u8; TRACKED] {
        match self {
            // rbx, r12 to r15
            Self::X86_64 => [3, 12, 13, 14, 15],
            Self::Aarch64 => [19, 20, 21, 22, 23],
        }
    }
}

const _: () = assert!(size_of::<Rule>() == 16 && align_of::<Rule>() == 4);
