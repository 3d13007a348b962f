//! What objects would say more with: files that nobody delivered.

use std::sync::atomic::Ordering;

use fleetprof_proto::ids::ObjectId;
use fleetprof_symbolizer::identity::{self, SymbolLevel};

use super::{
    Catalog, Stored,
    files::{Format, Kept},
    shared::id_of_shared,
};

/// A file that is not there, of an object that profiles have code of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::objects) enum Lack {
    /// The debug information of an object, as far as anybody knows: see [`Catalog::level`].
    DebugInfo(ObjectId),
    /// The file with this id, that an object needs parts of.
    Shared(ObjectId),
}

// === impl Catalog ===

impl Catalog {
    /// Whether an object is there, of which a profile has code.
    pub(in crate::objects) fn is_hit(&self, id: &ObjectId) -> bool {
        let objects = self.shared.read();
        let Some(stored) = objects.get(id) else { return false };
        stored.hit.store(true, Ordering::Relaxed);
        stored.file.is_some()
    }

    /// What objects of which profiles have code lack.
    pub(in crate::objects) fn lacks(&self) -> Vec<Lack> {
        let objects = self.shared.read();
        let mut lacks = Vec::new();
        for (id, stored) in objects.iter().filter(|(_, stored)| stored.hit.load(Ordering::Relaxed))
        {
            let is_elf = matches!(stored.file, Some((Format::Elf, _)));
            if is_elf && stored.level < Some(SymbolLevel::DebugInfo) {
                lacks.push(Lack::DebugInfo(id.clone()));
            }
            if let Some(shared) = stored.shared.as_ref().map(id_of_shared)
                && objects.get(&shared).is_none_or(|shared| shared.debug.is_none())
            {
                lacks.push(Lack::Shared(shared));
            }
        }
        lacks
    }

    /// How much the files of an object say. Reads them when nobody has looked yet; what cannot be read
    /// says nothing.
    pub(in crate::objects) fn level(&self, id: &ObjectId) -> SymbolLevel {
        let least = SymbolLevel::Dynamic;
        let Some(stored) = self.shared.read().get(id).cloned() else { return least };
        if let Some(level) = stored.level {
            return level;
        }
        let there = [Format::Elf, Format::Debug].into_iter().filter(|format| stored.has(*format));
        let level = |format| {
            let identity = identity::identify_path(&self.path(id, Kept::Object(format)));
            identity.map_or(least, |identity| identity.contents.level())
        };
        let level = there.map(level).max().unwrap_or(least);
        let same = |known: &&mut Stored| known.version == stored.version;
        if let Some(known) = self.shared.write().get_mut(id).filter(same) {
            known.level = Some(level);
        }
        level
    }
}
