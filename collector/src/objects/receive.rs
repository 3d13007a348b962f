//! One upload on its way to the disk: a temporary file of an announced size, then checked against the
//! id that it claims.

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

use super::catalog::{Format, space_of};

/// A file that is being received. Removed when dropped, unless it was renamed.
#[derive(Debug)]
pub(super) struct Incoming {
    path: PathBuf,
    file: File,
    expected: u64,
    received: u64,
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
    /// Makes an empty file in `scratch`.
    pub(super) fn create(scratch: &Path, expected: u64) -> io::Result<Self> {
        let path = scratch.join(format!("upload-{:032x}", fastrand::u128(..)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { path, file, expected, received: 0 })
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), Unacceptable> {
        self.received = self.received.saturating_add(chunk.len() as u64);
        if self.received > self.expected {
            return Err(self.wrong_size());
        }
        if chunk.iter().all(|byte| *byte == 0) {
            // A hole, which takes no space.
            self.file.seek_relative(chunk.len() as i64)?;
            return Ok(());
        }
        Ok(self.file.write_all(chunk)?)
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
