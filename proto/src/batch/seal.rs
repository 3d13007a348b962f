//! A batch as bytes: protobuf, zstd, checksum. Agents seal once; collectors store what they got.

use std::io::Read as _;

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::{Batch, InvalidBatch};
use crate::{
    ids::{BatchId, IdError},
    v1,
};

/// The payload format this version writes.
pub const FORMAT: u32 = 1;

/// Compression level: the default of zstd, some 200 MB/s.
const ZSTD_LEVEL: i32 = 3;

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Compressed payload, bytes.
    pub max_payload_bytes: usize,
    /// Payload after decompression, bytes.
    pub max_raw_bytes: u64,
}

/// A batch could not be sealed.
#[derive(Debug, Error)]
#[error("compressing a batch failed")]
pub struct SealError(#[from] std::io::Error);

/// Bytes that are not a batch.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The batch's id is malformed.
    #[error("batch id: {0}")]
    Id(#[from] IdError),
    /// Written by a newer version.
    #[error("batch format {0} is not known here (newest: {FORMAT}); upgrade the reader")]
    Format(u32),
    /// Over a limit.
    #[error("batch of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// What it has.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The checksum does not match.
    #[error("batch is damaged: CRC-32C is {actual:08x}, expected {expected:08x}")]
    Checksum {
        /// Of the bytes received.
        actual: u32,
        /// As announced.
        expected: u32,
    },
    /// Decompression failed, or gave another size than announced.
    #[error("batch payload is damaged: {0}")]
    Payload(String),
    /// Not a protobuf `Batch`.
    #[error("batch payload is not a Batch message: {0}")]
    Decode(#[from] prost::DecodeError),
    /// An index or a sum is wrong.
    #[error("batch is inconsistent: {0}")]
    Invalid(#[from] InvalidBatch),
    /// The envelope announces another number of samples than the batch holds.
    #[error("batch holds {actual} samples, its envelope says {expected}")]
    Samples {
        /// In the batch.
        actual: u64,
        /// In the envelope.
        expected: u64,
    },
}

// === impl Limits ===

impl Default for Limits {
    /// 16 MiB compressed, 128 MiB raw: a hundred times what a busy host sends.
    fn default() -> Self {
        Self { max_payload_bytes: 16 << 20, max_raw_bytes: 128 << 20 }
    }
}

/// Encodes and compresses a batch.
///
/// # Errors
/// When compression fails (out of memory).
pub fn seal(id: BatchId, batch: &Batch) -> Result<v1::SealedBatch, SealError> {
    let raw = batch.wire().encode_to_vec();
    let payload = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
    Ok(v1::SealedBatch {
        instance: id.instance.as_bytes().to_vec(),
        sequence: id.sequence,
        format: FORMAT,
        samples: batch.sample_total(),
        raw_size: raw.len() as u64,
        crc32c: crc32c::crc32c(&payload),
        payload: Bytes::from(payload),
    })
}

/// Checks and decodes a sealed batch; memory use is bounded by `limits`.
///
/// # Errors
/// See [`OpenError`]; none of them goes away by trying again.
pub fn open(sealed: &v1::SealedBatch, limits: Limits) -> Result<(BatchId, Batch), OpenError> {
    let id = BatchId::from_wire(&sealed.instance, sealed.sequence)?;
    if sealed.format != FORMAT {
        return Err(OpenError::Format(sealed.format));
    }
    check_size(sealed.payload.len() as u64, limits.max_payload_bytes as u64)?;
    check_size(sealed.raw_size, limits.max_raw_bytes)?;
    let actual = crc32c::crc32c(&sealed.payload);
    if actual != sealed.crc32c {
        return Err(OpenError::Checksum { actual, expected: sealed.crc32c });
    }
    let raw = decompress(&sealed.payload, sealed.raw_size)?;
    let batch = Batch::validate(v1::Batch::decode(raw.as_slice())?)?;
    let actual = batch.sample_total();
    if actual != sealed.samples {
        return Err(OpenError::Samples { actual, expected: sealed.samples });
    }
    Ok((id, batch))
}

fn check_size(size: u64, limit: u64) -> Result<(), OpenError> {
    if size > limit { Err(OpenError::TooLarge { size, limit }) } else { Ok(()) }
}

/// Reads at most one byte more than announced, whatever the frame's own header claims.
fn decompress(payload: &[u8], raw_size: u64) -> Result<Vec<u8>, OpenError> {
    let damaged = |error: std::io::Error| OpenError::Payload(error.to_string());
    let decoder = zstd::stream::read::Decoder::with_buffer(payload).map_err(damaged)?;
    let mut raw = Vec::new();
    decoder.take(raw_size + 1).read_to_end(&mut raw).map_err(damaged)?;
    if raw.len() as u64 != raw_size {
        return Err(OpenError::Payload(format!("its size is not the announced {raw_size} bytes")));
    }
    Ok(raw)
}
