//! One frame of a batch, as readers see it.

use std::sync::Arc;

use super::SourceName;
use crate::{
    ids::{BuildId, ObjectId, ObjectKind},
    symbol::{Line, Reason, Symbol},
    v1,
};

/// One frame of a batch.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    /// Row of its object.
    pub object: usize,
    /// What the offset is relative to.
    pub kind: ObjectKind,
    /// The object's build ID where it is known.
    pub build_id: Option<&'a BuildId>,
    /// Path or name of the object, empty when unknown.
    pub path: &'a str,
    /// Offset in the object, or the raw address where the object is unknown.
    pub offset: u64,
    /// Why the host could not resolve it; `Unspecified` when it could.
    pub reason: v1::UnresolvedReason,
    /// The name that its host has for it; offset and reason are 0 then.
    pub name: Option<SourceName<'a>>,
}

// === impl FrameRef ===

impl FrameRef<'_> {
    /// What to show when nobody but the host has a name: the host's, else `module+0xoffset` or the
    /// bare address.
    pub fn fallback_name(&self) -> String {
        if let Some(name) = self.name {
            return name.function.to_owned();
        }
        match self.path.rsplit('/').next().unwrap_or_default() {
            "" => format!("0x{:x}", self.offset),
            module => format!("{module}+0x{:x}", self.offset),
        }
    }

    /// The object to look the offset up in.
    ///
    /// # Errors
    /// The answer where there is nothing to look up: the host's name, or its reason for having none.
    pub fn locate(&self) -> Result<ObjectId, Symbol> {
        if let Some(name) = self.name {
            return Err(named(name));
        }
        identity(self.kind, self.build_id).ok_or(Symbol::Unknown(match (self.kind, self.reason) {
            (ObjectKind::Anonymous, _) => Reason::Anonymous,
            (_, v1::UnresolvedReason::ProcessGone) => Reason::ProcessGone,
            (_, v1::UnresolvedReason::NoKernelSymbols) => Reason::NoKernelSymbols,
            (ObjectKind::Unknown, _) => Reason::NoMapping,
            _ => Reason::NoBuildId,
        }))
    }
}

/// Runtimes have names for people: there is nothing to demangle.
fn named(name: SourceName<'_>) -> Symbol {
    let function: Arc<str> = name.function.into();
    Symbol::Named(vec![Line {
        name: Arc::clone(&function),
        system_name: function,
        file: name.file.map(Into::into),
        line: name.line,
        column: 0,
    }])
}

/// Only code that other hosts may have too has an identity.
pub(super) fn identity(kind: ObjectKind, build_id: Option<&BuildId>) -> Option<ObjectId> {
    match kind {
        ObjectKind::Unknown | ObjectKind::Anonymous => None,
        kind => Some(ObjectId { kind, build_id: build_id?.clone() }),
    }
}
