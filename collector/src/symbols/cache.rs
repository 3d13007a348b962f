//! A bounded cache in two generations: when the young one is full it becomes the old one, and what
//! was in the old one and not used since is forgotten. No bookkeeping per use, no timers.

use std::collections::HashMap;

use fleetprof_proto::{ids::ObjectId, symbol::Symbol};

/// Symbols by object and offset.
#[derive(Debug)]
pub(super) struct Cache {
    /// Entries in one generation.
    half: usize,
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    by_object: HashMap<ObjectId, HashMap<u64, Symbol>>,
    entries: usize,
}

// === impl Cache ===

impl Cache {
    /// Holds at most `entries` symbols.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            half: (entries / 2).max(1),
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    pub(super) fn get(&mut self, object: &ObjectId, offset: u64) -> Option<Symbol> {
        if let Some(symbol) = self.young.get(object, offset) {
            return Some(symbol.clone());
        }
        let symbol = self.old.get(object, offset)?.clone();
        self.insert(object, offset, symbol.clone());
        Some(symbol)
    }

    pub(super) fn insert(&mut self, object: &ObjectId, offset: u64, symbol: Symbol) {
        if self.young.entries >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(object, offset, symbol);
    }
}

// === impl Generation ===

impl Generation {
    fn get(&self, object: &ObjectId, offset: u64) -> Option<&Symbol> {
        self.by_object.get(object)?.get(&offset)
    }

    fn insert(&mut self, object: &ObjectId, offset: u64, symbol: Symbol) {
        if !self.by_object.contains_key(object) {
            self.by_object.insert(object.clone(), HashMap::new());
        }
        let offsets = self.by_object.get_mut(object);
        if offsets.is_some_and(|offsets| offsets.insert(offset, symbol).is_none()) {
            self.entries += 1;
        }
    }
}
