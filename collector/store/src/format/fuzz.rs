//! The way for fuzzers past checksums: they are made to fit what is there, for they keep off accidents, not
//! somebody who writes a file of his own.

use bytes::Bytes;

use super::{FormatError, FunctionsFile, extract::extract, seal};
use crate::catalog::FileId;

/// A file with the right checksum. What does not end as Parquet files do stays as it is.
pub fn sealed(file: &[u8]) -> Bytes {
    let mut file = file.to_vec();
    if let Some(footer) = seal::footer_start(&file, 4) {
        let sum = crc32c::crc32c_append(crc32c::crc32c(&file[..footer - 4]), &file[footer..]);
        file[footer - 4..footer].copy_from_slice(&sum.to_le_bytes());
    }
    file.into()
}

/// Opens a functions file, whatever its checksums say.
///
/// # Errors
/// When it is no such file.
pub fn functions_file(file: &[u8]) -> Result<FunctionsFile, FormatError> {
    let footer = seal::footer_start(file, 8);
    let mut end = file[footer.map_or(0, |footer| footer - 8)..].to_vec();
    if let (Some(_), Some((sums, rest))) = (footer, end.split_at_mut_checked(8)) {
        sums[..4].copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    }
    let mut open = FunctionsFile::open(&end, file.len() as u64)?;
    open.trust(file);
    Ok(open)
}

/// Reads every row of a functions file, as checks of the store do.
///
/// # Errors
/// When it is no such file, or contradicts itself.
pub fn audit(file: &Bytes) -> Result<(), FormatError> {
    functions_file(file)?.audit(file).map(drop)
}

/// The pair of files with what is of one service in another pair, as exports have it.
///
/// # Errors
/// When they are no pair.
pub fn of_service(
    samples: Bytes,
    stacks: Bytes,
    service: &str,
) -> Result<(Bytes, Bytes), FormatError> {
    extract(FileId::random(), samples, stacks, Some(&[service.to_owned()]))
}
