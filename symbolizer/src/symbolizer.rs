//! Objects to answers, with a bounded cache of parsed objects.
//!
//! In: the path of an object and addresses in it. Out: one [`Symbol`] per address. Nothing fails as
//! a whole: what cannot be named says why. Synchronous, CPU-heavy (seconds for a large binary's
//! first address) and bound to one thread; [`crate::pool`] makes it a service for several.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use fleetprof_proto::symbol::{Reason, Symbol};
use tracing::warn;

use crate::{elf::ElfObject, listing::KernelListing, options::Options};

/// Where the symbols of an object are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectSource {
    /// An ELF file: addresses are file offsets.
    Elf {
        /// Path of the file.
        path: PathBuf,
    },
    /// A kallsyms listing: addresses are relative as the listing's are.
    Kallsyms {
        /// Path of the text.
        path: PathBuf,
    },
}

/// How much of an object is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Depth {
    /// Debug information and symbol tables.
    Full,
    /// Symbol tables only.
    Tables,
}

/// Symbolizes addresses of any number of objects and keeps the last used ones parsed.
#[derive(Debug)]
pub struct Symbolizer {
    options: Options,
    objects: HashMap<(ObjectSource, Depth), Entry>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    object: Result<Object, Reason>,
    last_used: u64,
    cost: u64,
}

/// Tells a file from its replacement under the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

#[derive(Debug)]
enum Object {
    Elf(Box<ElfObject>),
    Kallsyms(KernelListing),
}

// === impl ObjectSource ===

impl ObjectSource {
    /// Path of the file.
    pub fn path(&self) -> &Path {
        let (Self::Elf { path } | Self::Kallsyms { path }) = self;
        path
    }
}

// === impl Symbolizer ===

impl Symbolizer {
    /// A symbolizer that has parsed nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, objects: HashMap::new(), clock: 0 }
    }

    /// Looks up addresses of one object; one answer each, in their order. Blocks for as long as it
    /// takes to parse the object.
    pub fn symbolize(&mut self, source: &ObjectSource, addresses: &[u64]) -> Vec<Symbol> {
        self.symbolize_to(source, Depth::Full, addresses)
    }

    pub(crate) fn symbolize_to(
        &mut self,
        source: &ObjectSource,
        depth: Depth,
        addresses: &[u64],
    ) -> Vec<Symbol> {
        let all = |reason| vec![Symbol::Unknown(reason); addresses.len()];
        let key = (source.clone(), depth);
        let version = match Version::of(source.path()) {
            Ok(version) => version,
            Err(error) => {
                self.objects.remove(&key);
                let missing = error.kind() == io::ErrorKind::NotFound;
                return all(if missing { Reason::NoObject } else { Reason::BadObject });
            }
        };
        if self.objects.get(&key).is_some_and(|entry| entry.version != version) {
            self.objects.remove(&key);
        }
        self.clock += 1;
        let options = &self.options;
        let open = || {
            let object = Object::open(source, depth, options);
            Entry { version, object, last_used: 0, cost: 0 }
        };
        let entry = self.objects.entry(key).or_insert_with(open);
        entry.last_used = self.clock;
        let symbols = match &mut entry.object {
            Ok(object) => {
                let symbols = object.symbolize(addresses);
                entry.cost = object.cost(version.size);
                symbols
            }
            Err(reason) => all(*reason),
        };
        self.evict();
        symbols
    }

    /// Number of objects kept parsed.
    pub fn cached_objects(&self) -> usize {
        self.objects.len()
    }

    /// Estimated memory of the objects kept parsed, bytes.
    pub fn cached_bytes(&self) -> u64 {
        self.objects.values().map(|entry| entry.cost).sum()
    }

    /// Drops the least recently used objects until the rest is within the limits.
    fn evict(&mut self) {
        while self.objects.len() > 1
            && (self.objects.len() > self.options.max_objects
                || self.cached_bytes() > self.options.max_cache_bytes)
        {
            let oldest = self.objects.iter().min_by_key(|(_, entry)| entry.last_used);
            let Some(oldest) = oldest.map(|(source, _)| source.clone()) else { return };
            self.objects.remove(&oldest);
        }
    }
}

// === impl Object ===

impl Object {
    fn open(source: &ObjectSource, depth: Depth, options: &Options) -> Result<Self, Reason> {
        match source {
            ObjectSource::Elf { path } => {
                ElfObject::open(path, depth, options).map(|object| Self::Elf(Box::new(object)))
            }
            ObjectSource::Kallsyms { path } => match KernelListing::open(path) {
                Ok(listing) => Ok(Self::Kallsyms(listing)),
                Err(error) => {
                    warn!(path = %path.display(), %error, "kernel symbols refused");
                    Err(error.reason())
                }
            },
        }
    }

    fn symbolize(&mut self, addresses: &[u64]) -> Vec<Symbol> {
        match self {
            Self::Elf(object) => object.symbolize(addresses),
            Self::Kallsyms(listing) => listing.symbolize(addresses),
        }
    }

    /// Estimated memory, bytes.
    fn cost(&self, file_size: u64) -> u64 {
        match self {
            Self::Elf(object) => object.heap_bytes(file_size),
            Self::Kallsyms(listing) => listing.heap_bytes(),
        }
    }
}

// === impl Version ===

impl Version {
    /// The version that is there now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests;
