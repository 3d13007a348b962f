//! A batch as bytes: protobuf, zstd, checksum. Agents seal once; collectors keep what is in it.

use std::cell::RefCell;

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;
use zstd::bulk::Decompressor;

use super::{
    Batch, InvalidBatch,
    pack::{pack, unpack},
};
use crate::{
    ids::{BatchId, IdError},
    v1,
};

/// The payload format this version writes: see [`super::pack`].
pub const FORMAT: u32 = 2;
/// The tables as they are: what every collector reads.
pub const OLDEST_FORMAT: u32 = 1;

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
    sealed(id, FORMAT, batch.sample_total(), &pack(batch.wire()))
}

/// The same batch in the first format, for a collector that does not say that it reads this one's.
///
/// # Errors
/// See [`OpenError`]: what cannot be opened cannot be changed.
pub fn downgrade(batch: &v1::SealedBatch, limits: Limits) -> Result<v1::SealedBatch, OpenError> {
    let (id, opened) = open(batch, limits)?;
    sealed(id, OLDEST_FORMAT, batch.samples, opened.wire())
        .map_err(|error| OpenError::Payload(error.to_string()))
}

fn sealed(
    id: BatchId,
    format: u32,
    samples: u64,
    wire: &v1::Batch,
) -> Result<v1::SealedBatch, SealError> {
    let raw = wire.encode_to_vec();
    let payload = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
    Ok(v1::SealedBatch {
        instance: id.instance.as_bytes().to_vec(),
        sequence: id.sequence,
        format,
        samples,
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
    if !(OLDEST_FORMAT..=FORMAT).contains(&sealed.format) {
        return Err(OpenError::Format(sealed.format));
    }
    check_size(sealed.payload.len() as u64, limits.max_payload_bytes as u64)?;
    check_size(sealed.raw_size, limits.max_raw_bytes)?;
    let actual = crc32c::crc32c(&sealed.payload);
    if actual != sealed.crc32c {
        return Err(OpenError::Checksum { actual, expected: sealed.crc32c });
    }
    let raw = decompress(&sealed.payload, sealed.raw_size)?;
    let wire = v1::Batch::decode(raw.as_slice())?;
    let wire = if sealed.format == OLDEST_FORMAT { wire } else { unpack(wire)? };
    let batch = Batch::validate(wire)?;
    let actual = batch.sample_total();
    if actual != sealed.samples {
        return Err(OpenError::Samples { actual, expected: sealed.samples });
    }
    Ok((id, batch))
}

fn check_size(size: u64, limit: u64) -> Result<(), OpenError> {
    if size > limit { Err(OpenError::TooLarge { size, limit }) } else { Ok(()) }
}

thread_local! {
    /// Making one takes as long as decompressing a small batch.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Writes no more than announced, whatever the frame's own header claims.
fn decompress(payload: &[u8], raw_size: u64) -> Result<Vec<u8>, OpenError> {
    let damaged = |error: std::io::Error| {
        OpenError::Payload(format!("{error} ({raw_size} bytes were announced)"))
    };
    let announced = usize::try_from(raw_size).unwrap_or(usize::MAX);
    let raw = DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(kept) => kept,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(payload, announced)
    });
    let raw = raw.map_err(damaged)?;
    if raw.len() as u64 != raw_size {
        return Err(OpenError::Payload(format!("its size is not the announced {raw_size} bytes")));
    }
    Ok(raw)
}
