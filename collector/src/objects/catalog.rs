//! The objects that are there. In memory: their ids and sizes; on disk: one file each, named by id.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use fleetprof_proto::{ids::ObjectId, v1::ObjectFormat};
use fleetprof_symbolizer::ObjectSource;
use thiserror::Error;
use tracing::warn;

/// Longest file name made from an id, bytes; file systems allow 255.
const MAX_NAME_BYTES: usize = 240;

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

#[derive(Clone, Copy, Debug)]
struct Stored {
    format: Format,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// In files that are there.
    stored: u64,
    /// Promised to uploads that are running.
    reserved: u64,
}

/// What sort of file an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Elf,
    Kallsyms,
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
    /// Their size.
    pub bytes: u64,
}

/// The directory of objects failed.
#[derive(Debug, Error)]
#[error("objects in {path}: cannot {action}: {source}")]
pub struct CatalogError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

// === impl Format ===

impl Format {
    pub(super) fn of_wire(format: ObjectFormat) -> Option<Self> {
        match format {
            ObjectFormat::Elf => Some(Self::Elf),
            ObjectFormat::Kallsyms => Some(Self::Kallsyms),
            ObjectFormat::Unspecified => None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Kallsyms => "kallsyms",
        }
    }
}

// === impl Catalog ===

impl Catalog {
    /// Lists the objects in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: &Path, quota_bytes: u64) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError { path: dir.to_owned(), action: "list", source };
        let mut objects = HashMap::new();
        let mut used = Used::default();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some((id, format)) = parse_name(&entry.path()) else {
                warn!(path = %entry.path().display(), "not an object; left alone");
                continue;
            };
            let bytes = entry.metadata().map_err(failed)?.len();
            used.stored = used.stored.saturating_add(bytes);
            objects.insert(id, Stored { format, bytes });
        }
        let (objects, used) = (RwLock::new(objects), Mutex::new(used));
        let shared = Shared { dir: dir.to_owned(), quota_bytes, objects, used };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether an object is there.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.shared.read().contains_key(id)
    }

    /// Where the symbols of an object are to be read from, if it is there.
    pub fn source(&self, id: &ObjectId) -> Option<ObjectSource> {
        let stored = *self.shared.read().get(id)?;
        let path = self.path(id, stored.format)?;
        Some(match stored.format {
            Format::Elf => ObjectSource::Elf { path },
            Format::Kallsyms => ObjectSource::Kallsyms { path },
        })
    }

    /// How much is there.
    pub fn status(&self) -> CatalogStatus {
        let objects = self.shared.read();
        let bytes = objects.values().map(|stored| stored.bytes).sum();
        CatalogStatus { stored: objects.len() as u64, bytes }
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
        self.path(id, Format::Kallsyms).is_some()
    }

    /// Puts a verified, synced file in its place. Answers `false` when another upload was first.
    pub(super) fn adopt(
        &self,
        id: &ObjectId,
        format: Format,
        file: &Path,
        reservation: &Reservation,
    ) -> io::Result<bool> {
        let path = self.path(id, format).ok_or(io::ErrorKind::InvalidFilename)?;
        let mut objects = self.shared.write();
        if objects.contains_key(id) {
            return Ok(false);
        }
        fs::rename(file, &path)?;
        // Were this to fail, the object might vanish in a crash: it is not there until it is durable.
        File::open(&self.shared.dir)?.sync_all()?;
        let bytes = reservation.bytes;
        objects.insert(id.clone(), Stored { format, bytes });
        let mut used = self.shared.used();
        used.stored = used.stored.saturating_add(bytes);
        Ok(true)
    }

    fn path(&self, id: &ObjectId, format: Format) -> Option<PathBuf> {
        let name = format!("{id}.{}", format.extension());
        (name.len() <= MAX_NAME_BYTES).then(|| self.shared.dir.join(name))
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

fn parse_name(path: &Path) -> Option<(ObjectId, Format)> {
    let format = match path.extension()?.to_str()? {
        "elf" => Format::Elf,
        "kallsyms" => Format::Kallsyms,
        _ => return None,
    };
    Some((path.file_stem()?.to_str()?.parse().ok()?, format))
}
