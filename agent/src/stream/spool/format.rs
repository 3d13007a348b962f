//! The file of one spooled batch: a header of [`HEADER_BYTES`], then the `SealedBatch` message.
//! Pure: bytes in, values out; any bytes are harmless.
//!
//! | bytes | content (integers little-endian) |
//! |---|---|
//! | 0..8 | magic `FLEETSPL` |
//! | 8..12 | version, 1 |
//! | 12..28 | instance |
//! | 28..36 | sequence |
//! | 36..44 | samples |
//! | 44..52 | length of the message |
//! | 52..56 | CRC-32C of the message |
//! | 56..60 | CRC-32C of bytes 0..56 |

use bytes::Bytes;
use fleetprof_proto::{
    ids::{BatchId, IdError},
    v1,
};
use prost::Message as _;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"FLEETSPL";
const VERSION: u32 = 1;
/// Size of the header.
pub(super) const HEADER_BYTES: usize = 60;
/// Larger files are not read: four times what a collector accepts.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// How a file differs from what was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::stream) enum Damage {
    /// The name is not a batch id.
    #[error("its name is not a batch id")]
    Name,
    /// Too short for a header.
    #[error("it ends within its header")]
    Short,
    /// The first bytes are wrong.
    #[error("it is not a spooled batch")]
    Magic,
    /// Not of this version.
    #[error("its version {0} is not known here (newest: {VERSION})")]
    Version(u32),
    /// A checksum is wrong.
    #[error("the checksum of its {0} is wrong")]
    Checksum(&'static str),
    /// It was cut off, or is larger than any batch.
    #[error("it has {actual} bytes instead of {expected}")]
    Size {
        /// What it has.
        actual: u64,
        /// What it should have.
        expected: u64,
        /// Samples that it held; 0 when not even its header was read.
        samples: u64,
    },
    /// Header, content and name disagree.
    #[error("it holds batch {actual} under the name of {expected}")]
    Other {
        /// Inside.
        actual: BatchId,
        /// By its name.
        expected: BatchId,
    },
    /// The id in the header is not one.
    #[error("its batch id is malformed: {0}")]
    Id(#[from] IdError),
    /// The message is not a `SealedBatch`.
    #[error("its content is not a sealed batch: {0}")]
    Message(#[from] prost::DecodeError),
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: BatchId,
    pub(super) samples: u64,
    pub(super) message_bytes: u64,
    message_crc: u32,
}

// === impl Damage ===

impl Damage {
    /// Samples that are lost by it, as far as the file still says.
    pub(super) fn samples(&self) -> u64 {
        match self {
            Self::Size { samples, .. } => *samples,
            // Of the others there is no header to believe, or it is another batch's.
            _ => 0,
        }
    }
}

// === impl Header ===

impl Header {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(Damage::Short)?;
        if &head[..8] != MAGIC {
            return Err(Damage::Magic);
        }
        if u32_at(head, 56) != crc32c::crc32c(&head[..56]) {
            return Err(Damage::Checksum("header"));
        }
        // After the checksum: a flipped bit is damage, not a newer version.
        match u32_at(head, 8) {
            VERSION => {}
            version => return Err(Damage::Version(version)),
        }
        Ok(Self {
            id: BatchId::from_wire(&head[12..28], u64_at(head, 28))?,
            samples: u64_at(head, 36),
            message_bytes: u64_at(head, 44),
            message_crc: u32_at(head, 52),
        })
    }

    /// Against the file's name and size.
    pub(super) fn check(&self, expected: BatchId, file_bytes: u64) -> Result<(), Damage> {
        if self.id != expected {
            return Err(Damage::Other { actual: self.id, expected });
        }
        let whole = self.message_bytes.saturating_add(HEADER_BYTES as u64);
        if file_bytes != whole || file_bytes > MAX_FILE_BYTES {
            let (actual, samples) = (file_bytes, self.samples);
            return Err(Damage::Size { actual, expected: whole, samples });
        }
        Ok(())
    }
}

fn u32_at(head: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn u64_at(head: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(head, at)) | u64::from(u32_at(head, at + 4)) << 32
}

/// The whole file of a batch.
pub(super) fn encode(id: BatchId, sealed: &v1::SealedBatch) -> Vec<u8> {
    let message = sealed.encode_to_vec();
    let mut file = Vec::with_capacity(HEADER_BYTES + message.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(id.instance.as_bytes());
    file.extend_from_slice(&id.sequence.to_le_bytes());
    file.extend_from_slice(&sealed.samples.to_le_bytes());
    file.extend_from_slice(&(message.len() as u64).to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(&message).to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
    file.extend_from_slice(&message);
    file
}

/// The batch in a file. The payload shares the file's memory.
pub(super) fn decode(expected: BatchId, file: &Bytes) -> Result<v1::SealedBatch, Damage> {
    let header = Header::decode(file)?;
    header.check(expected, file.len() as u64)?;
    let message = file.slice(HEADER_BYTES..);
    if crc32c::crc32c(&message) != header.message_crc {
        return Err(Damage::Checksum("content"));
    }
    let sealed = v1::SealedBatch::decode(message)?;
    let actual = BatchId::from_wire(&sealed.instance, sealed.sequence)?;
    if actual != expected {
        return Err(Damage::Other { actual, expected });
    }
    Ok(sealed)
}
