//! Unacknowledged batches on disk, one file each, so that they survive a crash or a restart.
//!
//! In: sealed batches. Out: the same bytes, or the reason why they cannot be had. Every call blocks
//! on the disk. Which batch is written, read or deleted when, and how many, is not decided here.
//!
//! A file gets its name only once it is complete and on disk (write to a temporary name, fsync,
//! rename, fsync of the directory), so a crash leaves either a whole batch or a temporary file that
//! the next start removes. What is damaged all the same is renamed to `*.damaged`, not deleted: it
//! is evidence. A file that the system cannot read now (no descriptor, no memory) is not damaged and
//! stays what it is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};

use fleetprof_proto::{ids::BatchId, v1};
use thiserror::Error;
use tracing::warn;

mod format;

pub(super) use format::Damage;
use format::{HEADER_BYTES, Header};

/// `ID.batch`: a batch.
const BATCH: &str = "batch";
/// `ID.tmp`: being written.
const TEMPORARY: &str = "tmp";
/// `ID.batch.damaged`: put aside.
const DAMAGED: &str = "damaged";
/// Held locked by the agent that uses the directory.
const LOCK: &str = "lock";
/// Damaged files kept; the oldest beyond are deleted.
const DAMAGED_KEPT: usize = 8;
/// File systems give room in blocks.
const BLOCK_BYTES: u64 = 4096;

/// The spool cannot be used. Each text is complete: the system's error is in it, not behind it.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The directory is not there and cannot be made.
    #[error(
        "cannot create the spool directory {dir}: {error}; \
         choose another with --spool-dir, or run without a spool with --spool-bytes 0"
    )]
    Create {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It cannot be written.
    #[error(
        "cannot write to the spool directory {dir}: {error}; make it writable for this user, \
         choose another with --spool-dir, or run without a spool with --spool-bytes 0"
    )]
    Write {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It cannot be listed.
    #[error(
        "cannot read the spool directory {dir}: {error}; make it readable for this user, \
         or choose another with --spool-dir"
    )]
    Scan {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another agent uses it.
    #[error(
        "the spool directory {dir} is in use by another fleetprof-agent; \
         stop that one, or give this one its own directory with --spool-dir"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
}

/// A batch could not be read back.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// The file is not what was written; it was put aside.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Somebody removed it.
    #[error("its file is gone")]
    Gone,
    /// The system cannot read it now; it is still there.
    #[error(transparent)]
    Io(io::Error),
}

/// A directory of batches.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    /// Unlocked by the system when the process ends, however it ends.
    _lock: File,
    /// Room taken by files of newer versions and by damaged ones.
    foreign_bytes: u64,
    damaged_bytes: AtomicU64,
}

/// A batch that an earlier instance left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: BatchId,
    pub(super) samples: u64,
    /// Of its file.
    pub(super) bytes: u64,
}

/// What the directory held at start.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Oldest first.
    pub(super) found: Vec<Found>,
    /// Files put aside now.
    pub(super) damaged: u64,
    /// Samples that were in them, where their headers still say so.
    pub(super) damaged_samples: u64,
    /// Written by a newer version: left alone.
    pub(super) foreign: u64,
    /// Room they take.
    foreign_bytes: u64,
    /// Files that the system could not read: left to the next start.
    pub(super) unreadable: u64,
}

// === impl ReadError ===

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

// === impl Spool ===

impl Spool {
    /// Makes or takes over a directory, and looks at what it holds.
    pub(super) fn open(dir: &Path) -> Result<(Self, Scan), SpoolError> {
        let create = |error| SpoolError::Create { dir: dir.into(), error };
        // Stacks tell what runs on the host: nobody else's business.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(create)?;
        let write = |error| SpoolError::Write { dir: dir.into(), error };
        let lock_path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        let lock =
            options.create(true).truncate(false).write(true).open(lock_path).map_err(write)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => SpoolError::Locked { dir: dir.into() },
            fs::TryLockError::Error(error) => write(error),
        })?;
        let (foreign_bytes, damaged_bytes) = (0, AtomicU64::new(0));
        let mut spool = Self { dir: dir.into(), _lock: lock, foreign_bytes, damaged_bytes };
        // A file system that went read-only opens an existing lock file for writing on some kernels.
        let probe = spool.dir.join("probe").with_extension(TEMPORARY);
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(write)?;
        let scan = spool.scan().map_err(|error| SpoolError::Scan { dir: dir.into(), error })?;
        spool.foreign_bytes = scan.foreign_bytes;
        Ok((spool, scan))
    }

    /// Room taken by files that are not batches to deliver: part of what the spool may take.
    pub(super) fn aside_bytes(&self) -> u64 {
        self.foreign_bytes.saturating_add(self.damaged_bytes.load(Relaxed))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Room that a batch takes on disk.
    pub(super) fn disk_bytes(message_bytes: u64) -> u64 {
        on_disk(message_bytes.saturating_add(HEADER_BYTES as u64))
    }

    /// Writes a batch so that it survives a crash of the host. Leaves nothing behind on failure.
    pub(super) fn write(&self, id: BatchId, sealed: &v1::SealedBatch) -> io::Result<()> {
        let (temporary, path) = (self.path(id, TEMPORARY), self.path(id, BATCH));
        let written = write_new(&temporary, &format::encode(id, sealed))
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        written.inspect_err(|_| {
            // A batch that counts as not written must not be there at the next start.
            for leftover in [&temporary, &path] {
                remove(leftover);
            }
        })
    }

    /// Reads a batch back. A damaged file is put aside: it counts as lost, so the next start must not
    /// find it.
    pub(super) fn read(&self, id: BatchId) -> Result<v1::SealedBatch, ReadError> {
        let path = self.path(id, BATCH);
        let read = read_whole(&path).and_then(|content| Ok(format::decode(id, &content.into())?));
        if let Err(ReadError::Damaged(damage)) = &read {
            self.put_aside(&path, damage);
        }
        read
    }

    /// Deletes a batch. Not durable: one that comes back after a crash is resent and recognized.
    pub(super) fn delete(&self, id: BatchId) -> io::Result<()> {
        fs::remove_file(self.path(id, BATCH))
    }

    fn path(&self, id: BatchId, extension: &str) -> PathBuf {
        self.dir.join(format!("{id}.{extension}"))
    }

    fn scan(&self) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let mut found: Vec<(SystemTime, Found)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(TEMPORARY) => remove(&path),
                Some(BATCH) => match check(&path) {
                    Ok(batch) => found.push(batch),
                    Err(ReadError::Damaged(Damage::Version(version))) => {
                        scan.foreign += 1;
                        scan.foreign_bytes += size_of(&path);
                        warn!(file = %path.display(), version, "spooled batch of a newer version left alone");
                    }
                    Err(ReadError::Damaged(damage)) => {
                        scan.damaged += 1;
                        scan.damaged_samples += damage.samples();
                        self.put_aside(&path, &damage);
                    }
                    Err(ReadError::Gone) => {}
                    Err(ReadError::Io(error)) => {
                        scan.unreadable += 1;
                        warn!(file = %path.display(), %error, "spooled batch cannot be read; the next start tries again");
                    }
                },
                _ => {}
            }
        }
        self.trim_damaged()?;
        found.sort_by_key(|(written, batch)| (*written, batch.id.sequence));
        scan.found = found.into_iter().map(|(_, batch)| batch).collect();
        Ok(scan)
    }

    fn put_aside(&self, path: &Path, damage: &Damage) {
        let aside = path.with_extension(format!("{BATCH}.{DAMAGED}"));
        match fs::rename(path, &aside) {
            Ok(()) => {
                warn!(file = %aside.display(), %damage, "damaged file in the spool was put aside");
            }
            Err(error) => {
                warn!(file = %path.display(), %damage, %error, "damaged file in the spool cannot be renamed");
            }
        }
        if let Err(error) = self.trim_damaged() {
            warn!(dir = %self.dir.display(), %error, "damaged files cannot be counted");
        }
    }

    fn trim_damaged(&self) -> io::Result<()> {
        let mut damaged = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == DAMAGED) {
                let metadata = entry.metadata()?;
                damaged.push((metadata.modified()?, entry.path(), on_disk(metadata.len())));
            }
        }
        damaged.sort();
        let kept = damaged.split_off(damaged.len().saturating_sub(DAMAGED_KEPT));
        damaged.iter().for_each(|(_, path, _)| remove(path));
        self.damaged_bytes.store(kept.iter().map(|(_, _, bytes)| bytes).sum(), Relaxed);
        Ok(())
    }
}

/// Looks at the header and the size only: a start must not read half a gigabyte. The payload's
/// checksum is verified when it is sent.
fn check(path: &Path) -> Result<(SystemTime, Found), ReadError> {
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let id: BatchId = name.and_then(|name| name.parse().ok()).ok_or(Damage::Name)?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut head = Vec::with_capacity(HEADER_BYTES);
    (&file).take(HEADER_BYTES as u64).read_to_end(&mut head)?;
    let header = Header::decode(&head)?;
    header.check(id, metadata.len())?;
    let found = Found { id, samples: header.samples, bytes: on_disk(metadata.len()) };
    Ok((metadata.modified()?, found))
}

fn read_whole(path: &Path) -> Result<Vec<u8>, ReadError> {
    let file = File::open(path)?;
    let actual = file.metadata()?.len();
    if actual > format::MAX_FILE_BYTES {
        return Err(Damage::Size { actual, expected: format::MAX_FILE_BYTES, samples: 0 }.into());
    }
    let mut content = Vec::new();
    file.take(actual).read_to_end(&mut content)?;
    Ok(content)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // A leftover of a failed write of the same batch is overwritten.
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(file = %path.display(), %error, "file in the spool cannot be removed");
        }
        _ => {}
    }
}

/// Of a file that was there a moment ago.
fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| on_disk(metadata.len()))
}

fn on_disk(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
