//! Files that go with a binary: its debug file, what that shares with others (dwz), split units (`.dwp`).
//!
//! All are looked for where a process that maps the binary sees its files, and nowhere else. Every look
//! runs under the guard; what is found is open, and reading it may block.

use std::{fs::File, path::Path};

use fleetprof_proto::ids::{BuildId, ObjectId, elf_identity};
use fleetprof_unwind::DebugLink;
use tracing::warn;

use super::{Place, Registry, Version};
use crate::object::{
    debug_file::{self, Wanted},
    links::{self, AltLink},
    open::open_below,
};

/// A file that goes with a binary, and where it was found.
#[derive(Debug)]
pub struct Separate {
    /// The file.
    pub file: File,
    /// As the process sees it.
    path: Vec<u8>,
    place: Place,
}

/// What goes with a binary.
#[derive(Debug, Default)]
pub struct Companions {
    /// Its debug file.
    pub debug: Option<Separate>,
    /// What the binary or its debug file shares with other files: objects of their own.
    pub shared: Vec<(BuildId, File)>,
    /// Packages of split units.
    pub packages: Vec<File>,
}

// === impl Registry ===

impl Registry {
    /// Opens the file with the debug information of `binary`, which is the object `id`, where a
    /// process that maps it has one. `None` as well when looking takes too long. Reading may block.
    pub fn open_debug_file(&self, id: &ObjectId, binary: &File) -> Option<File> {
        self.find_debug_file(id, binary).map(|found| found.file)
    }

    /// The same, and where it is.
    pub fn find_debug_file(&self, id: &ObjectId, binary: &File) -> Option<Separate> {
        let link = DebugLink::of(binary);
        let version = Version::of_file(binary).ok()?;
        let wanted = Wanted { build_id: id.build_id.clone(), link, binary: version };
        for place in self.places_of(id) {
            let (looked_for, proc_root) = (wanted.clone(), self.proc_root.clone());
            let there = place.clone();
            let found = self.guard.run(move || looked_for.candidates(&there, &proc_root));
            let candidates = found
                .inspect_err(|error| warn!(%error, %id, "no debug file is looked for"))
                .ok()?;
            let proven = candidates.into_iter().find(|candidate| wanted.is_proven_by(candidate));
            if let Some(candidate) = proven {
                return Some(Separate { file: candidate.file, path: candidate.path, place });
            }
        }
        None
    }

    /// Opens what goes with `binary`, which is the object `id`.
    pub fn find_companions(&self, id: &ObjectId, binary: &File) -> Companions {
        let debug = self.find_debug_file(id, binary);
        let mut found = Companions { debug, ..Companions::default() };
        let own = self.places_of(id).into_iter().map(|place| (place.path.to_vec(), place));
        let mut owners: Vec<_> = own.map(|(path, place)| (binary, path, place)).collect();
        let debug = found.debug.as_ref();
        owners.extend(debug.map(|it| (&it.file, it.path.clone(), it.place.clone())));
        for (owner, path, place) in owners {
            let link = AltLink::of(owner);
            // The same place is not asked again for what it has given.
            let is_new = |link: &AltLink| !found.shared.iter().any(|(id, _)| *id == link.build_id);
            if let Some(link) = link.filter(is_new)
                && let Some(file) = self.find_shared(&link, &path, &place)
            {
                found.shared.push((link.build_id, file));
            }
            if let Some(file) = self.find_package(owner, &path, &place)
                && !found.packages.iter().any(|other| is_same(other, &file))
            {
                found.packages.push(file);
            }
        }
        found
    }

    fn find_shared(&self, link: &AltLink, owner: &[u8], place: &Place) -> Option<File> {
        let mut paths: Vec<_> = debug_file::path_of(&link.build_id).into_iter().collect();
        paths.extend(match (link.path.first(), owner.iter().rposition(|byte| *byte == b'/')) {
            (Some(b'/'), _) => Some(link.path.clone()),
            (Some(_), Some(end)) => Some([&owner[..=end], &link.path].concat()),
            _ => None,
        });
        let (place, proc_root) = (place.clone(), self.proc_root.clone());
        let wanted = link.build_id.clone();
        let look = move || {
            let found = open_in_roots(&place, &proc_root, &paths);
            found.into_iter().find(|file| elf_identity::build_id(file).is_ok_and(|id| id == wanted))
        };
        self.guarded(look)
    }

    fn find_package(&self, owner: &File, path: &[u8], place: &Place) -> Option<File> {
        let paths = [[path, b".dwp"].concat()];
        let (place, proc_root) = (place.clone(), self.proc_root.clone());
        let owner = owner.try_clone().ok()?;
        let look = move || {
            let found = open_in_roots(&place, &proc_root, &paths);
            found.into_iter().find(|file| links::is_package_of(file, &owner))
        };
        self.guarded(look)
    }

    fn guarded(&self, look: impl FnOnce() -> Option<File> + Send + 'static) -> Option<File> {
        let found = self.guard.run(look);
        found
            .inspect_err(|error| warn!(%error, "a file with debug information is not read"))
            .ok()?
    }

    /// The newest first.
    fn places_of(&self, id: &ObjectId) -> Vec<Place> {
        let places = self.lock().places.get(id).cloned().unwrap_or_default();
        places.into_iter().rev().collect()
    }
}

fn open_in_roots(place: &Place, proc_root: &Path, paths: &[Vec<u8>]) -> Vec<File> {
    let roots = place.roots(proc_root);
    let found = roots.flat_map(|root| paths.iter().filter_map(move |path| open_below(&root, path)));
    found.map(|(file, _)| file).collect()
}

fn is_same(one: &File, other: &File) -> bool {
    let version = |file| Version::of_file(file).ok();
    version(one).zip(version(other)).is_some_and(|(one, other)| one.is_same_file(&other))
}

#[cfg(test)]
mod tests;
