//! Uploads that broke off: what came of each waits here for the rest.
//!
//! In: files that are not whole. Out: the same file, to one upload that goes on with it. A file's name
//! says which upload it is of: a hash of id, format and size. Nothing says that its bytes are right, and
//! nothing has to: an agent goes on with it only when it hashes as the beginning of the agent's own file
//! does. So neither a crash, nor a damaged disk, nor another host's other file does harm.
//!
//! ```text
//! upload-KEY-NUMBER   being received, by the one upload that made or took it
//! upload-KEY          waits
//! ```

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fleetprof_proto::ids::ObjectId;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::catalog::{Catalog, Format, Reservation, space_of};
use crate::data_dir::UPLOAD_PREFIX;

/// Less than this is sent again sooner than it is kept, bytes.
const MIN_BYTES: u64 = 256 << 10;
/// Bytes that are read at a time.
const BLOCK_BYTES: u64 = 256 << 10;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialLimits {
    /// Most files.
    pub files: usize,
    /// Most bytes of all together; they count in the quota for objects, too.
    pub bytes: u64,
    /// Older ones are removed.
    pub age: Duration,
}

/// Which upload a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

/// The first bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// A file that was waiting and is the caller's now; positioned at its end.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
    /// For what of it is on the disk.
    pub(super) space: Reservation,
}

/// What waits. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Partials {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    scratch: PathBuf,
    limits: PartialLimits,
    waiting: Mutex<HashMap<Key, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    bytes: u64,
    /// Once somebody has asked.
    sha256: Option<[u8; 32]>,
    /// When it broke off.
    since: SystemTime,
    space: Reservation,
}

// === impl Key ===

impl Key {
    pub(super) fn new(id: &ObjectId, format: Format, size: u64) -> Self {
        let format = format.to_wire().as_str_name();
        let hash = Sha256::digest(format!("{id}\n{format}\n{size}"));
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }

    fn parse(hex: &str) -> Option<Self> {
        let is_ours = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(hex, 16).ok().filter(|_| is_ours)?;
        Some(Self(number.to_be_bytes()))
    }

    /// Of a file that waits.
    fn name(self) -> String {
        format!("{UPLOAD_PREFIX}{:032x}", u128::from_be_bytes(self.0))
    }

    /// Of a file that is being received; never used twice.
    fn new_name(self) -> String {
        format!("{}-{:032x}", self.name(), fastrand::u128(..))
    }
}

// === impl Partials ===

impl Partials {
    /// Finds what an earlier run left in `scratch`, also in the middle of an upload.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub(super) fn open(
        scratch: &Path,
        catalog: &Catalog,
        limits: PartialLimits,
    ) -> io::Result<Self> {
        let mut waiting = HashMap::new();
        for (key, (path, meta)) in longest(scratch)? {
            let Some(space) = catalog.reserve(space_of(&meta)) else {
                fs::remove_file(&path)?;
                continue;
            };
            fs::rename(&path, scratch.join(key.name()))?;
            let since = meta.modified()?;
            waiting.insert(key, Waiting { bytes: meta.len(), sha256: None, since, space });
        }
        if !waiting.is_empty() {
            info!(uploads = waiting.len(), "uploads that broke off can go on");
        }
        let scratch = scratch.to_owned();
        let shared = Shared { scratch, limits, waiting: Mutex::new(waiting) };
        let partials = Self { shared: Arc::new(shared) };
        partials.sweep(now());
        Ok(partials)
    }

    /// An empty file for an upload.
    pub(super) fn create(&self, key: Key) -> io::Result<(PathBuf, File)> {
        let path = self.shared.scratch.join(key.new_name());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok((path, file))
    }

    /// What waits of an upload. Reads it all the first time.
    pub(super) fn find(&self, key: Key) -> io::Result<Option<Beginning>> {
        let found = self.lock().get(&key).map(|waiting| (waiting.bytes, waiting.sha256));
        let (bytes, sha256) = match found {
            None => return Ok(None),
            Some((bytes, Some(sha256))) => return Ok(Some(Beginning { bytes, sha256 })),
            Some((bytes, None)) => match self.hash(key, bytes) {
                Ok(sha256) => (bytes, sha256),
                // Somebody went on with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let mut waiting = self.lock();
        match waiting.get_mut(&key) {
            // Of one that took its place meanwhile, no matter how, only the agent knows the hash.
            Some(waiting) if waiting.bytes == bytes => waiting.sha256 = Some(sha256),
            _ => return Ok(None),
        }
        Ok(Some(Beginning { bytes, sha256 }))
    }

    fn hash(&self, key: Key, bytes: u64) -> io::Result<[u8; 32]> {
        let mut file = File::open(self.shared.scratch.join(key.name()))?.take(bytes);
        let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK_BYTES as usize]);
        loop {
            match file.read(&mut block)? {
                0 if file.limit() == 0 => return Ok(hasher.finalize().into()),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => hasher.update(&block[..read]),
            }
        }
    }

    /// Hands out a file that waits, if it still is the one that was found: to one caller only.
    pub(super) fn take(&self, key: Key, beginning: &Beginning) -> io::Result<Option<Taken>> {
        let mut waiting = self.lock();
        let is_it = |waiting: &Waiting| {
            waiting.bytes == beginning.bytes && waiting.sha256 == Some(beginning.sha256)
        };
        if !waiting.get(&key).is_some_and(is_it) {
            return Ok(None);
        }
        let path = self.shared.scratch.join(key.new_name());
        fs::rename(self.shared.scratch.join(key.name()), &path)?;
        let taken = waiting.remove(&key).map(|waiting| (waiting.bytes, waiting.space));
        drop(waiting);
        let Some((bytes, space)) = taken else { return Ok(None) };
        let mut file = File::options().read(true).write(true).open(&path)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(bytes))?;
        Ok(Some(Taken { path, file, bytes, space }))
    }

    /// Keeps what came of an upload, unless as much is there: then it is the caller's to remove.
    pub(super) fn set_aside(
        &self,
        key: Key,
        path: &Path,
        file: &File,
        bytes: u64,
        reservation: &mut Reservation,
    ) -> io::Result<bool> {
        if bytes < MIN_BYTES {
            return Ok(false);
        }
        // A hole at its end is none until then.
        file.set_len(bytes)?;
        let space = space_of(&file.metadata()?);
        let mut waiting = self.lock();
        if waiting.get(&key).is_some_and(|other| other.bytes >= bytes) {
            return Ok(false);
        }
        fs::rename(path, self.shared.scratch.join(key.name()))?;
        let space = reservation.split(space);
        waiting.insert(key, Waiting { bytes, sha256: None, since: now(), space });
        drop(waiting);
        self.sweep(now());
        Ok(true)
    }

    /// Removes what is too old or too much.
    pub(super) fn sweep(&self, now: SystemTime) {
        let PartialLimits { files, bytes, age } = self.shared.limits;
        let mut waiting = self.lock();
        let too_old =
            |waiting: &Waiting| now.duration_since(waiting.since).is_ok_and(|it| it > age);
        let old: Vec<Key> =
            waiting.iter().filter(|(_, it)| too_old(it)).map(|(key, _)| *key).collect();
        for key in old {
            self.remove(&mut waiting, key);
        }
        while waiting.len() > files
            || waiting.values().map(|it| it.space.bytes()).sum::<u64>() > bytes
        {
            let Some(key) = oldest(&waiting, None) else { return };
            self.remove(&mut waiting, key);
        }
    }

    /// Removes the oldest one, other than `except`, in favour of an upload that needs its space. Answers
    /// whether there was one.
    pub(super) fn make_room(&self, except: Option<Key>) -> bool {
        let mut waiting = self.lock();
        let found = oldest(&waiting, except);
        if let Some(key) = found {
            self.remove(&mut waiting, key);
        }
        found.is_some()
    }

    fn remove(&self, waiting: &mut HashMap<Key, Waiting>, key: Key) {
        let path = self.shared.scratch.join(key.name());
        if let Err(error) = fs::remove_file(&path) {
            warn!(path = %path.display(), %error, "cannot remove a part of an upload");
        }
        waiting.remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Waiting>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest file of each upload; removes all others. Several of one may have been on their way when
/// the collector ended, beside one that waited.
fn longest(scratch: &Path) -> io::Result<HashMap<Key, (PathBuf, Metadata)>> {
    let mut found: HashMap<Key, (PathBuf, Metadata)> = HashMap::new();
    let mut needless = Vec::new();
    for entry in fs::read_dir(scratch)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(UPLOAD_PREFIX)) else {
            continue;
        };
        let (path, meta) = (entry.path(), entry.metadata()?);
        let key = rest.split('-').next().and_then(Key::parse);
        let Some(key) = key.filter(|_| meta.len() >= MIN_BYTES) else {
            needless.push(path);
            continue;
        };
        let other = found.get(&key).map(|(_, meta)| meta.len());
        if other.is_some_and(|bytes| bytes >= meta.len()) {
            needless.push(path);
        } else {
            needless.extend(found.insert(key, (path, meta)).map(|(path, _)| path));
        }
    }
    needless.iter().try_for_each(fs::remove_file)?;
    Ok(found)
}

fn oldest(waiting: &HashMap<Key, Waiting>, except: Option<Key>) -> Option<Key> {
    let others = waiting.iter().filter(|(key, _)| Some(**key) != except);
    others.min_by_key(|(_, waiting)| waiting.since).map(|(key, _)| *key)
}

fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
