//! A map with a bound: when it is full, a quarter of it is forgotten, the longest unused first.
//!
//! Evicting in bulk keeps lookups as cheap as those of a plain map, with no list to maintain.

use std::{borrow::Borrow, hash::Hash};

use rustc_hash::FxHashMap;

#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: FxHashMap<K, (u64, V)>,
    capacity: usize,
    clock: u64,
}

impl<K: Eq + Hash + Clone, V> Lru<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: FxHashMap::default(), capacity: capacity.max(4), clock: 0 }
    }

    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.evict();
        }
        self.entries.insert(key, (self.clock, value));
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory of the table itself, without what keys and values point to.
    pub(crate) fn table_bytes(&self) -> usize {
        self.entries.capacity() * (size_of::<(K, (u64, V))>() + 1)
    }

    fn evict(&mut self) {
        let mut ages: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let quarter = ages.len() / 4;
        let (_, limit, _) = ages.select_nth_unstable(quarter);
        let limit = *limit;
        self.entries.retain(|_, (used, _)| *used >= limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the bound holds and that what is used survives.
    #[test]
    fn the_longest_unused_entries_go_first() {
        let mut lru = Lru::new(8);
        for key in 0..8 {
            lru.insert(key, key);
        }
        assert_eq!(lru.get(&0), Some(&mut 0));
        for key in 8..1000 {
            lru.insert(key, key);
            assert!(lru.len() <= 8);
            assert_eq!(lru.get(&0), Some(&mut 0));
        }
        assert_eq!(lru.get(&999), Some(&mut 999));
        assert_eq!(lru.get(&1), None);
    }
}
