//! The format of a segment file, as earlier versions wrote them.
//!
//! ```text
//! file   = header record*                                          integers are little-endian
//! header = "FLPRSEGM" version:u32 number:u64 salt:u64 created:i64 crc:u32          (40 bytes)
//! record = "FPR1" meta_len:u32 payload_len:u32 crc:u32 meta payload
//! ```
//!
//! A record's `crc` is the CRC-32C of the salt, its two lengths and `meta` (a protobuf
//! [`RecordMeta`]); the payload has its own in `meta`. The salt is random per file and also stands in
//! the file's name: whoever chooses payloads cannot make bytes that read as a record when a reader
//! searches for the next one after damage, and a file whose header is damaged can still be read.
//! Pure: bytes in, values out.

use std::path::Path;

use fleetprof_proto::{ids::BatchId, v1};
use prost::Message as _;

/// The newest version that was written.
pub(super) const VERSION: u32 = 1;
/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 40;
/// Bytes before a record's meta.
pub(super) const PREFIX_BYTES: usize = 16;
/// Largest `meta`; real ones have some hundred bytes.
pub(super) const MAX_META_BYTES: usize = 1 << 20;
/// Starts every record.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"FPR1";

const FILE_MAGIC: [u8; 8] = *b"FLPRSEGM";
/// What segment files are called.
const EXTENSION: &str = "seg";

/// Names a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId {
    /// Ascending in the order the files were made.
    pub number: u64,
    /// Goes into every checksum of the file.
    pub salt: u64,
}

/// What a record says of its payload.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RecordMeta {
    #[prost(bytes = "vec", tag = "1")]
    pub instance: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    #[prost(uint32, tag = "3")]
    pub format: u32,
    #[prost(uint64, tag = "4")]
    pub samples: u64,
    #[prost(uint64, tag = "5")]
    pub raw_size: u64,
    #[prost(fixed32, tag = "6")]
    pub payload_crc: u32,
    #[prost(sfixed64, tag = "7")]
    pub start_unix_nanos: i64,
    #[prost(sfixed64, tag = "8")]
    pub end_unix_nanos: i64,
    #[prost(string, tag = "9")]
    pub host: String,
    #[prost(string, tag = "10")]
    pub agent_version: String,
    #[prost(message, optional, tag = "11")]
    pub accounting: Option<v1::Accounting>,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub meta_len: usize,
    pub payload_len: usize,
    pub crc: u32,
}

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It belongs to the file's name, and this version can read on.
    Known,
    /// A newer version wrote it.
    Newer(u32),
    /// Its checksum does not match, or it is of another file.
    Damaged,
}

// === impl SegmentId ===

impl SegmentId {
    /// `None` for a file that is not a segment.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        if path.extension()? != EXTENSION {
            return None;
        }
        let (number, salt) = path.file_stem()?.to_str()?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, salt: u64::from_str_radix(salt, 16).ok()? })
    }

    /// Reads the header of the file with this name.
    pub(super) fn check_header(self, header: &[u8]) -> Header {
        let Some((fields, crc)) = header.split_last_chunk::<4>() else { return Header::Damaged };
        if header.len() != HEADER_BYTES || u32::from_le_bytes(*crc) != crc32c::crc32c(fields) {
            return Header::Damaged;
        }
        let version = u32_at(fields, 8);
        if fields[..8] != FILE_MAGIC {
            return Header::Damaged;
        }
        if version > VERSION {
            return Header::Newer(version);
        }
        let mut named = self.number.to_le_bytes().to_vec();
        named.extend(self.salt.to_le_bytes());
        if fields[12..28] == named { Header::Known } else { Header::Damaged }
    }
}

// === impl Prefix ===

impl Prefix {
    /// `None` when this is not the start of a record.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != RECORD_MAGIC || bytes.len() < PREFIX_BYTES {
            return None;
        }
        let [meta_len, payload_len] = [u32_at(bytes, 4) as usize, u32_at(bytes, 8) as usize];
        let plausible = meta_len <= MAX_META_BYTES;
        plausible.then_some(Self { meta_len, payload_len, crc: u32_at(bytes, 12) })
    }

    /// Length of the whole record, bytes.
    pub(super) fn record_len(self) -> u64 {
        (PREFIX_BYTES + self.meta_len + self.payload_len) as u64
    }

    /// The record's meta, if its checksum matches.
    pub(super) fn meta(self, salt: u64, meta: &[u8]) -> Option<RecordMeta> {
        let lengths = [self.meta_len, self.payload_len].map(|n| u32::try_from(n).unwrap_or(0));
        if meta.len() != self.meta_len || crc(salt, lengths, meta) != self.crc {
            return None;
        }
        RecordMeta::decode(meta).ok()
    }
}

// === impl RecordMeta ===

impl RecordMeta {
    pub(super) fn id(&self) -> Option<BatchId> {
        BatchId::from_wire(&self.instance, self.sequence).ok()
    }

    /// The batch as it came.
    pub(super) fn sealed(self, payload: bytes::Bytes) -> v1::SealedBatch {
        v1::SealedBatch {
            instance: self.instance,
            sequence: self.sequence,
            format: self.format,
            samples: self.samples,
            raw_size: self.raw_size,
            crc32c: self.payload_crc,
            payload,
        }
    }
}

fn crc(salt: u64, lengths: [u32; 2], meta: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&salt.to_le_bytes());
    for length in lengths {
        crc = crc32c::crc32c_append(crc, &length.to_le_bytes());
    }
    crc32c::crc32c_append(crc, meta)
}

/// Callers have checked that the bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}
