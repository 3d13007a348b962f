//! Levels of symbols as agents and collectors name them to each other.

use fleetprof_proto::v1;

use super::SymbolLevel;

// === impl SymbolLevel ===

impl SymbolLevel {
    /// `None` where nothing is said, or something that only a later version knows.
    #[must_use]
    pub fn of_wire(level: v1::SymbolLevel) -> Option<Self> {
        match level {
            v1::SymbolLevel::Unspecified => None,
            v1::SymbolLevel::Dynamic => Some(Self::Dynamic),
            v1::SymbolLevel::Functions => Some(Self::Functions),
            v1::SymbolLevel::DebugInfo => Some(Self::DebugInfo),
        }
    }
}

impl From<SymbolLevel> for v1::SymbolLevel {
    fn from(level: SymbolLevel) -> Self {
        match level {
            SymbolLevel::Dynamic => Self::Dynamic,
            SymbolLevel::Functions => Self::Functions,
            SymbolLevel::DebugInfo => Self::DebugInfo,
        }
    }
}
