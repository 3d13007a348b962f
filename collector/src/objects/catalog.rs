//! The objects that are there, and what became of their conversion to symbol tables. In memory: their
//! ids, sizes and states; on disk: files named by id, see [`files`].

mod files;
mod tables;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use fleetprof_proto::ids::ObjectId;
use thiserror::Error;
use tracing::warn;

pub(super) use files::Format;
use files::{Kept, file_name, parse_name};
pub(crate) use tables::{Failure, NamesOf};
pub(super) use tables::{Table, ToConvert};

/// Space that uploads leave free: this much, or this part of a small file system.
const LEFT_FREE_BYTES: u64 = 1 << 30;
const LEFT_FREE_PART: u64 = 20;

/// What is there. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Catalog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    quota_bytes: u64,
    objects: RwLock<HashMap<ObjectId, Stored>>,
    used: Mutex<Used>,
}

#[derive(Clone, Debug)]
struct Stored {
    format: Format,
    bytes: u64,
    table: Table,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// In files that are there.
    stored: u64,
    /// Promised to uploads that are running.
    reserved: u64,
}

/// Space promised to an upload; dropping it gives the space back.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

/// How much is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogStatus {
    /// Number of objects.
    pub stored: u64,
    /// Their size, that of their symbol tables included.
    pub bytes: u64,
    /// Objects that wait for their conversion.
    pub waiting: u64,
    /// Objects that could not be converted.
    pub failed: u64,
}

/// The directory of objects failed.
#[derive(Debug, Error)]
#[error("objects in {path}: cannot {action}: {source}")]
pub struct CatalogError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

// === impl Catalog ===

impl Catalog {
    /// Lists the objects in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: &Path, quota_bytes: u64) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError { path: dir.to_owned(), action: "list", source };
        let mut objects: HashMap<ObjectId, Stored> = HashMap::new();
        let mut beside = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some((id, kept)) = parse_name(&entry.path()) else {
                warn!(path = %entry.path().display(), "not an object; left alone");
                continue;
            };
            let bytes = entry.metadata().map_err(failed)?.len();
            match kept {
                Kept::Object(format) => {
                    objects.insert(id, Stored { format, bytes, table: Table::of_new(format) });
                }
                kept => beside.push((id, kept, bytes)),
            }
        }
        for (id, kept, bytes) in beside {
            let path = dir.join(file_name(&id, kept));
            match objects.get_mut(&id) {
                Some(stored) => stored.table.found(kept, &path, bytes),
                None => warn!(path = %path.display(), "belongs to no object; left alone"),
            }
        }
        let stored = objects.values().map(Stored::all_bytes).fold(0, u64::saturating_add);
        let used = Mutex::new(Used { stored, reserved: 0 });
        let objects = RwLock::new(objects);
        let shared = Shared { dir: dir.to_owned(), quota_bytes, objects, used };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether an object is there.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.shared.read().contains_key(id)
    }

    /// How much is there.
    pub fn status(&self) -> CatalogStatus {
        let objects = self.shared.read();
        let mut status =
            CatalogStatus { stored: objects.len() as u64, ..CatalogStatus::default() };
        for stored in objects.values() {
            status.bytes = status.bytes.saturating_add(stored.all_bytes());
            status.waiting += u64::from(stored.table.is_waiting());
            status.failed += u64::from(stored.table.has_failed());
        }
        status
    }

    /// Promises space to an upload; `None` when the quota does not have it.
    pub(super) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let mut used = self.shared.used();
        let after = used.stored.checked_add(used.reserved)?.checked_add(bytes)?;
        if after > self.shared.quota_bytes {
            return None;
        }
        used.reserved += bytes;
        drop(used);
        Some(Reservation { shared: self.shared.clone(), bytes })
    }

    /// Whether the file system has room for so many bytes and some more. Batches go to the same one,
    /// and they matter more: the last part of it is left to them.
    pub(super) fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let status = rustix::fs::statvfs(&self.shared.dir)?;
        let total = status.f_blocks.saturating_mul(status.f_frsize);
        let free = status.f_bavail.saturating_mul(status.f_frsize);
        Ok(free >= bytes.saturating_add(LEFT_FREE_BYTES.min(total / LEFT_FREE_PART)))
    }

    /// Whether an id can be a file name.
    pub(super) fn can_hold(&self, id: &ObjectId) -> bool {
        file_name(id, Kept::Object(Format::Kallsyms)).len() <= files::MAX_NAME_BYTES
    }

    /// Puts a verified, synced file in its place. Answers `false` when another upload was first.
    pub(super) fn adopt(
        &self,
        id: &ObjectId,
        format: Format,
        file: &Path,
        reservation: &Reservation,
    ) -> io::Result<bool> {
        let path = self.path(id, Kept::Object(format));
        let mut objects = self.shared.write();
        if objects.contains_key(id) {
            return Ok(false);
        }
        fs::rename(file, &path)?;
        // Were this to fail, the object might vanish in a crash: it is not there until it is durable.
        File::open(&self.shared.dir)?.sync_all()?;
        let bytes = reservation.bytes;
        objects.insert(id.clone(), Stored { format, bytes, table: Table::of_new(format) });
        let mut used = self.shared.used();
        used.stored = used.stored.saturating_add(bytes);
        Ok(true)
    }

    fn path(&self, id: &ObjectId, kept: Kept) -> PathBuf {
        self.shared.dir.join(file_name(id, kept))
    }
}

// === impl Stored ===

impl Stored {
    fn all_bytes(&self) -> u64 {
        self.bytes.saturating_add(self.table.bytes())
    }
}

// === impl Reservation ===

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut used = self.shared.used();
        used.reserved = used.reserved.saturating_sub(self.bytes);
    }
}

// === impl Shared ===

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<ObjectId, Stored>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ObjectId, Stored>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
