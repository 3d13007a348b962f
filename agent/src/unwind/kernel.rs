//! What the kernel side offers for unwinding, as this module uses it.
//!
//! One implementation talks to the kernel; tests have another one in memory.

use std::sync::Arc;

use fleetprof_abi::{MappingEntry, ObjectTable, ProcessEntry};

use crate::sampler::{SamplerError, TablePage, UnwindMaps};

/// The kernel side's memory for unwinding. See [`UnwindMaps`] for each operation.
pub trait KernelSide: Send {
    /// Says where a process's mappings are.
    fn set_process(&self, pid: u32, entry: ProcessEntry) -> Result<(), SamplerError>;
    /// What is known of a process.
    fn process(&self, pid: u32) -> Option<ProcessEntry>;
    /// Forgets a process.
    fn remove_process(&self, pid: u32);
    /// Sets a mapping.
    fn set_mapping(&self, index: u32, entry: MappingEntry) -> Result<(), SamplerError>;
    /// Says where an object's table is.
    fn set_object(&self, number: u32, table: ObjectTable) -> Result<(), SamplerError>;
    /// Where an object's table is, and when it was used.
    fn object(&self, number: u32) -> Option<ObjectTable>;
    /// Makes room for pages.
    fn add_chunk(&self, number: u32) -> Result<(), SamplerError>;
    /// Writes a page.
    fn write_page(&self, page: u32, words: &TablePage) -> Result<(), SamplerError>;
    /// Reads a page.
    fn read_page(&self, page: u32) -> Option<Box<TablePage>>;
    /// Kernel memory of everything here, bytes.
    fn kernel_bytes(&self) -> usize;
}

impl KernelSide for Arc<UnwindMaps> {
    fn set_process(&self, pid: u32, entry: ProcessEntry) -> Result<(), SamplerError> {
        UnwindMaps::set_process(self, pid, entry)
    }

    fn process(&self, pid: u32) -> Option<ProcessEntry> {
        UnwindMaps::process(self, pid)
    }

    fn remove_process(&self, pid: u32) {
        UnwindMaps::remove_process(self, pid);
    }

    fn set_mapping(&self, index: u32, entry: MappingEntry) -> Result<(), SamplerError> {
        UnwindMaps::set_mapping(self, index, entry)
    }

    fn set_object(&self, number: u32, table: ObjectTable) -> Result<(), SamplerError> {
        UnwindMaps::set_object(self, number, table)
    }

    fn object(&self, number: u32) -> Option<ObjectTable> {
        UnwindMaps::object(self, number)
    }

    fn add_chunk(&self, number: u32) -> Result<(), SamplerError> {
        UnwindMaps::add_chunk(self, number)
    }

    fn write_page(&self, page: u32, words: &TablePage) -> Result<(), SamplerError> {
        UnwindMaps::write_page(self, page, words)
    }

    fn read_page(&self, page: u32) -> Option<Box<TablePage>> {
        UnwindMaps::read_page(self, page)
    }

    fn kernel_bytes(&self) -> usize {
        UnwindMaps::kernel_bytes(self)
    }
}
