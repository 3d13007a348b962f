//! Opens the file behind a mapping of another process.
//!
//! In: a [`Place`]: who maps what where. Out: an open regular file that is the mapped one, also when
//! the process has another mount namespace, or the file was deleted or replaced. Pipes, sockets and
//! devices are never opened for reading: doing so can wait, or have effects.
//!
//! Everything here may hang on a file system that does not answer: call it under a
//! [`Guard`](super::guard::Guard).

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use thiserror::Error;

/// Device numbers as `/proc/PID/maps` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceId {
    /// Major number; 0 for file systems without a block device.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Identity of a file as `/proc/PID/maps` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The file system.
    pub device: DeviceId,
    /// Inode number; 0 for memory without a file.
    pub inode: u64,
    /// Tells the files apart that had the same inode number one after the other; 0 = not known.
    pub generation: u64,
}

/// Where a file was seen mapped: enough to open it again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who maps it.
    pub pid: u32,
    /// Who made that process: where it still runs when `pid` is gone, it mostly sees the same files.
    pub parent: Option<u32>,
    /// First address of the mapping.
    pub start: u64,
    /// One past its last address.
    pub end: u64,
    /// Path as the process sees it.
    pub path: Arc<[u8]>,
    /// The file, where the kernel told.
    pub file: Option<FileId>,
}

/// What an open file is, as far as its content can have changed: the key of caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed_seconds: i64,
    changed_nanos: u64,
}

/// A mapped file that cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The process or its file is gone, or may not be read.
    #[error("the file behind a mapping of process {pid} cannot be opened: {error}")]
    Unreachable {
        /// Who maps it.
        pid: u32,
        /// What the last attempt said.
        error: io::Error,
    },
    /// At its path there is something else now.
    #[error("the file was replaced, and its old content cannot be reached any more")]
    Replaced,
    /// It is a directory, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
}

/// File systems whose `stat` gives another device than `maps`, because they stand for files of
/// another one.
const STAND_INS: [u64; 2] = [
    0x794c_7630, // overlayfs
    0x9123_683e, // btrfs: one device number per subvolume
];

// === impl DeviceId ===

impl DeviceId {
    fn of(device: u64) -> Self {
        Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device) }
    }
}

// === impl Place ===

impl Place {
    /// Opens the mapped file.
    ///
    /// # Errors
    /// When no way leads to it.
    pub fn open(&self, proc_root: &Path) -> Result<(File, Version), OpenError> {
        let mut outcome = OpenError::Unreachable { pid: self.pid, error: Errno::NOENT.into() };
        for attempt in self.attempts(proc_root) {
            match attempt {
                Ok(found) if self.is(&found) => return Ok((found.file, Version::of(&found.stat))),
                Ok(_) => outcome = OpenError::Replaced,
                Err(OpenRegular::NotAFile) => return Err(OpenError::NotAFile),
                // What an earlier attempt found says more than that a later one found nothing.
                Err(OpenRegular::Errno(errno)) => {
                    if let OpenError::Unreachable { error, .. } = &mut outcome {
                        *error = errno.into();
                    }
                }
            }
        }
        Err(outcome)
    }

    /// Whatever is there now, from every place that may have it. The caller must check the content.
    pub fn candidates(&self, proc_root: &Path) -> impl Iterator<Item = (File, Version)> {
        self.attempts(proc_root)
            .filter_map(Result::ok)
            .map(|found| (found.file, Version::of(&found.stat)))
    }

    /// First by the mapping: the kernel leads to the very file, wherever it is and whatever became of
    /// its name. Without `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`, or after the process ended,
    /// only the path is left: in the process's own root, where its parent lives, on the host.
    fn attempts(&self, proc_root: &Path) -> impl Iterator<Item = Result<Found, OpenRegular>> {
        let Self { pid, start, end, .. } = self;
        let link = proc_root.join(format!("{pid}/map_files/{start:x}-{end:x}"));
        let mut roots: Vec<_> = self.roots(proc_root).collect();
        roots.push(root_of(1, proc_root));
        // Our own is the host's, too, unless we run in a container.
        roots.push("/".into());
        let by_mapping = std::iter::once_with(move || {
            let at = rustix::fs::open(&link, LOOK, Mode::empty()).map_err(OpenRegular::Errno)?;
            Found::open(&at, true)
        });
        by_mapping.chain(
            roots.into_iter().map(|root| Found::open(&look_below(&root, &self.path)?, false)),
        )
    }

    /// Where the process and its parent see their files.
    pub(super) fn roots(&self, proc_root: &Path) -> impl Iterator<Item = PathBuf> {
        let pids = std::iter::once(self.pid).chain(self.parent);
        pids.map(move |pid| root_of(pid, proc_root))
    }

    fn is(&self, found: &Found) -> bool {
        let Some(expected) = self.file.filter(|file| file.inode != 0) else {
            return found.by_mapping;
        };
        let same_inode = found.stat.st_ino == expected.inode;
        let same_device = DeviceId::of(found.stat.st_dev) == expected.device;
        match (same_inode, same_device) {
            (true, true) => true,
            // Their inode numbers may carry the layer besides.
            (false, _) => found.by_mapping && is_stand_in(&found.file),
            (true, false) => is_stand_in(&found.file),
        }
    }
}

// === impl Version ===

impl Version {
    /// Whether both are the same file, whatever happened to it.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// What an open file is.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    /// Size of the file, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.unsigned_abs(),
            changed_seconds: stat.st_ctime,
            changed_nanos: stat.st_ctime_nsec,
        }
    }
}

/// How often a lookup is tried that the kernel could not finish, because something was renamed or
/// mounted meanwhile, anywhere on the host: it then cannot tell whether `..` stayed below the root.
const LOOKUPS: usize = 64;

/// Access that neither waits nor has effects, whatever is there.
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

struct Found {
    file: File,
    stat: Stat,
    by_mapping: bool,
}

enum OpenRegular {
    Errno(Errno),
    NotAFile,
}

// === impl Found ===

impl Found {
    /// Looks at what is there before opening it for reading.
    fn open(at: &OwnedFd, by_mapping: bool) -> Result<Self, OpenRegular> {
        let stat = rustix::fs::fstat(at).map_err(OpenRegular::Errno)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(OpenRegular::NotAFile);
        }
        // Our own descriptor, so our own /proc whatever the caller's root.
        let again = format!("/proc/self/fd/{}", at.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(again, flags, Mode::empty()).map_err(OpenRegular::Errno)?;
        Ok(Self { file: File::from(file), stat, by_mapping })
    }
}

/// Opens the regular file `path` below `root`, if that is what is there.
pub(super) fn open_below(root: &Path, path: &[u8]) -> Option<(File, Version)> {
    let at = look_below(root, path).ok()?;
    let found = Found::open(&at, false).ok()?;
    Some((found.file, Version::of(&found.stat)))
}

/// Opens the regular file `path` as the process sees it, unless that name is a symbolic link: where it
/// leads is the choice of whoever made it.
///
/// # Errors
/// When it is not there, or is something else.
pub fn open_for_process(pid: u32, path: &[u8], proc_root: &Path) -> Result<File, OpenError> {
    let at = look_below_with(&root_of(pid, proc_root), path, LOOK | OFlags::NOFOLLOW);
    match at.and_then(|at| Found::open(&at, false)) {
        Ok(found) => Ok(found.file),
        Err(OpenRegular::NotAFile) => Err(OpenError::NotAFile),
        Err(OpenRegular::Errno(errno)) => Err(OpenError::Unreachable { pid, error: errno.into() }),
    }
}

fn root_of(pid: u32, proc_root: &Path) -> PathBuf {
    proc_root.join(pid.to_string()).join("root")
}

/// Finds `path` below `root` as a process with that root would: neither `..` nor a symbolic link
/// leads out of it. Mappings have names of their process's choice.
fn look_below(root: &Path, path: &[u8]) -> Result<OwnedFd, OpenRegular> {
    look_below_with(root, path, LOOK)
}

fn look_below_with(root: &Path, path: &[u8], flags: OFlags) -> Result<OwnedFd, OpenRegular> {
    if path.first() != Some(&b'/') {
        return Err(OpenRegular::NotAFile);
    }
    let directory = rustix::fs::open(root, LOOK | OFlags::DIRECTORY, Mode::empty())
        .map_err(OpenRegular::Errno)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let look =
        || rustix::fs::openat2(&directory, OsStr::from_bytes(path), flags, Mode::empty(), resolve);
    let mut found = look();
    for _ in 1..LOOKUPS {
        if !matches!(found, Err(Errno::AGAIN)) {
            break;
        }
        found = look();
    }
    found.map_err(OpenRegular::Errno)
}

fn is_stand_in(file: &File) -> bool {
    rustix::fs::fstatfs(file)
        .is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|kind| STAND_INS.contains(&kind)))
}

#[cfg(test)]
mod tests;
