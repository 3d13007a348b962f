//! Files that say something of other objects than their own: what dwz moved out of several of them, and
//! packages of split units.

use std::{collections::HashMap, fs, io, path::Path};

use fleetprof_proto::ids::{BuildId, ObjectId, ObjectKind};
use fleetprof_symbolizer::{SourceSet, TableFile, identity};

use super::{
    Catalog, Stored,
    files::{Format, Kept},
    tables::{NamesOf, ToConvert},
};
use crate::durable::write_whole;

/// What the debug information of a new file needs parts of.
pub(super) fn named_by(file: &Path, format: Format) -> Option<BuildId> {
    match format {
        Format::Elf | Format::Debug => identity::identify_path(file).ok()?.shared_debug,
        Format::Split | Format::Kallsyms => None,
    }
}

/// What an object needs parts of, once it has the new file: what its debug file says counts.
pub(super) fn after(
    known: Option<&Stored>,
    format: Format,
    names: Option<BuildId>,
) -> Option<BuildId> {
    let before = || known.and_then(|stored| stored.shared.clone());
    match format {
        Format::Debug => names.or_else(before),
        Format::Elf if known.is_some_and(|stored| stored.debug.is_some()) => before().or(names),
        Format::Elf => names,
        Format::Split | Format::Kallsyms => before(),
    }
}

/// Under which id the file is kept that others name by its build ID.
pub(super) fn id_of_shared(build_id: &BuildId) -> ObjectId {
    ObjectId { kind: ObjectKind::File, build_id: build_id.clone() }
}

// === impl Catalog ===

impl Catalog {
    /// Objects that a new file of `id` gives another table.
    pub(in crate::objects) fn waiting_for(&self, id: &ObjectId) -> Vec<ToConvert> {
        let objects = self.shared.read();
        let Some(stored) = objects.get(id) else { return Vec::new() };
        if stored.file.is_some() {
            // Nobody else needs it: to look for them takes longer than all the rest.
            return self.job(&objects, id, stored).into_iter().collect();
        }
        let sharing = objects.iter().filter(|(_, stored)| stored.shares(id));
        sharing.filter_map(|(id, stored)| self.job(&objects, id, stored)).collect()
    }

    /// The file that an object needs parts of.
    pub(in crate::objects) fn shared_by(&self, id: &ObjectId) -> Option<ObjectId> {
        self.shared.read().get(id)?.shared.as_ref().map(id_of_shared)
    }

    /// Remembers what an object needs parts of, over restarts, before its file is there.
    pub(super) fn keep_shared(
        &self,
        id: &ObjectId,
        before: Option<&BuildId>,
        now: Option<&BuildId>,
    ) -> io::Result<()> {
        if before == now {
            return Ok(());
        }
        let path = self.path(id, Kept::Shares);
        match now {
            Some(shared) => write_whole(&path, format!("{}\n", id_of_shared(shared)).as_bytes()),
            None => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        }
    }

    /// A new file came that others need parts of.
    pub(super) fn renew_sharing(&self, objects: &mut HashMap<ObjectId, Stored>, shared: &ObjectId) {
        for (id, stored) in objects.iter_mut().filter(|(_, stored)| stored.shares(shared)) {
            self.renew(id, stored);
        }
    }

    /// Whether no unit of its package is the object's: somebody took the wrong one, and another one may
    /// be right.
    pub(super) fn split_is_strange(&self, id: &ObjectId) -> bool {
        let settled = self.shared.read().get(id).is_some_and(|stored| !stored.needs_table());
        let Some(NamesOf::Table { path, .. }) = self.names_of(id).filter(|_| settled) else {
            return false;
        };
        TableFile::sources_of(&path).is_ok_and(|sources| !sources.has(SourceSet::SPLIT_DWARF))
    }
}

// === impl Stored ===

impl Stored {
    /// Whether its debug information needs parts of that file.
    fn shares(&self, id: &ObjectId) -> bool {
        id.kind == ObjectKind::File && self.shared.as_ref() == Some(&id.build_id)
    }
}
