//! The checksum of a file: CRC-32C of all its bytes but the four that it stands in.
//!
//! It stands right before Parquet's footer, where no reader of Parquet looks: pages and footer are found
//! by their offsets. Parquet's own checksums are for pages only, and its footer has none; with this one
//! a file can tell damage by itself, wherever it was copied to. It stays where it is in later formats.

use bytes::Bytes;

/// What stands at the very end, after the footer and its length.
const MAGIC: &[u8] = b"PAR1";
/// Bytes after the footer: its length and the magic.
const TAIL: usize = 8;
/// Largest footer read, bytes.
const MAX_FOOTER: usize = 64 << 20;

/// Puts the checksum into a file that was just written; `None` if that is not a Parquet file.
pub(super) fn seal(mut file: Vec<u8>) -> Option<Bytes> {
    let footer = footer_start(&file, 0)?;
    let sum = crc32c::crc32c(&file);
    file.splice(footer..footer, sum.to_le_bytes());
    Some(file.into())
}

/// The same for a file of which parts are read: the four bytes before its checksum are that of what
/// comes after it. Also gives the length of the end that [`check_end`] needs.
pub(super) fn seal_with_end(mut file: Vec<u8>) -> Option<(Bytes, u64)> {
    let footer = footer_start(&file, 0)?;
    let sum = crc32c::crc32c(&file[footer..]);
    file.splice(footer..footer, sum.to_le_bytes());
    let end = file.len() - footer + 4;
    Some((seal(file)?, end as u64))
}

/// The footer in the end of a file sealed by [`seal_with_end`].
///
/// # Errors
/// What is wrong.
pub(super) fn check_end(end: &[u8]) -> Result<&[u8], &'static str> {
    let wrong = "its footer is not what was written";
    let (sum, rest) = end.split_first_chunk::<4>().ok_or(wrong)?;
    let (_of_all, rest) = rest.split_first_chunk::<4>().ok_or(wrong)?;
    let (footer, tail) =
        rest.split_at_checked(rest.len().checked_sub(TAIL).ok_or(wrong)?).ok_or(wrong)?;
    let length = u32::try_from(footer.len()).map_err(|_| wrong)?.to_le_bytes();
    if *sum != crc32c::crc32c(rest).to_le_bytes() || !tail.starts_with(&length) {
        return Err(wrong);
    }
    Ok(footer)
}

/// The footer of a file whose bytes are those that were sealed.
///
/// # Errors
/// What is wrong.
pub(super) fn check(file: &[u8]) -> Result<&[u8], &'static str> {
    let footer = footer_start(file, 4).ok_or("it does not end as Parquet files do")?;
    let (body, rest) = file.split_at(footer - 4);
    let (sum, rest) = rest.split_at(4);
    let actual = crc32c::crc32c_append(crc32c::crc32c(body), rest);
    if sum != actual.to_le_bytes() {
        return Err("its checksum is wrong");
    }
    Ok(&rest[..rest.len() - TAIL])
}

/// Where the footer begins: after the magic and at least `before` more bytes.
pub(super) fn footer_start(file: &[u8], before: usize) -> Option<usize> {
    let (rest, tail) = file.split_at_checked(file.len().checked_sub(TAIL)?)?;
    let (length, magic) = tail.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if magic != MAGIC || !file.starts_with(MAGIC) || length > MAX_FOOTER {
        return None;
    }
    rest.len().checked_sub(length).filter(|start| *start >= MAGIC.len() + before)
}
