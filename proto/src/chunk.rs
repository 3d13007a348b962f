//! Pieces of a large object, compressed one by one.

use std::io;

use thiserror::Error;

/// Most bytes of a chunk, before compression.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;

/// Compression level: some 500 MB/s, so that it costs an agent little.
const ZSTD_LEVEL: i32 = 1;

/// Bytes that are no packed chunk, or one of too many bytes.
#[derive(Debug, Error)]
#[error("not a chunk of at most {MAX_CHUNK_BYTES} bytes, compressed with zstd: {0}")]
pub struct UnpackError(#[source] io::Error);

/// Compresses a chunk.
///
/// # Errors
/// When memory is short.
pub fn pack(chunk: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(chunk, ZSTD_LEVEL)
}

/// The bytes of a chunk; takes no more memory than a chunk may have, whatever the bytes claim.
///
/// # Errors
/// When they are damaged or too many.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    zstd::bulk::decompress(packed, MAX_CHUNK_BYTES).map_err(UnpackError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_and_too_large_ones_do_not() {
        let chunk: Vec<u8> = (0..MAX_CHUNK_BYTES).map(|at| (at / 1000) as u8).collect();
        let packed = pack(&chunk).unwrap();
        assert!(packed.len() < 100_000);
        assert_eq!(unpack(&packed).unwrap(), chunk);
        let bomb = pack(&vec![0; MAX_CHUNK_BYTES + 1]).unwrap();
        assert!(unpack(&bomb).unwrap_err().to_string().contains("at most 1048576 bytes"));
        assert!(unpack(b"no chunk").is_err());
    }
}
