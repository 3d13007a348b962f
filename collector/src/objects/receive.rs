//! One upload on its way to the disk: a temporary file of an announced size, then checked against the
//! id that it claims. One that breaks off waits among the [`Partials`].

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use fleetprof_proto::{
    chunk::UnpackError,
    ids::{ObjectId, ObjectKind},
};
use fleetprof_symbolizer::{
    identity::{self, IdentityError, ObjectIdentity, SymbolLevel},
    kallsyms::{Kallsyms, KallsymsError, MAX_LISTING_BYTES},
};
use thiserror::Error;
use tracing::warn;

use super::{
    catalog::{Format, Reservation, space_of},
    partials::{Key, Partials, Taken},
};

/// What a crash of the host may cost of an upload, bytes.
const SYNC_BYTES: u64 = 16 << 20;

/// A file that is being received. When it is dropped before all of it came, it waits for the rest if
/// anybody can go on with it; else it is removed, unless it was renamed.
#[derive(Debug)]
pub(super) struct Incoming {
    path: PathBuf,
    file: File,
    expected: u64,
    received: u64,
    synced: u64,
    space: Reservation,
    /// Where it waits, as what.
    home: Option<(Partials, Key)>,
    /// What is on the disk is not what `received` says.
    is_spoiled: bool,
}

/// An object that is not accepted.
#[derive(Debug, Error)]
pub(super) enum Unacceptable {
    /// More or fewer bytes than announced.
    #[error("{received} bytes were sent, {expected} were announced")]
    Size {
        /// What came.
        received: u64,
        /// What the header says.
        expected: u64,
    },
    /// It is another object than it claims.
    #[error("the file is not {claimed}: its build ID is {actual}")]
    Identity {
        /// The id in the header.
        claimed: ObjectId,
        /// What the file is.
        actual: String,
    },
    /// It cannot be identified.
    #[error("the file is not an object: {0}")]
    NotAnObject(#[from] IdentityError),
    /// It is no listing of symbols.
    #[error("the file is not a listing of kernel symbols: {0}")]
    NotAListing(#[from] KallsymsError),
    /// No file can be named by it.
    #[error("the build ID is too long to be kept")]
    IdTooLong,
    /// It has nothing to add to the object that it goes with.
    #[error("the file has neither symbols nor debug information")]
    NoSymbols,
    /// It cannot be a binary.
    #[error("the file has no code")]
    NoCode,
    /// It is no package of split units.
    #[error("the file has no split units of debug information: it is no .dwp file")]
    NoSplitUnits,
    /// Such a file does not say whose it is.
    #[error("a .dwp file has no build ID: it must be sent together with its binary")]
    WhoseUnits,
    /// The format does not go with the kind of object.
    #[error("an object of kind {kind} must be sent as {expected}")]
    Format {
        /// The kind in the header.
        kind: &'static str,
        /// The format that is accepted for it.
        expected: &'static str,
    },
    /// A chunk is damaged.
    #[error(transparent)]
    Chunk(#[from] UnpackError),
    /// The disk failed, or is full.
    #[error("cannot keep the object: {0}")]
    Io(#[from] io::Error),
}

// === impl Incoming ===

impl Incoming {
    /// Makes an empty file in `scratch`. `space` is for all that is `expected`.
    pub(super) fn create(scratch: &Path, expected: u64, space: Reservation) -> io::Result<Self> {
        let path = scratch.join(format!("object-{:032x}", fastrand::u128(..)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self::new(path, file, 0, expected, space))
    }

    /// The same, of an upload that can go on should it break off.
    pub(super) fn create_resumable(
        partials: &Partials,
        key: Key,
        expected: u64,
        space: Reservation,
    ) -> io::Result<Self> {
        let (path, file) = partials.create(key)?;
        let mut new = Self::new(path, file, 0, expected, space);
        new.home = Some((partials.clone(), key));
        Ok(new)
    }

    /// Goes on with what came earlier, whose space is reserved.
    pub(super) fn resume(partials: &Partials, key: Key, expected: u64, taken: Taken) -> Self {
        let Taken { path, file, bytes, space } = taken;
        let mut resumed = Self::new(path, file, bytes, expected, space);
        resumed.home = Some((partials.clone(), key));
        resumed
    }

    fn new(path: PathBuf, file: File, received: u64, expected: u64, space: Reservation) -> Self {
        let (synced, home, is_spoiled) = (received, None, false);
        Self { path, file, expected, received, synced, space, home, is_spoiled }
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), Unacceptable> {
        let after = self.received.saturating_add(chunk.len() as u64);
        let written = self.write_all(chunk, after);
        self.is_spoiled |= written.is_err();
        self.received = after;
        written
    }

    fn write_all(&mut self, chunk: &[u8], after: u64) -> Result<(), Unacceptable> {
        if after > self.expected {
            return Err(Unacceptable::Size { received: after, expected: self.expected });
        }
        if chunk.iter().all(|byte| *byte == 0) {
            // A hole, which takes no space.
            self.file.seek_relative(chunk.len() as i64)?;
        } else {
            self.file.write_all(chunk)?;
        }
        if after - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = after;
        }
        Ok(())
    }

    /// What is reserved for it.
    pub(super) fn reserved(&self) -> &Reservation {
        &self.space
    }

    pub(super) fn space(&mut self) -> &mut Reservation {
        &mut self.space
    }

    /// No more comes, however much was expected at most.
    pub(super) fn ends_here(&mut self) {
        self.expected = self.received;
    }

    /// Checks what came and makes it durable. Answers how many bytes of the disk it takes.
    pub(super) fn finish(&self, claimed: &ObjectId, format: Format) -> Result<u64, Unacceptable> {
        self.whole()?;
        match format {
            Format::Elf => self.check_elf(claimed)?,
            Format::Debug => {
                self.check_elf(claimed)?;
                let contents = self.identify()?.contents;
                if contents.level() == SymbolLevel::Dynamic && !contents.debug_strings {
                    return Err(Unacceptable::NoSymbols);
                }
            }
            Format::Split => {
                // Nothing in it says whose it is: its units are compared with the object's later.
                if !self.identify()?.contents.split_units {
                    return Err(Unacceptable::NoSplitUnits);
                }
            }
            Format::Kallsyms => self.check_listing()?,
        }
        self.file.sync_all()?;
        Ok(space_of(&self.file.metadata()?))
    }

    /// All that was announced is there, a hole at the end included.
    fn whole(&self) -> Result<(), Unacceptable> {
        if self.received != self.expected {
            return Err(self.wrong_size());
        }
        Ok(self.file.set_len(self.expected)?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn check_elf(&self, claimed: &ObjectId) -> Result<(), Unacceptable> {
        let identity = self.identify()?;
        if identity.is(&claimed.build_id) {
            return Ok(());
        }
        let actual = identity.build_id().to_string();
        Err(Unacceptable::Identity { claimed: claimed.clone(), actual })
    }

    /// What an ELF file is.
    pub(super) fn identify(&self) -> Result<ObjectIdentity, Unacceptable> {
        self.whole()?;
        identity::identify(&self.file).map_err(|error| match error {
            IdentityError::Io(error) => Unacceptable::Io(error),
            error => Unacceptable::NotAnObject(error),
        })
    }

    /// A listing has no identity of its own: that it is the one of this build is the agent's word.
    fn check_listing(&self) -> Result<(), Unacceptable> {
        if self.received > MAX_LISTING_BYTES {
            return Err(KallsymsError::TooLarge(self.received).into());
        }
        let mut listing = Vec::new();
        File::open(&self.path)?.take(MAX_LISTING_BYTES + 1).read_to_end(&mut listing)?;
        Kallsyms::parse(&listing)?;
        Ok(())
    }

    fn wrong_size(&self) -> Unacceptable {
        Unacceptable::Size { received: self.received, expected: self.expected }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some((partials, key)) = &self.home
            && !self.is_spoiled
            && self.received < self.expected
        {
            let Self { path, file, received, space, .. } = self;
            match partials.set_aside(*key, path, file, *received, space) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => warn!(path = %path.display(), %error, "a part of an upload is lost"),
            }
        }
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %self.path.display(), %error, "cannot remove a temporary file");
        }
    }
}

// === impl Unacceptable ===

impl Unacceptable {
    /// A word for counters.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Size { .. } => "size",
            Self::Identity { .. } => "identity",
            Self::NotAnObject(_) | Self::NotAListing(_) => "not_an_object",
            Self::IdTooLong => "identity",
            Self::NoSymbols | Self::NoCode | Self::NoSplitUnits => "no_symbols",
            Self::WhoseUnits => "identity",
            Self::Format { .. } => "format",
            Self::Chunk(_) => "chunk",
            Self::Io(_) => "io",
        }
    }
}

/// Checks that the symbolizer can use this format for this kind: file offsets come from ELF files,
/// addresses relative to the kernel or a module from listings.
pub(super) fn check_format(kind: ObjectKind, format: Format) -> Result<(), Unacceptable> {
    let kernel = matches!(kind, ObjectKind::Kernel | ObjectKind::KernelModule);
    match (kernel, format) {
        (true, Format::Kallsyms) | (false, Format::Elf | Format::Debug | Format::Split) => Ok(()),
        (true, Format::Elf | Format::Debug | Format::Split) => {
            Err(Unacceptable::Format { kind: kind.as_str(), expected: "KALLSYMS" })
        }
        (false, Format::Kallsyms) => {
            Err(Unacceptable::Format { kind: kind.as_str(), expected: "ELF" })
        }
    }
}
