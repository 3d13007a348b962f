//! `.gnu_debugdata`: a stripped binary's own symbols, as an ELF file packed with xz.

use std::io::Read;

use xz2::{read::XzDecoder, stream::Stream};

use crate::{budget::Budget, error::ConvertError};

/// Most memory for the decoder's window, bytes.
const MEMORY: u64 = 128 << 20;

/// Most bytes of such a file: Fedora's largest are a few megabytes.
const MAX_BYTES: u64 = 256 << 20;

/// Unpacks the file.
pub(crate) fn unpack(packed: &[u8], budget: &mut Budget) -> Result<Vec<u8>, ConvertError> {
    let damaged = || ConvertError::Damaged(".gnu_debugdata");
    let limit = MAX_BYTES.min(budget.limits().unpacked_bytes);
    let stream = Stream::new_stream_decoder(MEMORY, 0).map_err(|_| damaged())?;
    let mut bytes = Vec::new();
    XzDecoder::new_stream(packed, stream)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| damaged())?;
    if bytes.len() as u64 > limit {
        return Err(ConvertError::TooLarge { what: "bytes in .gnu_debugdata", limit });
    }
    budget.unpack(bytes.len() as u64)?;
    Ok(bytes)
}
