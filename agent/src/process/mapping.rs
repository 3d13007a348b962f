//! The executable mappings of one program image.
//!
//! Pure: lines of `maps` and kernel events in, lookups by address and time out. Unmapping is not
//! reported by the kernel, so a mapping lasts until another one takes its place.

use std::sync::{Arc, OnceLock};

use crate::{
    object::{CodeObject, FileId, Place},
    sampler::KernelBuildId,
};

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// A file, identified by the kernel when it was mapped.
    Identified(KernelBuildId),
    /// A file that is identified when it is first needed.
    File(FileId),
    /// The vDSO.
    Vdso,
    /// Memory without a file, or with one that is only a name for memory.
    Anonymous,
}

/// An executable range of a process's memory.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset of the first byte in the file.
    pub file_offset: u64,
    /// When it came, `CLOCK_BOOTTIME` nanoseconds; 0 = it was there before we looked.
    pub since_ns: u64,
    /// Path or name as the process sees it.
    pub path: Arc<[u8]>,
    /// What is mapped.
    pub region: Region,
    /// The object behind it, found out at its first sample; shared by the processes that were forked
    /// with this mapping.
    pub(super) object: OnceLock<Arc<CodeObject>>,
}

/// Disjoint mappings in order of address.
#[derive(Clone, Debug, Default)]
pub struct MappingSet {
    mappings: Vec<Mapping>,
    /// What was replaced lately, with the time of replacement: samples from before may still come.
    replaced: Vec<(u64, Mapping)>,
}

/// Most executable mappings kept of one process: some 1 MiB. Real ones have tens to hundreds.
const MAX_MAPPINGS: usize = 8 * 1024;

/// Most replaced mappings kept until the next drain.
const MAX_REPLACED: usize = 1024;

/// Names of shared memory that the kernel shows like those of files.
const MEMORY_FILES: [&[u8]; 5] =
    [b"/memfd:", b"/dev/zero", b"/SYSV", b"/dev/shm/", b"/anon_hugepage"];

// === impl Region ===

impl Region {
    /// Tells from a mapping's name and file what it is.
    pub fn of(path: &[u8], file: FileId) -> Self {
        match path {
            b"[vdso]" => Self::Vdso,
            // "//anon", "[heap]", "[stack]", "[uprobes]", "[anon:…]", "anon_inode:…", nothing.
            _ if file.inode == 0 || !path.starts_with(b"/") => Self::Anonymous,
            _ => Self::File(file),
        }
    }

    /// Whether a file of this name is only a name for memory: when it holds no ELF, it holds
    /// generated code.
    pub fn is_memory_file(path: &[u8]) -> bool {
        MEMORY_FILES.iter().any(|prefix| path.starts_with(prefix))
    }
}

// === impl Mapping ===

impl Mapping {
    /// A mapping whose object is not known yet.
    pub fn new(start: u64, end: u64, file_offset: u64, path: Arc<[u8]>, region: Region) -> Self {
        let object = OnceLock::new();
        Self { start, end, file_offset, since_ns: 0, path, region, object }
    }

    /// Where its file is, seen by a process that maps it.
    pub fn place(&self, pid: u32, parent: Option<u32>) -> Place {
        Place {
            pid,
            parent,
            start: self.start,
            end: self.end,
            path: Arc::clone(&self.path),
            file: match self.region {
                Region::File(file) => Some(file),
                Region::Identified(_) | Region::Vdso | Region::Anonymous => None,
            },
        }
    }

    /// Whether it is the same range of the same file. What the kernel's event and `maps` say of the
    /// file differs, so names have to do.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.start, self.end, self.file_offset) == (other.start, other.end, other.file_offset)
            && self.path == other.path
    }

    fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// What remains of it between two addresses; `None` when nothing does.
    fn clip(&self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        (start < end).then(|| Self {
            start,
            end,
            file_offset: self.file_offset.wrapping_add(start - self.start),
            // An object without a file is one for each mapping; a file's stays the same.
            ..self.clone()
        })
    }
}

// === impl MappingSet ===

impl MappingSet {
    /// Adds a mapping that replaces whatever overlaps it; `false` when there are too many.
    pub fn insert(&mut self, mapping: Mapping) -> bool {
        let first = self.mappings.partition_point(|m| m.end <= mapping.start);
        let last = self.mappings.partition_point(|m| m.start < mapping.end);
        if self.mappings.len() - (last - first) >= MAX_MAPPINGS {
            return false;
        }
        // Most often: new memory at a new place.
        if first == last {
            self.mappings.insert(first, mapping);
            return true;
        }
        let mut pieces = Vec::with_capacity(3);
        pieces.extend(self.mappings[first].clip(0, mapping.start));
        let after = self.mappings[last - 1].clip(mapping.end, u64::MAX);
        let since_ns = mapping.since_ns;
        pieces.push(mapping);
        pieces.extend(after);
        for old in self.mappings.splice(first..last, pieces) {
            if since_ns > 0 && self.replaced.len() < MAX_REPLACED {
                self.replaced.push((since_ns, old));
            }
        }
        true
    }

    /// The mapping that held `address` at `time_ns`.
    pub fn find(&self, address: u64, time_ns: u64) -> Option<&Mapping> {
        let past = self.replaced.iter().find(|(until_ns, old)| {
            old.contains(address) && old.since_ns <= time_ns && time_ns < *until_ns
        });
        if let Some((_, mapping)) = past {
            return Some(mapping);
        }
        // A mapping that came after the sample is taken too: where nothing was before, the sample's
        // clock and the event's are merely a little apart.
        let index = self.mappings.partition_point(|m| m.end <= address);
        self.mappings.get(index).filter(|m| m.contains(address))
    }

    /// Whether anything was replaced and is still kept.
    pub fn has_replaced(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// Forgets what was replaced before `time_ns`.
    pub fn forget_before(&mut self, time_ns: u64) {
        self.replaced.retain(|(until_ns, _)| *until_ns > time_ns);
    }

    /// The mappings in order of address.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// Memory it holds, bytes, without paths and objects (which are shared).
    pub fn approx_bytes(&self) -> usize {
        size_of::<Self>()
            + self.mappings.capacity() * size_of::<Mapping>()
            + self.replaced.capacity() * size_of::<(u64, Mapping)>()
    }

    /// Gives back what the vectors have in reserve.
    pub(super) fn shrink(&mut self) {
        self.mappings.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
