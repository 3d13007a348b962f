//! What a stripped binary says about the file with its debug information (`.gnu_debuglink`).

use crate::bytes::u32_at;
use crate::elf::Image;
use crate::source::ReadAt;
use std::io;

/// The name of a debug file, and how to tell that a file of this name is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// Name of the file, without a folder.
    pub name: Vec<u8>,
    /// CRC-32 of all its bytes.
    pub crc32: u32,
}

/// Longest section that is read: file names have at most 255 bytes.
const MAX_BYTES: u64 = 512;
/// Longest file whose check sum is computed: its name is the process's choice, and so is what is there.
const MAX_SUMMED: u64 = 1 << 30;
/// Bytes that are read at a time.
const BLOCK: u64 = 64 * 1024;

// === impl DebugLink ===

impl DebugLink {
    /// The link of a binary. `None` where there is none, or none that names a file.
    #[must_use]
    pub fn of(binary: &dyn ReadAt) -> Option<Self> {
        let image = Image::read(binary).ok()?;
        let section = image.section(".gnu_debuglink")?;
        let bytes = image.bytes(section.offset, section.size, MAX_BYTES, ".gnu_debuglink").ok()?;
        let length = bytes.iter().position(|&byte| byte == 0)?;
        let name = bytes.get(..length)?;
        let is_name = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
        // Behind the name and its padding.
        let crc32 = u32_at(&bytes, (length + 1).next_multiple_of(4))?;
        is_name.then(|| Self { name: name.to_vec(), crc32 })
    }

    /// Whether `debug` is the file that is meant. Reads all of it; one of more than a gigabyte is
    /// never believed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn leads_to(&self, debug: &dyn ReadAt) -> io::Result<bool> {
        let length = debug.length()?;
        if length > MAX_SUMMED {
            return Ok(false);
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut block = vec![0; BLOCK as usize];
        let mut position = 0;
        while position < length {
            let part = BLOCK.min(length - position);
            let bytes = &mut block[..part as usize];
            debug.read_at(position, bytes)?;
            hasher.update(bytes);
            position += part;
        }
        Ok(hasher.finalize() == self.crc32)
    }
}
