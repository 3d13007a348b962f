//! How much is known of the objects that are there, so that an offer costs no look into files.
//!
//! What is not told here of a change is too low: then an agent is asked in vain once, and what it is
//! answered sets it right.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fleetprof_proto::ids::ObjectId;
use fleetprof_symbolizer::identity::SymbolLevel;

use crate::objects::{Catalog, catalog::Format};

/// Levels that were looked up, at most one for each object that is there. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    catalog: Catalog,
    known: Arc<Mutex<HashMap<ObjectId, SymbolLevel>>>,
}

// === impl Levels ===

impl Levels {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self { catalog, known: Arc::default() }
    }

    /// What is there of an object, its debug file included; `None` when the object is not.
    pub(super) fn of(&self, id: &ObjectId) -> Option<SymbolLevel> {
        if !self.catalog.contains(id) {
            return None;
        }
        if let Some(level) = self.lock().get(id) {
            return Some(*level);
        }
        let has = |level: &SymbolLevel| {
            let formats = [Format::Debug, Format::Elf];
            formats.into_iter().any(|format| self.catalog.has_as_good(id, format, *level))
        };
        let found = [SymbolLevel::DebugInfo, SymbolLevel::Functions].into_iter().find(has);
        let level = found.unwrap_or(SymbolLevel::Dynamic);
        self.lock().insert(id.clone(), level);
        Some(level)
    }

    /// Its files have changed.
    pub(super) fn forget(&self, id: &ObjectId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, SymbolLevel>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
