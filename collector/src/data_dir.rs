//! The data directory: one process at a time, of a known version.
//!
//! ```text
//! LOCK        held with flock while a collector runs; its pid, for people
//! VERSION     version of this layout
//! catalog.sqlite   what is in profiles/, unless --catalog names another catalog
//! profiles/   the profiles' files, unless --store names another place
//! cache/      copies of files from --store
//! objects/    binaries and kernel symbols, see `objects`
//! tables/     copies of other collectors' symbol tables from --store
//! scratch/    private temporary files, emptied at start, but for uploads that broke off
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::durable::write_whole;

const VERSION: u32 = 2;

/// What the names of files begin with that uploads are received in: those that broke off go on after a
/// restart, and whoever receives them removes what is left.
pub const UPLOAD_PREFIX: &str = "upload-";

/// A data directory that is locked by this process.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    lock: File,
}

/// A directory that cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// An operation failed.
    #[error("data directory {root}: cannot {action} {path}: {source}{}", hint(.source))]
    Io {
        /// The data directory.
        root: PathBuf,
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "data directory {root} is in use by another fleetprof-collector{holder}: stop that one, or use another --data-dir"
    )]
    Locked {
        /// The data directory.
        root: PathBuf,
        /// ` (pid N)` where it is known.
        holder: String,
    },
    /// A newer version made it.
    #[error(
        "data directory {root} has layout version {found}, this version knows up to {VERSION}: upgrade fleetprof-collector or use another --data-dir"
    )]
    Newer {
        /// The data directory.
        root: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The version file is not one.
    #[error(
        "data directory {root} is corrupt: {path} does not say `fleetprof-data N`; restore that line, or use another --data-dir"
    )]
    Corrupt {
        /// The data directory.
        root: PathBuf,
        /// The version file.
        path: PathBuf,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            " (run as a user who may write there, or choose another with --data-dir)"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            " (a file stands in the way; choose another with --data-dir)"
        }
        io::ErrorKind::StorageFull => " (free some space first)",
        _ => "",
    }
}

// === impl DataDir ===

impl DataDir {
    /// Makes the directory if needed and locks it.
    ///
    /// # Errors
    /// When it cannot be written, is locked, corrupt, or of a newer version.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let failed = |action, path: &Path| {
            let (root, path) = (root.to_owned(), path.to_owned());
            move |source| DataDirError::Io { root, action, path, source }
        };
        create_durably(root).map_err(failed("create", root))?;
        let lock_path = root.join("LOCK");
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&lock_path).map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let root = root.to_owned();
                return Err(DataDirError::Locked { root, holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        // For people only: whether it is locked does not depend on it, so a full disk may forbid it.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        check_version(root)?;
        for name in ["profiles", "objects", "scratch"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(failed("create", &path))?;
        }
        let sync = File::open(root).and_then(|dir| dir.sync_all());
        sync.map_err(failed("sync", root))?;
        let dir = Self { root: root.to_owned(), lock };
        let scratch = dir.scratch();
        for entry in fs::read_dir(&scratch).map_err(failed("list", &scratch))? {
            let entry = entry.map_err(failed("list", &scratch))?;
            if entry.file_name().as_encoded_bytes().starts_with(UPLOAD_PREFIX.as_bytes()) {
                continue;
            }
            let path = entry.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(dir)
    }

    /// Whether a directory that is there has a layout that this version knows; it is not locked, and is
    /// left as it is.
    ///
    /// # Errors
    /// When it is of another version, or corrupt.
    pub fn check(root: &Path) -> Result<(), DataDirError> {
        let path = root.join("VERSION");
        let text = fs::read(&path).map_err(|source| {
            let (root, path) = (root.to_owned(), path.clone());
            DataDirError::Io { root, action: "read", path, source }
        })?;
        match version_of(&text) {
            Some(found) if found > VERSION => {
                Err(DataDirError::Newer { root: root.to_owned(), found })
            }
            Some(_) => Ok(()),
            None => Err(DataDirError::Corrupt { root: root.to_owned(), path }),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where files of profiles are.
    pub fn profiles(&self) -> PathBuf {
        self.root.join("profiles")
    }

    /// The catalog of these files.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.sqlite")
    }

    /// Where copies of files are that are kept elsewhere.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where objects are.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Where copies of other collectors' symbol tables are.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }

    /// Where temporary files may be made.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }
}

impl Drop for DataDir {
    /// Closing alone may not unlock: a process that is being started shares the open file from its fork
    /// until its exec.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// Makes a directory and those above it so that their names survive a crash.
fn create_durably(root: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = root.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(root)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(20).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (pid {pid})"),
        _ => String::new(),
    }
}

fn version_of(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    text.trim_end().strip_prefix("fleetprof-data ")?.parse().ok()
}

fn check_version(root: &Path) -> Result<(), DataDirError> {
    let path = root.join("VERSION");
    let failed = |action| {
        let (root, path) = (root.to_owned(), path.clone());
        move |source| DataDirError::Io { root, action, path, source }
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let line = format!("fleetprof-data {VERSION}\n");
            return write_whole(&path, line.as_bytes()).map_err(failed("write"));
        }
        Err(error) => return Err(failed("read")(error)),
    };
    match version_of(&text) {
        Some(found) if found > VERSION => Err(DataDirError::Newer { root: root.to_owned(), found }),
        Some(VERSION) => Ok(()),
        // An earlier version must not write here any more.
        Some(_) => {
            let line = format!("fleetprof-data {VERSION}\n");
            write_whole(&path, line.as_bytes()).map_err(failed("write"))
        }
        None => Err(DataDirError::Corrupt { root: root.to_owned(), path }),
    }
}

#[cfg(test)]
mod tests;
