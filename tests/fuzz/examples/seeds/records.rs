//! Records of the kernel: process events, type information.

use crate::{Seeds, numbered};

const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const MMAP2: u32 = 10;
const EXEC: u16 = 1 << 13;
const HAS_BUILD_ID: u16 = 1 << 14;

/// A ring: where its reader stands, how far the writer is from the end, records.
pub(crate) fn process_events() -> Seeds {
    let life = [
        words(FORK, 0, &[70, 1, 70, 1], 10),
        comm(70, EXEC, 20),
        mmap2(70, HAS_BUILD_ID, 0x40_0000, 30),
        mmap2(70, 0, 0x40_8000, 40),
        mmap2(70, 0, 0x40_4000, 50),
        words(FORK, 0, &[71, 70, 71, 70], 60),
        mmap2(71, HAS_BUILD_ID, 0x7f00_0000_0000, 70),
        comm(71, EXEC, 80),
        words(EXIT, 0, &[71, 70, 71, 70], 90),
        words(FORK, 0, &[71, 70, 71, 70], 2_000_000_000),
        lost(3, 2_100_000_000),
        words(EXIT, 0, &[70, 1, 70, 1], 2_200_000_000),
    ];
    let threads =
        [words(FORK, 0, &[70, 70, 72, 70], 1), comm(70, 0, 2), words(EXIT, 0, &[70, 1, 72, 1], 3)];
    let unknown = [words(99, 0, &[1, 2], 5), words(EXIT, 0, &[u32::MAX, 0, 0, 0], 4), lost(1, 3)];
    numbered([
        ring(0, 0, &life),
        ring(16 * 1024 - 100, 0, &life),
        ring(u64::MAX - 60, 0, &threads),
        ring(8, 0, &unknown),
        ring(8, 4, &threads),
        ring(8, -4, &threads),
    ])
}

fn ring(position: u64, beyond: i8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = position.to_le_bytes().to_vec();
    bytes.push(beyond.cast_unsigned());
    bytes.extend(records.concat());
    bytes
}

/// Head, body, and at the end the time.
fn record(kind: u32, misc: u16, body: &[u8], time_ns: u64) -> Vec<u8> {
    let size = 16 + body.len() as u16;
    let mut record = kind.to_ne_bytes().to_vec();
    record.extend(misc.to_ne_bytes());
    record.extend(size.to_ne_bytes());
    record.extend(body);
    record.extend(time_ns.to_ne_bytes());
    record
}

fn words(kind: u32, misc: u16, body: &[u32], time_ns: u64) -> Vec<u8> {
    let body: Vec<u8> = body.iter().flat_map(|word| word.to_ne_bytes()).collect();
    record(kind, misc, &body, time_ns)
}

fn comm(pid: u32, misc: u16, time_ns: u64) -> Vec<u8> {
    let mut body = [pid, pid].map(u32::to_ne_bytes).concat();
    body.extend(b"program\0\0\0\0\0\0\0\0\0");
    record(COMM, misc, &body, time_ns)
}

fn lost(count: u64, time_ns: u64) -> Vec<u8> {
    record(LOST, 0, &[1, count].map(u64::to_ne_bytes).concat(), time_ns)
}

fn mmap2(pid: u32, misc: u16, start: u64, time_ns: u64) -> Vec<u8> {
    let mut body = [pid, pid].map(u32::to_ne_bytes).concat();
    body.extend([start, 0x8000, 0x1000].map(u64::to_ne_bytes).concat());
    if misc & HAS_BUILD_ID == 0 {
        // Device, inode, generation.
        body.extend([8, 1].map(u32::to_ne_bytes).concat());
        body.extend([4711, 7].map(u64::to_ne_bytes).concat());
    } else {
        body.extend([20, 0, 0, 0]);
        body.extend([0xab; 20]);
    }
    body.extend([5, 2].map(u32::to_ne_bytes).concat());
    body.extend(b"/usr/bin/program\0\0\0\0\0\0\0\0");
    record(MMAP2, misc, &body, time_ns)
}

/// BTF: a task with its fields in it, in anonymous structures, and beside them.
pub(crate) fn kernel_types() -> Seeds {
    let mut whole = Types::default();
    // Types have numbers from 1 on: an integer, a pointer, an array, an enumeration.
    whole.add("long", 1 << 24, &[8, 64]);
    whole.add("", 2 << 24, &[1]);
    whole.add("", 3 << 24, &[0, 1, 1, 4]);
    whole.add("", (6 << 24) | 1, &[4, 0, 1]);
    whole.composite("", 4, &[("mm", 2, 64), ("group_leader", 2, 128)]);
    whole.composite("", 5, &[("", 5, 0), ("stack", 2, 64)]);
    let members = [("state", 1, 0), ("", 6, 512), ("start_boottime", 1, 1024)];
    whole.composite("task_struct", 4, &members);
    whole.composite("pt_regs", 4, &[("r15", 1, 0)]);
    whole.composite("thread_union", 5, &[("task", 7, 0)]);
    whole.add("f", 12 << 24, &[2]);
    let mut around = Types::default();
    around.composite("task_struct", 4, &[("", 2, 0), ("", 1, 0)]);
    around.composite("", 5, &[("", 1, 8), ("", 2, 16)]);
    numbered([whole.finish(), around.finish(), Types::default().finish()])
}

#[derive(Default)]
struct Types {
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Types {
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        // The empty name is the first.
        let offset = self.strings.len() as u32 + 1;
        self.strings.extend(name.bytes().chain([0]));
        offset
    }

    fn add(&mut self, name: &str, info: u32, tail: &[u32]) {
        let name = self.name(name);
        self.types.extend([name, info]);
        self.types.extend(tail);
    }

    /// Members: name, type, bits from the start.
    fn composite(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) {
        self.add(name, (kind << 24) | members.len() as u32, &[64]);
        for (name, kind, bits) in members {
            let name = self.name(name);
            self.types.extend([name, *kind, *bits]);
        }
    }

    fn finish(self) -> Vec<u8> {
        let (types, strings) = (4 * self.types.len() as u32, self.strings.len() as u32 + 1);
        let mut btf = 0xeb9f_u16.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        btf.extend([24, 0, types, types, strings].map(u32::to_ne_bytes).concat());
        btf.extend(self.types.iter().flat_map(|word| word.to_ne_bytes()));
        btf.push(0);
        btf.extend(self.strings);
        btf
    }
}
