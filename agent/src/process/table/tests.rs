mod events;
mod real;

use std::sync::Arc;

use fleetprof_abi::ResultCode;

use super::*;
use crate::{
    object::testing,
    sampler::{Inode, RawSample},
};

/// No process has a pid this high: `/proc` shows nothing of it.
const FICTION: u32 = 0x7fff_0000;

fn table() -> ProcessTable {
    let config = TableConfig { scan_time: Duration::from_secs(600), ..TableConfig::default() };
    ProcessTable::new(config, Arc::new(testing::registry()))
}

fn sample<'a>(pid: u32, start_ns: u64, time_ns: u64) -> RawSample<'a> {
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"thread");
    RawSample {
        pid,
        tid: pid,
        start_boottime_ns: start_ns,
        time_ns,
        weight_ns: 1,
        cgroup_id: 5,
        cpu: 0,
        result: ResultCode::Complete,
        comm,
        kernel: &[],
        user: &[],
        kernel_result: ResultCode::Complete,
        mm: 0,
        copied: None,
    }
}

fn fork(table: &mut ProcessTable, time_ns: u64, pid: u32, parent_pid: u32) {
    table.apply(&ProcessEvent::Fork { time_ns, pid, parent_pid });
}

fn exec(table: &mut ProcessTable, time_ns: u64, pid: u32, name: &[u8]) {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    table.apply(&ProcessEvent::Exec { time_ns, pid, comm });
}

fn mmap(table: &mut ProcessTable, time_ns: u64, pid: u32, start: u64, path: &str) {
    let inode = Inode { major: 1, minor: 2, inode: 3, generation: 4 };
    table.apply(&ProcessEvent::Mmap(sampler::Mapping {
        time_ns,
        pid,
        start,
        len: 0x1000,
        file_offset: 0,
        path: path.as_bytes().to_vec(),
        file: MappedFile::Inode(inode),
    }));
}

fn exit(table: &mut ProcessTable, time_ns: u64, pid: u32) {
    table.apply(&ProcessEvent::Exit { time_ns, pid });
}

/// Path of what a sample finds at an address.
fn path_at(table: &mut ProcessTable, sample: &RawSample<'_>, address: u64) -> Option<String> {
    let bound = table.bind(sample);
    bound.mapping(address).map(|mapping| String::from_utf8_lossy(&mapping.path).into_owned())
}
