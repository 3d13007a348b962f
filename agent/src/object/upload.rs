//! The bytes of an object, for an upload.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek, SeekFrom},
};

use fleetprof_proto::{ids::ObjectId, v1::ObjectFormat};
use thiserror::Error;

use super::{guard::Stalled, outline::Outlined};

/// An object that can be read now. Reading gives at most [`size`](Self::size) bytes; fewer when the
/// file shrinks meanwhile. Reading a file may block: do it where that is allowed.
#[derive(Debug)]
pub struct UploadSource {
    format: ObjectFormat,
    path: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File {
        file: io::Take<File>,
        size: u64,
    },
    /// The same without code and data.
    Outline {
        outline: Outlined,
        size: u64,
    },
    Bytes(Cursor<Vec<u8>>),
}

/// An object that cannot be read.
#[derive(Debug, Error)]
pub enum UploadError {
    /// It was never seen here, or so long ago that it is forgotten.
    #[error("object {0} is not known on this host")]
    Unknown(ObjectId),
    /// It was mapped, but neither the processes nor their files are there any more.
    #[error("object {0} can no longer be read on this host; a process that maps it has to run")]
    Gone(ObjectId),
    /// Reading it takes too long.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// Reading it failed.
    #[error("object {id} cannot be read: {error}")]
    Io {
        /// Which one.
        id: ObjectId,
        /// What failed.
        error: io::Error,
    },
}

// === impl UploadSource ===

impl UploadSource {
    pub(crate) fn file(file: File, size: u64, path: String) -> Self {
        let content = Content::File { file: file.take(size), size };
        Self { format: ObjectFormat::Elf, path, content }
    }

    pub(crate) fn bytes(format: ObjectFormat, bytes: Vec<u8>, path: String) -> Self {
        Self { format, path, content: Content::Bytes(Cursor::new(bytes)) }
    }

    /// With zeros in place of what symbols do not need: a file's code and data. Reads its headers,
    /// which may block.
    #[must_use]
    pub fn outlined(self) -> Self {
        let content = match self.content {
            Content::File { file, size } => {
                Content::Outline { outline: Outlined::new(file.into_inner(), size), size }
            }
            other => other,
        };
        Self { content, ..self }
    }

    /// What the bytes are.
    pub fn format(&self) -> ObjectFormat {
        self.format
    }

    /// How many there are.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::File { size, .. } | Content::Outline { size, .. } => *size,
            Content::Bytes(bytes) => bytes.get_ref().len() as u64,
        }
    }

    /// The file, where there is one, for readers that map it.
    pub fn as_file(&self) -> Option<&File> {
        match &self.content {
            Content::File { file, .. } => Some(file.get_ref()),
            Content::Outline { outline, .. } => Some(outline.file()),
            Content::Bytes(_) => None,
        }
    }

    /// The bytes, where there is no file.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Content::File { .. } | Content::Outline { .. } => None,
            Content::Bytes(bytes) => Some(bytes.get_ref()),
        }
    }

    /// Path it has on the host, for people.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Read for UploadSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::File { file, .. } => file.read(buffer),
            Content::Outline { outline, .. } => outline.read(buffer),
            Content::Bytes(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for UploadSource {
    /// To a position from the start; nobody needs others.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(position) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        match &mut self.content {
            Content::File { file, size } => {
                file.get_mut().seek(to)?;
                file.set_limit(size.saturating_sub(position));
            }
            Content::Outline { outline, .. } => outline.go_to(position),
            Content::Bytes(bytes) => bytes.set_position(position),
        }
        Ok(position)
    }
}
