use fleetprof_abi::{COMM_LEN, ResultCode};

use super::*;
use crate::sampler::{Inode, MappedFile};

fn mapping(pid: u32, start: u64, time_ns: u64) -> Mapping {
    let file = MappedFile::Inode(Inode::default());
    Mapping { time_ns, pid, start, len: 0x1000, file_offset: 0, path: Vec::new(), file }
}

fn sample(pid: u32, time_ns: u64, user: &[u64]) -> RawSample<'_> {
    RawSample {
        pid,
        tid: pid,
        start_boottime_ns: 1,
        time_ns,
        weight_ns: 1,
        cgroup_id: 0,
        cpu: 0,
        result: ResultCode::Complete,
        comm: [0; COMM_LEN],
        kernel_result: ResultCode::Complete,
        kernel: &[],
        user,
        mm: 1,
        copied: None,
    }
}

const FRAMES: &[u64] = &[0x1000, 0x5800, 0x2000, 0x5900];

#[test]
fn callers_of_new_code_are_doubted_until_the_kernel_knows() {
    let mut outdated = Outdated::default();
    outdated.add(&mapping(7, 0x5000, 100), 200);
    assert_eq!(outdated.certain(&sample(7, 150, FRAMES)), 2);
    // Before, after, in another process, and without that code.
    assert_eq!(outdated.certain(&sample(7, 99, FRAMES)), 4);
    assert_eq!(outdated.certain(&sample(7, 200, FRAMES)), 4);
    assert_eq!(outdated.certain(&sample(8, 150, FRAMES)), 4);
    assert_eq!(outdated.certain(&sample(7, 150, &FRAMES[2..3])), 1);
    outdated.forget(200);
    assert_eq!(outdated.certain(&sample(7, 150, FRAMES)), 4);
}

#[test]
fn more_mappings_than_can_be_kept_make_every_frame_doubtful() {
    let mut outdated = Outdated::default();
    for number in 0..10 * MAX_CHANGES as u64 {
        outdated.add(&mapping(7, 0x10_0000 + number * 0x1000, 100 + number), 20_000);
    }
    assert!(outdated.changes.len() <= MAX_CHANGES);
    assert_eq!(outdated.certain(&sample(9, 19_999, FRAMES)), 1);
    outdated.forget(20_000);
    assert_eq!(outdated.certain(&sample(9, 19_999, FRAMES)), 4);
}
