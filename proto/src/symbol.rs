//! What the symbolizer answers for an address: source lines, or the reason why there are none.

use std::{fmt, sync::Arc};

/// One source-level frame of an address. An address in inlined code has several, innermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Function name for people: demangled.
    pub name: Arc<str>,
    /// Function name as it stands in the symbol table or the debug information.
    pub system_name: Arc<str>,
    /// Source file.
    pub file: Option<Arc<str>>,
    /// Source line, 1-based; 0 when unknown.
    pub line: u32,
    /// Source column, 1-based; 0 when unknown.
    pub column: u32,
}

/// Why an address has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The object has not been uploaded (yet).
    NoObject,
    /// The object is there; its symbol table is still being made.
    NotReady,
    /// The object has no symbols at all.
    NoSymbols,
    /// The object has symbols, but none covers this offset.
    NotCovered,
    /// The object is damaged or is not what it claims to be.
    BadObject,
    /// The object is of a kind that cannot be symbolized.
    Unsupported,
    /// No executable mapping contained the address.
    NoMapping,
    /// The process was gone before its mappings could be read.
    ProcessGone,
    /// The file could not be opened or identified on the host.
    NoBuildId,
    /// The host could not read its kernel's symbols.
    NoKernelSymbols,
    /// Executable memory with no file behind it, as JIT compilers make.
    Anonymous,
}

/// The answer for one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// At least one line, innermost first: the last is the function whose code it is, those before
    /// it were inlined into their successor.
    Named(Vec<Line>),
    /// No name, and why.
    Unknown(Reason),
}

// === impl Reason ===

impl Reason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoObject,
        Self::NotReady,
        Self::NoSymbols,
        Self::NotCovered,
        Self::BadObject,
        Self::Unsupported,
        Self::NoMapping,
        Self::ProcessGone,
        Self::NoBuildId,
        Self::NoKernelSymbols,
        Self::Anonymous,
    ];

    /// The reason with this short name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// A short stable name for labels and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoObject => "no_object",
            Self::NotReady => "not_ready",
            Self::NoSymbols => "no_symbols",
            Self::NotCovered => "not_covered",
            Self::BadObject => "bad_object",
            Self::Unsupported => "unsupported",
            Self::NoMapping => "no_mapping",
            Self::ProcessGone => "process_gone",
            Self::NoBuildId => "no_build_id",
            Self::NoKernelSymbols => "no_kernel_symbols",
            Self::Anonymous => "anonymous",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoObject => "its object has not been uploaded",
            Self::NotReady => "its symbol table is still being made",
            Self::NoSymbols => "its object has no symbols",
            Self::NotCovered => "no symbol of its object covers it",
            Self::BadObject => "its object is damaged",
            Self::Unsupported => "its kind of object cannot be symbolized",
            Self::NoMapping => "no mapping contained it",
            Self::ProcessGone => "the process was gone before its mappings were read",
            Self::NoBuildId => "its file could not be identified",
            Self::NoKernelSymbols => "the host cannot read kernel symbols",
            Self::Anonymous => "it is generated code",
        })
    }
}
