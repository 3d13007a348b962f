//! The bytes of `.eh_frame` and `.debug_frame`, wherever they are and however they are packed.

use crate::bytes::{u8_at, u32_at, u64_at};
use crate::elf::{Image, Section};
use crate::error::BuildError;
use gimli::BaseAddresses;
use std::io::Read;

/// Unwind information in memory.
pub(crate) struct FrameBytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) bases: BaseAddresses,
}

const COMPRESSED_HEADER_BYTES: usize = 24;
const ZLIB: u32 = 1;
const ZSTD: u32 = 2;
const PCREL_SDATA4: u8 = 0x1b;

/// `.eh_frame`, from the section table or, without one, from the program headers.
pub(crate) fn eh_frame(image: &Image<'_>, limit: u64) -> Result<Option<FrameBytes>, BuildError> {
    let what = ".eh_frame";
    let (address, offset, size) = match image.section(what) {
        Some(section) => (section.address, section.offset, section.size),
        None => match from_frame_header(image) {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    let bytes = image.bytes(offset, size, limit, what)?;
    Ok(Some(FrameBytes { bytes, bases: bases(image, address) }))
}

/// `.debug_frame`, unpacked.
pub(crate) fn debug_frame(image: &Image<'_>, limit: u64) -> Result<Option<FrameBytes>, BuildError> {
    let what = ".debug_frame";
    let found = match (image.section(what), image.section(".zdebug_frame")) {
        (Some(section), _) if section.flags & Section::COMPRESSED != 0 => {
            let packed = image.bytes(section.offset, section.size, limit, what)?;
            unpack(&packed, limit)?
        }
        (Some(section), _) => image.bytes(section.offset, section.size, limit, what)?,
        (None, Some(section)) => {
            let packed = image.bytes(section.offset, section.size, limit, what)?;
            unpack_gnu(&packed, limit)?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(FrameBytes { bytes: found, bases: bases(image, 0) }))
}

/// Go's function table.
pub(crate) fn go_functions(image: &Image<'_>, limit: u64) -> Result<Option<Vec<u8>>, BuildError> {
    let names = [".gopclntab", ".data.rel.ro.gopclntab"];
    let Some(section) = names.into_iter().find_map(|name| image.section(name)) else {
        return Ok(None);
    };
    image.bytes(section.offset, section.size, limit, ".gopclntab").map(Some)
}

/// Address, position and greatest size of what the header in `PT_GNU_EH_FRAME` points to.
fn from_frame_header(image: &Image<'_>) -> Option<(u64, u64, u64)> {
    let (address, _) = image.frame_header()?;
    let (position, _) = image.position(address)?;
    let header = image.bytes(position, 8, 8, ".eh_frame_hdr").ok()?;
    // Version 1, and the one encoding that linkers use.
    if (u8_at(&header, 0)?, u8_at(&header, 1)?) != (1, PCREL_SDATA4) {
        return None;
    }
    let distance = i64::from(u32_at(&header, 4)? as i32);
    let start = address.wrapping_add(4).checked_add_signed(distance)?;
    let (offset, size) = image.position(start)?;
    // Nothing tells the size; a terminator or damaged entries end it, or the header behind it.
    let size = match address.checked_sub(start) {
        Some(size_to_header) => size.min(size_to_header),
        None => size,
    };
    Some((start, offset, size))
}

fn bases(image: &Image<'_>, eh_frame: u64) -> BaseAddresses {
    let address = |name| image.section(name).map_or(0, |section| section.address);
    BaseAddresses::default()
        .set_eh_frame(eh_frame)
        .set_text(address(".text"))
        .set_got(address(".got"))
}

/// A section with `SHF_COMPRESSED`.
fn unpack(packed: &[u8], limit: u64) -> Result<Vec<u8>, BuildError> {
    let damaged = || BuildError::Damaged { what: "compressed .debug_frame" };
    let kind = u32_at(packed, 0).ok_or_else(damaged)?;
    let size = u64_at(packed, 8).ok_or_else(damaged)?;
    let body = packed.get(COMPRESSED_HEADER_BYTES..).ok_or_else(damaged)?;
    match kind {
        ZLIB => inflate(flate2::read::ZlibDecoder::new(body), size, limit),
        ZSTD => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| damaged())?;
            inflate(decoder, size, limit)
        }
        _ => Err(damaged()),
    }
}

/// A section with a name that begins with `.z`, as GNU tools once made it.
fn unpack_gnu(packed: &[u8], limit: u64) -> Result<Vec<u8>, BuildError> {
    let damaged = || BuildError::Damaged { what: ".zdebug_frame" };
    let (header, body) = packed.split_at_checked(12).ok_or_else(damaged)?;
    let (magic, size) = header.split_at_checked(4).ok_or_else(damaged)?;
    if magic != b"ZLIB" {
        return Err(damaged());
    }
    let size = size.try_into().map(u64::from_be_bytes).map_err(|_| damaged())?;
    inflate(flate2::read::ZlibDecoder::new(body), size, limit)
}

/// Unpacks `size` bytes, whatever the packed bytes claim.
fn inflate(decoder: impl Read, size: u64, limit: u64) -> Result<Vec<u8>, BuildError> {
    if size > limit {
        return Err(BuildError::TooLarge { what: ".debug_frame", limit });
    }
    // The size is only a claim: memory grows with the bytes that really come.
    let mut bytes = Vec::new();
    decoder
        .take(size)
        .read_to_end(&mut bytes)
        .map_err(|_| BuildError::Damaged { what: "compressed .debug_frame" })?;
    Ok(bytes)
}
