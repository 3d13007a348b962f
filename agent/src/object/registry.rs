//! What is known about files on this host: a library that a thousand processes map is read once.
//!
//! In: [`Place`]s. Out: build IDs, shared [`CodeObject`]s, and later the bytes for an upload. No file
//! is kept open. Shared between the thread that normalizes and the one that uploads.

use std::{
    fs::File,
    io::{Cursor, Seek as _},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use fleetprof_proto::{
    ids::{
        BuildId, ObjectId, ObjectKind,
        elf_identity::{self, BuildIdError},
    },
    v1::ObjectFormat,
};
use rustc_hash::FxHashMap;
use tracing::{debug, warn};

use super::{
    CodeObject, DeviceId, FileId, OpenError, Place, UploadError, UploadSource,
    guard::{Guard, Stalled},
    intern::Interned,
    lru::Lru,
    memory,
    open::Version,
};

mod separate;

pub use separate::{Companions, Separate};

/// How much the registry may keep.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Where procfs of the initial pid namespace is mounted.
    pub proc_root: PathBuf,
    /// Most files whose identity is remembered (some 150 bytes each).
    pub max_files: usize,
    /// Most objects that can be opened again (some 400 bytes each).
    pub max_objects: usize,
    /// How long one look at a file or a process may take. Disks answer within milliseconds; every
    /// stall delays the reading of samples by this much, and their ring holds about a second.
    pub patience: Duration,
}

/// What was found out about the file behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identified {
    /// Its build ID.
    As(BuildId),
    /// It is not ELF, so it can have no symbols.
    NotElf,
    /// It cannot be read, and trying again will not help.
    Never,
    /// Its file system does not answer at the moment.
    NotNow,
}

/// The registry.
#[derive(Debug)]
pub struct Registry {
    proc_root: PathBuf,
    guard: Guard,
    own_vdso: OnceLock<Option<BuildId>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By what an open file is.
    versions: Lru<Version, Option<BuildId>>,
    /// By what the kernel's event said; for files whose process is gone.
    files: Lru<FileId, BuildId>,
    places: Lru<ObjectId, Vec<Place>>,
    interned: Interned,
    stalled_devices: FxHashMap<DeviceId, Stall>,
}

/// A file system that did not answer.
#[derive(Clone, Copy, Debug)]
struct Stall {
    until: Instant,
    pause: Duration,
}

/// Places kept of each object. One of them should still run when its upload is asked for.
const PLACES_PER_OBJECT: usize = 4;

/// How long a file system that did not answer is left alone: twice as long each time.
const MIN_PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Most file systems remembered as not answering.
const MAX_STALLED_DEVICES: usize = 1024;

// === impl RegistryConfig ===

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            proc_root: "/proc".into(),
            max_files: 16 * 1024,
            max_objects: 8 * 1024,
            patience: Duration::from_millis(500),
        }
    }
}

// === impl Registry ===

impl Registry {
    /// An empty registry.
    pub fn new(config: &RegistryConfig) -> Self {
        let state = State {
            versions: Lru::new(config.max_files),
            files: Lru::new(config.max_files),
            places: Lru::new(config.max_objects),
            interned: Interned::default(),
            stalled_devices: FxHashMap::default(),
        };
        Self {
            proc_root: config.proc_root.clone(),
            guard: Guard::with_patience(config.patience),
            own_vdso: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// Where procfs is mounted.
    pub fn proc_root(&self) -> &std::path::Path {
        &self.proc_root
    }

    /// The helper for reads that may stall.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The shared copy of a path.
    pub fn path(&self, path: &[u8]) -> Arc<[u8]> {
        self.lock().interned.path(path)
    }

    /// The shared object of this description.
    pub fn code_object(
        &self,
        kind: ObjectKind,
        build_id: Option<BuildId>,
        path: &Arc<[u8]>,
    ) -> Arc<CodeObject> {
        self.lock().interned.object(kind, build_id, path)
    }

    /// Finds out which binary is mapped at `place`; reads the file only when no process had it yet.
    pub fn identify(&self, place: &Place) -> Identified {
        let device = place.file.map(|file| file.device);
        if device.is_some_and(|device| self.is_stalled(device)) {
            return Identified::NotNow;
        }
        let found = self.identify_file(place);
        if let (Ok(_), Some(device)) = (&found, device) {
            self.lock().stalled_devices.remove(&device);
        }
        let unique = place.file.filter(|file| file.generation != 0);
        match (&found, unique) {
            (Ok(Identified::As(build_id)), Some(file)) => {
                self.lock().files.insert(file, build_id.clone());
            }
            (Ok(Identified::Never), Some(file)) => {
                // Its process is gone, but the same file may have been seen in another one.
                if let Some(build_id) = self.lock().files.get(&file) {
                    return Identified::As(build_id.clone());
                }
            }
            _ => {}
        }
        found.unwrap_or_else(|error| {
            warn!(%error, pid = place.pid, "identifying a mapped file takes too long");
            if let Some(device) = device {
                self.pause(device);
            }
            Identified::NotNow
        })
    }

    fn identify_file(&self, place: &Place) -> Result<Identified, Stalled> {
        let (looked_for, proc_root) = (place.clone(), self.proc_root.clone());
        let opened = self.guard.run(move || looked_for.open(&proc_root))?;
        let (file, version) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                debug!(%error, path = %place.path.escape_ascii(), "mapped file not opened");
                return Ok(match error {
                    OpenError::NotAFile => Identified::NotElf,
                    OpenError::Unreachable { .. } | OpenError::Replaced => Identified::Never,
                });
            }
        };
        if let Some(known) = self.lock().versions.get(&version) {
            return Ok(known.clone().map_or(Identified::NotElf, Identified::As));
        }
        let build_id = match self.guard.run(move || elf_identity::build_id(&file))? {
            Ok(build_id) => Some(build_id),
            Err(BuildIdError::NotElf) => None,
            Err(error @ BuildIdError::Io(_)) => {
                debug!(%error, path = %place.path.escape_ascii(), "mapped file not identified");
                return Ok(Identified::Never);
            }
        };
        self.lock().versions.insert(version, build_id.clone());
        Ok(build_id.map_or(Identified::NotElf, Identified::As))
    }

    /// Identifies the vDSO mapped at `place` from the process's memory.
    pub fn identify_vdso(&self, place: &Place) -> Identified {
        let process = self.proc_root.join(place.pid.to_string());
        let (start, end) = (place.start, place.end);
        // Its pages are the kernel's own: reading them waits for nobody.
        let bytes = memory::read_range(&process, start, end);
        match bytes.map(|bytes| elf_identity::build_id(Cursor::new(bytes))) {
            Ok(Ok(build_id)) => Identified::As(build_id),
            Ok(Err(_)) => Identified::NotElf,
            Err(error) => {
                debug!(%error, pid = place.pid, "vdso not read");
                Identified::Never
            }
        }
    }

    /// Identifies the vDSO of 64-bit processes, by this program's own.
    pub fn identify_own_vdso(&self) -> Identified {
        let found = self.own_vdso.get_or_init(|| {
            let place = memory::own_vdso(&self.proc_root)?;
            let Identified::As(build_id) = self.identify_vdso(&place) else { return None };
            let id = ObjectId { kind: ObjectKind::Vdso, build_id: build_id.clone() };
            self.remember(id, place);
            Some(build_id)
        });
        found.clone().map_or(Identified::Never, Identified::As)
    }

    /// Notes that the object can be opened at `place`.
    pub fn remember(&self, id: ObjectId, place: Place) {
        let mut state = self.lock();
        match state.places.get(&id) {
            Some(places) => {
                places.retain(|known| known.pid != place.pid);
                if places.len() >= PLACES_PER_OBJECT {
                    places.remove(0);
                }
                places.push(place);
            }
            None => state.places.insert(id, vec![place]),
        }
    }

    /// Opens a file or a vDSO again and checks that it still is what it was.
    ///
    /// # Errors
    /// When it is not known here or can no longer be read.
    pub fn open_for_upload(&self, id: &ObjectId) -> Result<UploadSource, UploadError> {
        let places = self.lock().places.get(id).cloned();
        let places = places.ok_or_else(|| UploadError::Unknown(id.clone()))?;
        for place in places.into_iter().rev() {
            let path = String::from_utf8_lossy(&place.path).into_owned();
            let (wanted, proc_root) = (id.clone(), self.proc_root.clone());
            let found = match id.kind {
                ObjectKind::Vdso => vdso_source(&proc_root, &wanted, &place),
                _ => self.guard.run(move || file_source(&proc_root, &wanted, &place))?,
            };
            if let Some(content) = found {
                return Ok(content.into_source(path));
            }
        }
        Err(UploadError::Gone(id.clone()))
    }

    /// Files, objects and reads that hang, for metrics.
    pub fn counts(&self) -> RegistryCounts {
        let state = self.lock();
        RegistryCounts {
            files: state.versions.len(),
            objects: state.places.len(),
            stalled_reads: self.guard.stalled(),
        }
    }

    /// Memory it holds, bytes, estimated.
    pub fn approx_bytes(&self) -> usize {
        let state = self.lock();
        let build_ids = (state.versions.len() + state.files.len()) * 48;
        let places = state.places.len() * (48 + PLACES_PER_OBJECT * size_of::<Place>());
        let tables = state.versions.table_bytes() + state.files.table_bytes();
        build_ids + places + tables + state.places.table_bytes() + state.interned.approx_bytes()
    }

    fn is_stalled(&self, device: DeviceId) -> bool {
        self.lock().stalled_devices.get(&device).is_some_and(|stall| stall.until > Instant::now())
    }

    fn pause(&self, device: DeviceId) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.stalled_devices.len() >= MAX_STALLED_DEVICES {
            state.stalled_devices.retain(|_, stall| stall.until > now);
        }
        let known = state.stalled_devices.get(&device);
        let pause = known.map_or(MIN_PAUSE, |stall| (stall.pause * 2).min(MAX_PAUSE));
        if known.is_some() || state.stalled_devices.len() < MAX_STALLED_DEVICES {
            state.stalled_devices.insert(device, Stall { until: now + pause, pause });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sizes of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryCounts {
    /// Files whose identity is remembered.
    pub files: usize,
    /// Objects that can be opened again.
    pub objects: usize,
    /// Reads that have not come back.
    pub stalled_reads: usize,
}

enum Content {
    File(File, u64),
    Bytes(Vec<u8>),
}

impl Content {
    fn into_source(self, path: String) -> UploadSource {
        match self {
            Self::File(file, size) => UploadSource::file(file, size, path),
            Self::Bytes(bytes) => UploadSource::bytes(ObjectFormat::Elf, bytes, path),
        }
    }
}

fn file_source(proc_root: &std::path::Path, id: &ObjectId, place: &Place) -> Option<Content> {
    place.candidates(proc_root).find_map(|(mut file, version)| {
        let same = elf_identity::build_id(&file).is_ok_and(|build_id| build_id == id.build_id);
        (same && file.rewind().is_ok()).then(|| Content::File(file, version.size()))
    })
}

fn vdso_source(proc_root: &std::path::Path, id: &ObjectId, place: &Place) -> Option<Content> {
    let process = proc_root.join(place.pid.to_string());
    let bytes = memory::read_range(&process, place.start, place.end).ok()?;
    let same =
        elf_identity::build_id(Cursor::new(&bytes)).is_ok_and(|build_id| build_id == id.build_id);
    same.then_some(Content::Bytes(bytes))
}

#[cfg(test)]
mod tests;
