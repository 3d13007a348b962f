//! Tables of other collectors, on the local disk: those used last, as far as the quota has room.
//!
//! They are named by the table's id, and never change: what is open stays readable when its copy goes.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fleetprof_store::FileId;
use tracing::warn;

use crate::objects::catalog::{Catalog, Reservation};

/// Copies in one directory, which nobody else uses.
#[derive(Debug)]
pub(super) struct Copies {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    copies: HashMap<FileId, Copy>,
    uses: u64,
}

#[derive(Debug)]
struct Copy {
    space: Reservation,
    last_used: u64,
}

// === impl Copies ===

impl Copies {
    /// Goes on with what is in a directory, as far as the quota of `catalog` has room; it is made if it
    /// does not exist.
    pub(super) fn open(dir: &Path, catalog: &Catalog) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut state = State::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(id_of);
            let space = catalog.reserve(entry.metadata()?.len());
            match id.zip(space) {
                Some((id, space)) => state.add(id, space),
                None => fs::remove_file(entry.path())?,
            }
        }
        Ok(Self { dir: dir.to_owned(), state: Mutex::new(state) })
    }

    /// Where the copy of a table is, if there is one.
    pub(super) fn find(&self, id: FileId) -> Option<PathBuf> {
        let mut state = self.lock();
        state.uses += 1;
        let uses = state.uses;
        state.copies.get_mut(&id)?.last_used = uses;
        Some(self.path(id))
    }

    /// Puts a whole file in its place.
    pub(super) fn adopt(&self, id: FileId, file: &Path, space: Reservation) -> io::Result<()> {
        fs::rename(file, self.path(id))?;
        File::open(&self.dir)?.sync_all()?;
        self.lock().add(id, space);
        Ok(())
    }

    /// Removes one that is no more, or is damaged.
    pub(super) fn remove(&self, id: FileId) {
        if self.lock().copies.remove(&id).is_some() {
            self.unlink(id);
        }
    }

    /// Removes what is not kept.
    pub(super) fn retain(&self, keep: impl Fn(FileId) -> bool) {
        let ids: Vec<FileId> = self.lock().copies.keys().copied().collect();
        ids.into_iter().filter(|id| !keep(*id)).for_each(|id| self.remove(id));
    }

    /// Removes the one that was not used for longest; `false` when there is none.
    pub(super) fn make_room(&self) -> bool {
        let mut state = self.lock();
        let oldest = state.copies.iter().min_by_key(|(_, copy)| copy.last_used);
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        state.copies.remove(&id);
        drop(state);
        self.unlink(id);
        true
    }

    /// Their size.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().copies.values().map(|copy| copy.space.bytes()).sum()
    }

    fn unlink(&self, id: FileId) {
        if let Err(error) = fs::remove_file(self.path(id)) {
            warn!(table = %id, %error, "cannot remove the copy of a symbol table");
        }
    }

    fn path(&self, id: FileId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_of(name: &str) -> Option<FileId> {
    FileId::from_number(i64::from_str_radix(name, 16).ok()?)
}

// === impl State ===

impl State {
    fn add(&mut self, id: FileId, space: Reservation) {
        self.uses += 1;
        self.copies.insert(id, Copy { space, last_used: self.uses });
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Check that the one that was not used for longest goes first, that all are counted in the quota,
    /// and that a restart keeps those that fit.
    #[test]
    fn copies_come_and_go_within_the_quota() {
        let dir = TempDir::new().expect("dir");
        let (objects, tables) = (dir.path().join("objects"), dir.path().join("tables"));
        fs::create_dir(&objects).expect("made");
        let catalog = Catalog::open(&objects, 100).expect("opens");
        let copies = Copies::open(&tables, &catalog).expect("opens");
        let adopt = |id| {
            let file = dir.path().join("new");
            fs::write(&file, [7; 30]).expect("written");
            let space = catalog.reserve(30)?;
            copies.adopt(id, &file, space).expect("kept");
            Some(())
        };
        let ids: Vec<FileId> = (0..4).map(|_| FileId::random()).collect();
        for id in &ids[..3] {
            adopt(*id).expect("fits");
        }
        assert_eq!((adopt(ids[3]), copies.bytes()), (None, 90));
        let path = copies.find(ids[0]).expect("there");
        assert_eq!(fs::read(path).expect("read"), [7; 30]);
        assert!(copies.make_room());
        assert!(copies.find(ids[1]).is_none() && copies.find(ids[2]).is_some());
        adopt(ids[3]).expect("fits");
        copies.remove(ids[3]);
        assert_eq!((copies.find(ids[3]), copies.bytes()), (None, 60));
        copies.retain(|id| id == ids[0]);
        assert_eq!((copies.bytes(), fs::read_dir(&tables).expect("lists").count()), (30, 1));
        adopt(ids[1]).expect("fits");
        drop(copies);

        fs::write(tables.join("stranger"), "x").expect("written");
        let catalog = Catalog::open(&objects, 40).expect("opens");
        let copies = Copies::open(&tables, &catalog).expect("opens");
        assert_eq!((copies.bytes(), fs::read_dir(&tables).expect("lists").count()), (30, 1));
        assert!(copies.make_room() && !copies.make_room());
        assert!(catalog.reserve(40).is_some());
    }
}
