//! Files of a remote store that were read lately, on the local disk.
//!
//! Files never change, so a copy is as good as the original; it is compared with its checksum like that.
//! A copy that cannot be written or read costs a request, nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tracing::{debug, warn};

use crate::catalog::Blob;

/// Copies in one directory, which nobody else uses. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    state: Arc<Mutex<State>>,
}

/// Which copies there are, and when each was used.
#[derive(Debug, Default)]
struct State {
    /// By name: its size, and the number of its last use.
    copies: HashMap<String, (u64, u64)>,
    /// Names by that number.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: u64,
}

// === impl Cache ===

impl Cache {
    /// Goes on with what is in a directory, which is made if it does not exist.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut state = State::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_name().into_string() {
                Ok(name) if !name.ends_with(PART) => state.note(name, entry.metadata()?.len()),
                // A copy that was never finished.
                _ => fs::remove_file(entry.path())?,
            }
        }
        let cache = Self { dir: dir.to_owned(), max_bytes, state: Arc::new(Mutex::new(state)) };
        cache.shrink();
        Ok(cache)
    }

    /// A copy, if there is a whole one. Blocks.
    pub(super) fn get(&self, blob: &Blob) -> Option<Bytes> {
        let name = name(blob);
        let size = self.lock().copies.get(&name)?.0;
        match fs::read(self.dir.join(&name)) {
            Ok(bytes) if super::matches(blob, &bytes) => {
                self.lock().note(name, size);
                Some(bytes.into())
            }
            Ok(_) => {
                warn!(name, "a cached file is damaged; it is fetched again");
                self.remove(&name);
                None
            }
            Err(error) => {
                debug!(name, %error, "a cached file cannot be read");
                self.remove(&name);
                None
            }
        }
    }

    /// Keeps a copy. Blocks.
    pub(super) fn put(&self, blob: &Blob, bytes: &[u8]) {
        if blob.bytes > self.max_bytes / 4 {
            return;
        }
        let name = name(blob);
        let part = self.dir.join(format!("{name}.{:016x}{PART}", fastrand::u64(..)));
        // It need not survive a crash: its checksum would show.
        let written =
            fs::write(&part, bytes).and_then(|()| fs::rename(&part, self.dir.join(&name)));
        if let Err(error) = written {
            warn!(dir = %self.dir.display(), %error, "cannot write to the cache");
            let _ = fs::remove_file(&part);
            return;
        }
        self.lock().note(name, blob.bytes);
        self.shrink();
    }

    /// Forgets the copy of a file that is no more. Blocks.
    pub(super) fn forget(&self, path: &str) {
        self.remove(&flat(path));
    }

    fn remove(&self, name: &str) {
        if self.lock().forget(name) {
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    /// Removes what was not used for longest, until the rest fits.
    fn shrink(&self) {
        loop {
            let mut state = self.lock();
            if state.bytes <= self.max_bytes {
                return;
            }
            let Some(name) = state.by_use.values().next().cloned() else { return };
            state.forget(&name);
            drop(state);
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What files are called that are being written.
const PART: &str = ".part";

fn name(blob: &Blob) -> String {
    flat(&blob.path)
}

/// A path as one name.
fn flat(path: &str) -> String {
    path.replace('/', "+")
}

// === impl State ===

impl State {
    /// Notes that a copy is there and was used.
    fn note(&mut self, name: String, bytes: u64) {
        self.forget(&name);
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, name.clone());
        self.copies.insert(name, (bytes, self.uses));
    }

    fn forget(&mut self, name: &str) -> bool {
        let Some((bytes, used)) = self.copies.remove(name) else { return false };
        self.by_use.remove(&used);
        self.bytes -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn blob(name: &str, bytes: &[u8]) -> Blob {
        let crc32c = crc32c::crc32c(bytes);
        Blob { path: format!("fine/{name}"), bytes: bytes.len() as u64, crc32c }
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).expect("lists");
        let names = entries.map(|it| it.expect("lists").file_name().into_string().expect("text"));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join("x.part"), "rest").expect("writes");
        let cache = Cache::open(dir.path(), 40).expect("opens");
        let blobs: Vec<Blob> = ["a", "b", "c", "d"].iter().map(|it| blob(it, &[7; 10])).collect();
        for blob in &blobs {
            cache.put(blob, &[7; 10]);
        }
        assert_eq!(cache.get(&blobs[0]).as_deref(), Some(&[7; 10][..]));
        cache.put(&blob("e", &[8; 10]), &[8; 10]);
        assert_eq!(names(&dir), ["fine+a", "fine+c", "fine+d", "fine+e"]);
        assert_eq!(cache.get(&blobs[1]), None);
        cache.put(&blob("large", &[9; 11]), &[9; 11]);
        assert_eq!(names(&dir).len(), 4, "it would take the place of too many");
        // Another process goes on with them; less room is kept to.
        drop(cache);
        let cache = Cache::open(dir.path(), 20).expect("opens");
        assert_eq!(names(&dir).len(), 2);
        cache.forget("fine/a");
        cache.forget("fine/none");
    }

    #[test]
    fn a_damaged_copy_is_not_used() {
        let dir = TempDir::new().expect("a directory");
        let cache = Cache::open(dir.path(), 1000).expect("opens");
        let blob = blob("a", b"content");
        cache.put(&blob, b"content");
        fs::write(dir.path().join("fine+a"), b"contenu").expect("writes");
        assert_eq!(cache.get(&blob), None);
        assert_eq!(names(&dir), [""; 0]);
        cache.put(&blob, b"content");
        assert_eq!(cache.get(&blob).as_deref(), Some(&b"content"[..]));
    }
}
