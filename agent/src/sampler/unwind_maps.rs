//! The kernel side's memory for unwinding: who maps what, and the tables of that code.
//!
//! In: entries and pages of `fleetprof_abi`, at numbers that the caller chooses. Out: what the walk
//! noted of their use. What belongs where, and when it goes, is `crate::unwind`'s to decide.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, MapData, MapError},
};
use fleetprof_abi::{
    CACHED_RULES, CHUNK_PAGES, CachedRule, MAX_MAPPINGS, MAX_OBJECTS, MAX_PROCESSES, MappingEntry,
    ObjectTable, PAGE_WORDS, ProcessEntry, Scratch,
};

use super::{
    error::SamplerError,
    programs::{Plain, map_error, take_map},
};

/// A page of tables.
pub type TablePage = [u32; PAGE_WORDS];

type KernelPage = [u64; PAGE_WORDS / 2];
type Chunk = Array<MapData, KernelPage>;

/// The kernel side's memory for unwinding.
pub struct UnwindMaps {
    maps: Mutex<Maps>,
}

struct Maps {
    processes: HashMap<MapData, u32, Plain<ProcessEntry>>,
    mappings: Array<MapData, Plain<MappingEntry>>,
    objects: Array<MapData, Plain<ObjectTable>>,
    tables: ArrayOfMaps<MapData, Chunk>,
    chunks: BTreeMap<u32, Chunk>,
}

// === impl UnwindMaps ===

impl UnwindMaps {
    /// Takes the maps of the loaded programs.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SamplerError> {
        let maps = Maps {
            processes: take_map(ebpf, "PROCESSES")?,
            mappings: take_map(ebpf, "MAPPINGS")?,
            objects: take_map(ebpf, "OBJECTS")?,
            tables: take_map(ebpf, "TABLES")?,
            chunks: BTreeMap::new(),
        };
        Ok(Self { maps: Mutex::new(maps) })
    }

    /// Says where a process's mappings are. From now on its samples are walked in the kernel.
    ///
    /// # Errors
    /// When the kernel has no room for another process.
    pub fn set_process(&self, pid: u32, entry: ProcessEntry) -> Result<(), SamplerError> {
        self.lock().processes.insert(pid, Plain(entry), 0).map_err(map_error("PROCESSES"))
    }

    /// What is known of a process; `None` when nothing is.
    pub fn process(&self, pid: u32) -> Option<ProcessEntry> {
        self.lock().processes.get(&pid, 0).ok().map(|entry| entry.0)
    }

    /// Forgets a process.
    pub fn remove_process(&self, pid: u32) {
        match self.lock().processes.remove(&pid) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            // It is found out by its start when another process gets the pid.
            Err(error) => tracing::debug!(%error, pid, "process not removed from the kernel's map"),
        }
    }

    /// Sets a mapping.
    ///
    /// # Errors
    /// When `index` is not less than [`MAX_MAPPINGS`].
    pub fn set_mapping(&self, index: u32, entry: MappingEntry) -> Result<(), SamplerError> {
        self.lock().mappings.set(index, Plain(entry), 0).map_err(map_error("MAPPINGS"))
    }

    /// Says where an object's table is.
    ///
    /// # Errors
    /// When `number` is not less than [`MAX_OBJECTS`].
    pub fn set_object(&self, number: u32, table: ObjectTable) -> Result<(), SamplerError> {
        self.lock().objects.set(number, Plain(table), 0).map_err(map_error("OBJECTS"))
    }

    /// Where an object's table is, and when it was used.
    pub fn object(&self, number: u32) -> Option<ObjectTable> {
        self.lock().objects.get(&number, 0).ok().map(|table| table.0)
    }

    /// Makes room for [`CHUNK_PAGES`] pages, for good.
    ///
    /// # Errors
    /// When the kernel has no memory for them.
    pub fn add_chunk(&self, number: u32) -> Result<(), SamplerError> {
        let mut maps = self.lock();
        let chunk = Chunk::create(CHUNK_PAGES, 0).map_err(map_error("TABLES"))?;
        maps.tables.set(number, &chunk, 0).map_err(map_error("TABLES"))?;
        maps.chunks.insert(number, chunk);
        Ok(())
    }

    /// Writes a page.
    ///
    /// # Errors
    /// When its chunk was not added.
    pub fn write_page(&self, page: u32, words: &TablePage) -> Result<(), SamplerError> {
        let mut maps = self.lock();
        let missing = SamplerError::Missing { name: "TABLES" };
        let chunk = maps.chunks.get_mut(&(page / CHUNK_PAGES)).ok_or(missing)?;
        chunk.set(page % CHUNK_PAGES, to_kernel(words), 0).map_err(map_error("TABLES"))
    }

    /// Reads a page; `None` when its chunk was not added.
    pub fn read_page(&self, page: u32) -> Option<Box<TablePage>> {
        let maps = self.lock();
        let chunk = maps.chunks.get(&(page / CHUNK_PAGES))?;
        chunk.get(&(page % CHUNK_PAGES), 0).ok().map(|page| from_kernel(&page))
    }

    /// Kernel memory of everything here, bytes.
    pub fn kernel_bytes(&self) -> usize {
        let chunk = CHUNK_PAGES as usize * size_of::<TablePage>();
        fixed_bytes() + self.lock().chunks.len() * chunk
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        // Each operation is one call into the kernel.
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that the maps of fixed size take from the start. The kernel adds some 56 bytes to the
/// entry of a hash table, and 16 for its buckets.
fn fixed_bytes() -> usize {
    // Each CPU's, for the sample that is being taken and the rules that were found.
    let per_cpu = size_of::<Scratch>() + CACHED_RULES * size_of::<CachedRule>();
    let cpus = aya::util::nr_cpus().unwrap_or(1);
    cpus * per_cpu
        + MAX_PROCESSES as usize * (size_of::<ProcessEntry>() + 72)
        + MAX_MAPPINGS as usize * size_of::<MappingEntry>()
        + MAX_OBJECTS as usize * size_of::<ObjectTable>()
}

fn to_kernel(words: &TablePage) -> KernelPage {
    std::array::from_fn(|index| {
        let (low, high) = (u64::from(words[2 * index]), u64::from(words[2 * index + 1]));
        if cfg!(target_endian = "little") { low | (high << 32) } else { high | (low << 32) }
    })
}

fn from_kernel(page: &KernelPage) -> Box<TablePage> {
    let mut words = Box::new([0; PAGE_WORDS]);
    for (pair, value) in words.chunks_exact_mut(2).zip(page) {
        let (low, high) = (*value as u32, (*value >> 32) as u32);
        if cfg!(target_endian = "little") {
            (pair[0], pair[1]) = (low, high);
        } else {
            (pair[0], pair[1]) = (high, low);
        }
    }
    words
}
