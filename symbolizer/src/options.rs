//! Limits and policy of symbolization, as values.

use std::path::PathBuf;

/// What a symbolizer may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most parsed objects kept at a time.
    pub max_objects: usize,
    /// Most memory for parsed objects, bytes, by estimate; the least recently used are dropped. The
    /// object in use is kept whatever its size.
    pub max_cache_bytes: u64,
    /// Largest object accepted, bytes, also after decompression of its sections.
    pub max_object_bytes: u64,
    /// Most memory for the names of one object, bytes.
    pub max_names_bytes: usize,
    /// Whether an object may point at another file.
    pub debug_links: DebugLinks,
    /// Where private copies of objects are made, unlinked as soon as they exist.
    pub scratch_dir: PathBuf,
}

/// What to do with an object that names another file as the place of its debug information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebugLinks {
    /// Never open another file: for objects from elsewhere, whose links could name any file here.
    Ignore,
    /// Look for the file beside the object and in these directories (and their `.build-id`).
    Follow(Vec<PathBuf>),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_objects: 64,
            max_cache_bytes: 1 << 30,
            max_object_bytes: 4 << 30,
            max_names_bytes: 16 << 20,
            debug_links: DebugLinks::Ignore,
            scratch_dir: std::env::temp_dir(),
        }
    }
}

impl DebugLinks {
    /// Where Linux distributions install debug information.
    pub fn follow_system() -> Self {
        Self::Follow(vec![PathBuf::from("/usr/lib/debug")])
    }
}
