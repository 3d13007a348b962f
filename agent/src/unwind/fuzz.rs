//! The way for fuzzers to the walk along a copied stack, with tables that are lies.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use fleetprof_abi::{
    MAX_USER_FRAMES, MappingEntry, ObjectTable, PAGE_WORDS, ProcessEntry, ResultCode,
};
use fleetprof_proto::ids::{ObjectId, ObjectKind};
use fleetprof_unwind::{Limits, UnwindTable, build};

use super::{
    kernel::KernelSide,
    objects::Objects,
    stack::{PageCache, Walked, walk},
};
use crate::{
    object::{Registry, RegistryConfig},
    process::Bound,
    sampler::{RawSample, SamplerError, TablePage},
};

/// The kernel side's memory as a fuzzer wants it: one table for all objects.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Where the parts of the table are.
    pub table: ObjectTable,
    /// Its words, from its first page on.
    pub words: &'a [u32],
}

/// A registry that finds no process.
pub fn registry() -> Arc<Registry> {
    let proc_root = PathBuf::from("/nonexistent");
    Arc::new(Registry::new(&RegistryConfig { proc_root, ..RegistryConfig::default() }))
}

/// Walks a sample's copied stack; gives all user frames. The remainder of an object's build ID by 4
/// says whether it has a table (0 and 1), none yet (2), or never will (3).
///
/// # Panics
/// When there are more frames than there may be.
pub fn frames(sample: &RawSample<'_>, bound: &Bound, tables: Tables<'_>) -> (Vec<u64>, ResultCode) {
    let mut frames = sample.user.to_vec();
    let Some(copied) = sample.copied else { return (frames, sample.result) };
    let mut objects = Objects::new(1 << 20);
    for mapping in bound.mappings().iter() {
        let object = bound.object(mapping);
        let Some(build_id) = object.build_id() else { continue };
        let id = ObjectId { kind: ObjectKind::File, build_id: build_id.clone() };
        let Some(number) = objects.number(&id, &tables) else { continue };
        match build_id.value().first().map(|byte| byte % 4) {
            Some(2) => {}
            Some(3) => objects.built(number, None, &tables),
            _ => objects.built(number, Some(ANY_TABLE.clone()), &tables),
        }
    }
    objects.load(&tables, 0, &mut |_| {});
    let cache = &mut PageCache::default();
    let code = match walk(&copied, bound, &mut objects, &tables, cache, &mut frames) {
        Walked::Done(code) => code,
        Walked::Missing(number, _) => {
            objects.release(number);
            ResultCode::TableLate
        }
    };
    assert!(frames.len() <= MAX_USER_FRAMES, "{} frames", frames.len());
    (frames, code)
}

/// The table of the smallest program there can be; what it says is not asked.
static ANY_TABLE: LazyLock<UnwindTable> = LazyLock::new(|| {
    let mut elf = vec![0; 128];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    // Machine, position of the program headers, their size and number.
    put(18, &[62]);
    put(32, &[64]);
    put(54, &[56, 0, 1]);
    // A segment with code: the whole file.
    put(64, &[1, 0, 0, 0, 5]);
    put(64 + 32, &[128]);
    put(64 + 40, &[128]);
    build(&elf, None, &Limits::default()).expect("a valid program")
});

// === impl Tables ===

impl KernelSide for Tables<'_> {
    fn set_process(&self, _pid: u32, _entry: ProcessEntry) -> Result<(), SamplerError> {
        Ok(())
    }

    fn process(&self, _pid: u32) -> Option<ProcessEntry> {
        None
    }

    fn remove_process(&self, _pid: u32) {}

    fn set_mapping(&self, _index: u32, _entry: MappingEntry) -> Result<(), SamplerError> {
        Ok(())
    }

    fn set_object(&self, _number: u32, _table: ObjectTable) -> Result<(), SamplerError> {
        Ok(())
    }

    fn object(&self, _number: u32) -> Option<ObjectTable> {
        Some(self.table)
    }

    fn add_chunk(&self, _number: u32) -> Result<(), SamplerError> {
        Ok(())
    }

    fn write_page(&self, _page: u32, _words: &TablePage) -> Result<(), SamplerError> {
        Ok(())
    }

    fn read_page(&self, page: u32) -> Option<Box<TablePage>> {
        let number = page.wrapping_sub(self.table.first_page) as usize;
        let words = self.words.chunks(PAGE_WORDS).nth(number)?;
        let mut page = Box::new([0; PAGE_WORDS]);
        page[..words.len()].copy_from_slice(words);
        Some(page)
    }

    fn kernel_bytes(&self) -> usize {
        0
    }
}
