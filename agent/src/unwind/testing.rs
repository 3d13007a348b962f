//! A kernel side in memory, and a real table.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Mutex, MutexGuard},
};

use fleetprof_abi::{CHUNK_PAGES, MappingEntry, ObjectTable, ProcessEntry};
use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectId, ObjectKind};
use fleetprof_unwind::{Limits, UnwindTable};

use super::KernelSide;
use crate::sampler::{SamplerError, TablePage};

/// What the kernel would have.
#[derive(Default)]
pub(super) struct Fake {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) processes: BTreeMap<u32, ProcessEntry>,
    pub(super) mappings: BTreeMap<u32, MappingEntry>,
    pub(super) objects: BTreeMap<u32, ObjectTable>,
    pub(super) chunks: Vec<u32>,
    pub(super) pages: BTreeMap<u32, Box<TablePage>>,
}

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl KernelSide for Fake {
    fn set_process(&self, pid: u32, entry: ProcessEntry) -> Result<(), SamplerError> {
        self.state().processes.insert(pid, entry);
        Ok(())
    }

    fn process(&self, pid: u32) -> Option<ProcessEntry> {
        self.state().processes.get(&pid).copied()
    }

    fn remove_process(&self, pid: u32) {
        self.state().processes.remove(&pid);
    }

    fn set_mapping(&self, index: u32, entry: MappingEntry) -> Result<(), SamplerError> {
        self.state().mappings.insert(index, entry);
        Ok(())
    }

    fn set_object(&self, number: u32, table: ObjectTable) -> Result<(), SamplerError> {
        self.state().objects.insert(number, table);
        Ok(())
    }

    fn object(&self, number: u32) -> Option<ObjectTable> {
        self.state().objects.get(&number).copied()
    }

    fn add_chunk(&self, number: u32) -> Result<(), SamplerError> {
        self.state().chunks.push(number);
        Ok(())
    }

    fn write_page(&self, page: u32, words: &TablePage) -> Result<(), SamplerError> {
        let mut state = self.state();
        assert!(state.chunks.contains(&(page / CHUNK_PAGES)), "page {page} is in no chunk");
        state.pages.insert(page, Box::new(*words));
        Ok(())
    }

    fn read_page(&self, page: u32) -> Option<Box<TablePage>> {
        self.state().pages.get(&page).cloned()
    }

    fn kernel_bytes(&self) -> usize {
        0
    }
}

/// The table of a program that every Debian has.
pub(super) fn table() -> UnwindTable {
    let file = File::open("/bin/true").unwrap();
    fleetprof_unwind::build(&file, None, &Limits::default()).unwrap()
}

/// An object with a made-up build ID.
pub(super) fn id(number: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[number; 20]).unwrap();
    ObjectId { kind: ObjectKind::File, build_id }
}
