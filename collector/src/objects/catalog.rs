//! The objects that are there, and what became of their conversion to symbol tables. In memory: their
//! ids, sizes and states; on disk: files named by id, see [`files`].

mod files;
mod lacks;
mod scan;
mod shared;
mod tables;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::AtomicBool,
    },
};

use fleetprof_proto::ids::{BuildId, ObjectId};
use fleetprof_symbolizer::identity::{self, SymbolLevel};
use thiserror::Error;
use tracing::warn;

pub(super) use files::{Format, space_of};
use files::{Kept, file_name};
pub(super) use lacks::Lack;
pub(crate) use tables::{Failure, NamesOf};
pub(super) use tables::{Table, ToConvert};

/// Space that uploads leave free: this much, or this part of a small file system.
const LEFT_FREE_BYTES: u64 = 1 << 30;
const LEFT_FREE_PART: u64 = 20;

/// Longest path that is kept, bytes.
const MAX_PATH_BYTES: usize = 4096;

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
    /// Held from the look at what is there to its replacement: of two files the better one stays.
    replacing: Mutex<()>,
}

/// The files of one id.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// The object and its size, if it is there.
    pub(super) file: Option<(Format, u64)>,
    /// Size of a separate file with its debug information.
    pub(super) debug: Option<u64>,
    /// Size of a package with its split units.
    pub(super) split: Option<u64>,
    /// The file that its debug information needs parts of, there or not.
    pub(super) shared: Option<BuildId>,
    /// How much its own files say, once somebody has looked.
    level: Option<SymbolLevel>,
    /// A profile has code of it.
    hit: Arc<AtomicBool>,
    /// Where it was on a host.
    pub(super) path: Arc<str>,
    pub(super) table: Table,
    /// The files are newer than the table.
    renew: bool,
    /// Another one after each change of the files.
    version: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// In files that are there.
    stored: u64,
    /// Promised to uploads that are running.
    reserved: u64,
}

/// What becomes of a file of the same format that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    /// It stays.
    Never,
    /// It goes if it says less than the new one, which says so much.
    Worse(SymbolLevel),
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
        let objects = scan::scan(dir).map_err(|source| CatalogError {
            path: dir.to_owned(),
            action: "list",
            source,
        })?;
        let stored = objects.values().map(Stored::all_bytes).fold(0, u64::saturating_add);
        let used = Mutex::new(Used { stored, reserved: 0 });
        let objects = RwLock::new(objects);
        let shared =
            Shared { dir: dir.to_owned(), quota_bytes, objects, used, replacing: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether an object is there.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.shared.read().get(id).is_some_and(|stored| stored.file.is_some())
    }

    /// How many ids have files.
    pub(super) fn count(&self) -> usize {
        self.shared.read().len()
    }

    /// How much is there.
    pub fn status(&self) -> CatalogStatus {
        let objects = self.shared.read();
        let mut status = CatalogStatus::default();
        for stored in objects.values() {
            status.stored += u64::from(stored.file.is_some());
            status.bytes = status.bytes.saturating_add(stored.all_bytes());
            status.waiting += u64::from(stored.needs_table());
            status.failed += u64::from(stored.table.failure().is_some());
        }
        status
    }

    /// Everything that is there.
    pub(super) fn all(&self) -> Vec<(ObjectId, Stored)> {
        let objects = self.shared.read();
        objects.iter().map(|(id, stored)| (id.clone(), stored.clone())).collect()
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

    /// Whether there is a file of this format that another one has nothing to add to by itself.
    pub(super) fn has_any(&self, id: &ObjectId, format: Format) -> bool {
        self.shared.read().get(id).is_some_and(|stored| stored.has(format))
            && !(format == Format::Split && self.split_is_strange(id))
    }

    /// Whether another file would say no more of an object: there is one of this format, with as many
    /// symbols. A file that cannot be read says nothing.
    pub(super) fn has_as_good(&self, id: &ObjectId, format: Format, level: SymbolLevel) -> bool {
        let path = self.path(id, Kept::Object(format));
        self.has_any(id, format)
            && (format == Format::Kallsyms
                || identity::identify_path(&path).is_ok_and(|it| it.contents.level() >= level))
    }

    /// Puts a verified, synced file in its place. Answers `false` when what is there stays. Objects that it is shared by need another table, too.
    pub(super) fn adopt(
        &self,
        id: &ObjectId,
        format: Format,
        file: &Path,
        reservation: &Reservation,
        replace: Replace,
    ) -> io::Result<bool> {
        let alone = &self.shared.replacing;
        let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        let names = shared::named_by(file, format);
        let replace = match replace {
            Replace::Worse(level) if self.has_as_good(id, format, level) => return Ok(false),
            Replace::Worse(_) => true,
            Replace::Never => format == Format::Split && self.split_is_strange(id),
        };
        let mut objects = self.shared.write();
        let known = objects.get(id);
        if known.is_some_and(|stored| stored.has(format)) && !replace {
            return Ok(false);
        }
        let shared = shared::after(known, format, names);
        self.keep_shared(id, known.and_then(|stored| stored.shared.as_ref()), shared.as_ref())?;
        fs::rename(file, self.path(id, Kept::Object(format)))?;
        // Were this to fail, the object might vanish in a crash: it is not there until it is durable.
        File::open(&self.shared.dir)?.sync_all()?;
        let mut stored = known.cloned().unwrap_or_default();
        let before = stored.all_bytes();
        match format {
            Format::Debug => stored.debug = Some(reservation.bytes),
            Format::Split => stored.split = Some(reservation.bytes),
            Format::Elf | Format::Kallsyms => stored.file = Some((format, reservation.bytes)),
        }
        (stored.shared, stored.level) = (shared, None);
        self.renew(id, &mut stored);
        self.shared.used().change(before, stored.all_bytes());
        let has_no_binary = stored.file.is_none();
        objects.insert(id.clone(), stored);
        if format == Format::Debug && has_no_binary {
            self.renew_sharing(&mut objects, id);
        }
        Ok(true)
    }

    /// The files that the table is made of have changed.
    fn renew(&self, id: &ObjectId, stored: &mut Stored) {
        stored.files_changed();
        if matches!(stored.table, Table::Waiting) {
            // It spoke of other files. Should it stay, it is older than they are.
            let _ = fs::remove_file(self.path(id, Kept::Failure));
        }
    }

    /// Remembers where an object was, for people: that it may be lost does no harm.
    pub(super) fn describe(&self, id: &ObjectId, path: &str) {
        let path = &path[..path.floor_char_boundary(MAX_PATH_BYTES)];
        let mut objects = self.shared.write();
        let Some(stored) = objects.get_mut(id).filter(|stored| *stored.path != *path) else {
            return;
        };
        stored.path = Arc::from(path);
        drop(objects);
        if let Err(error) = fs::write(self.path(id, Kept::Path), path) {
            warn!(object = %id, %error, "cannot keep the path of an object");
        }
    }

    fn path(&self, id: &ObjectId, kept: Kept) -> PathBuf {
        self.shared.dir.join(file_name(id, kept))
    }
}

// === impl Stored ===

impl Default for Stored {
    fn default() -> Self {
        Self {
            file: None,
            debug: None,
            split: None,
            shared: None,
            level: None,
            hit: Arc::default(),
            path: Arc::from(""),
            table: Table::NotNeeded,
            renew: false,
            version: 0,
        }
    }
}

impl Stored {
    fn has(&self, format: Format) -> bool {
        match format {
            Format::Debug => self.debug.is_some(),
            Format::Split => self.split.is_some(),
            Format::Elf | Format::Kallsyms => self.file.is_some(),
        }
    }

    /// Size of all files, bytes.
    pub(super) fn all_bytes(&self) -> u64 {
        let file = self.file.map_or(0, |(_, bytes)| bytes);
        let all = [file, self.debug.unwrap_or(0), self.split.unwrap_or(0), self.table.bytes()];
        all.into_iter().fold(0, u64::saturating_add)
    }

    /// Whether a table is to be made, perhaps in place of an older one.
    pub(super) fn needs_table(&self) -> bool {
        self.renew || matches!(self.table, Table::Waiting)
    }

    /// A table that is there serves until the next one is made.
    fn files_changed(&mut self) {
        self.version = self.version.wrapping_add(1);
        let is_elf = matches!(self.file, Some((Format::Elf, _)));
        match self.table {
            Table::Ready { .. } => self.renew = is_elf,
            _ if is_elf => self.table = Table::Waiting,
            _ => {}
        }
    }
}

// === impl Reservation ===

impl Reservation {
    /// A part of it, at most all, as a promise of its own.
    pub(super) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { shared: self.shared.clone(), bytes }
    }

    /// Both as one.
    pub(super) fn join(&mut self, mut other: Self) {
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Less is needed than was thought.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let needless = self.bytes.saturating_sub(bytes);
        self.bytes -= needless;
        let mut used = self.shared.used();
        used.reserved = used.reserved.saturating_sub(needless);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut used = self.shared.used();
        used.reserved = used.reserved.saturating_sub(self.bytes);
    }
}

// === impl Used ===

impl Used {
    fn change(&mut self, before: u64, after: u64) {
        self.stored = self.stored.saturating_sub(before).saturating_add(after);
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

#[cfg(test)]
mod tests;
