//! Symbol tables and kernel listings that are open, the most recently used ones within a bound.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fleetprof_proto::{ids::ObjectId, symbol::Symbol};
use fleetprof_symbolizer::{KernelListing, ListingError, TableFile, TableFileError};

/// Most that are open: each is a mapping, of which a process may have some 65,000.
const MAX_OPEN: usize = 16 * 1024;

/// What is open.
#[derive(Debug)]
pub(super) struct Tables {
    max_bytes: u64,
    state: Mutex<State>,
}

/// Something that names addresses of an object.
#[derive(Clone, Debug)]
pub(super) enum Names {
    Table(Arc<TableFile>),
    Listing(Arc<KernelListing>),
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<ObjectId, Open>,
    clock: u64,
}

#[derive(Debug)]
struct Open {
    revision: u64,
    names: Names,
    last_used: u64,
}

// === impl Tables ===

impl Tables {
    /// Keeps at most about so many bytes, and always the last one.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    /// The table of an object in a file, of which the revision is known.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn table(
        &self,
        id: &ObjectId,
        path: &Path,
        revision: u64,
    ) -> Result<Names, TableFileError> {
        if let Some(names) = self.known(id, revision) {
            return Ok(names);
        }
        // Without the lock: others go on meanwhile. Two may open the same one, which does no harm.
        let names = Names::Table(Arc::new(TableFile::open(path)?));
        self.keep(id, revision, &names);
        Ok(names)
    }

    /// The listing of a kernel's symbols in a file, which never changes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn listing(&self, id: &ObjectId, path: &Path) -> Result<Names, ListingError> {
        if let Some(names) = self.known(id, 0) {
            return Ok(names);
        }
        let names = Names::Listing(Arc::new(KernelListing::open(path)?));
        self.keep(id, 0, &names);
        Ok(names)
    }

    fn known(&self, id: &ObjectId, revision: u64) -> Option<Names> {
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        let open = state.open.get_mut(id).filter(|open| open.revision == revision)?;
        open.last_used = now;
        Some(open.names.clone())
    }

    fn keep(&self, id: &ObjectId, revision: u64, names: &Names) {
        let mut state = self.lock();
        state.clock += 1;
        let open = Open { revision, names: names.clone(), last_used: state.clock };
        state.open.insert(id.clone(), open);
        let mut bytes: u64 = state.open.values().map(|open| open.names.bytes()).sum();
        while state.open.len() > 1 && (bytes > self.max_bytes || state.open.len() > MAX_OPEN) {
            let oldest = state.open.iter().min_by_key(|(_, open)| open.last_used);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return };
            bytes -= state.open.remove(&oldest).map_or(0, |open| open.names.bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Names ===

impl Names {
    /// Looks up addresses of the object; one answer each.
    pub(super) fn symbolize(&self, addresses: &[u64]) -> Vec<Symbol> {
        match self {
            Self::Table(table) => table.symbolize(addresses),
            Self::Listing(listing) => listing.symbolize(addresses),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Table(table) => table.memory_bytes(),
            Self::Listing(listing) => listing.heap_bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
