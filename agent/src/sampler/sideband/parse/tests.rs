use proptest::prelude::*;

use super::{MISC_COMM_EXEC, MISC_MMAP_BUILD_ID, Parsed, parse};
use crate::sampler::event::{Inode, MappedFile, ProcessEvent};

const TIME: u64 = 0x0102_0304_0506_0708;

/// A record with header and time around `body`.
fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_ne_bytes().to_vec();
    bytes.extend(misc.to_ne_bytes());
    bytes.extend(((8 + body.len() + 8) as u16).to_ne_bytes());
    bytes.extend(body);
    bytes.extend(TIME.to_ne_bytes());
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn mmap_body(len: u64, file: &[u8; 24], path: &[u8]) -> Vec<u8> {
    let mut body = words(&[7, 8]);
    for value in [0x1000_u64, len, 0x2000] {
        body.extend(value.to_ne_bytes());
    }
    body.extend(file);
    body.extend(words(&[5, 2]));
    body.extend(path);
    body
}

#[test]
fn new_processes_are_reported_and_new_threads_are_not() {
    assert_eq!(
        parse(&record(7, 0, &words(&[10, 9, 10, 9, 0, 0]))),
        Parsed::Event(ProcessEvent::Fork { time_ns: TIME, pid: 10, parent_pid: 9 })
    );
    assert_eq!(parse(&record(7, 0, &words(&[10, 10, 11, 10, 0, 0]))), Parsed::Ignored);
}

#[test]
fn only_the_group_leader_ends_a_process() {
    assert_eq!(
        parse(&record(4, 0, &words(&[10, 9, 10, 9, 0, 0]))),
        Parsed::Event(ProcessEvent::Exit { time_ns: TIME, pid: 10 })
    );
    assert_eq!(parse(&record(4, 0, &words(&[10, 9, 11, 9, 0, 0]))), Parsed::Ignored);
    assert_eq!(parse(&record(4, 0, &words(&[u32::MAX; 6]))), Parsed::Ignored);
}

#[test]
fn an_exec_is_told_from_a_rename() {
    let mut body = words(&[10, 10]);
    body.extend(b"sleep\0\0\0");
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"sleep");
    assert_eq!(
        parse(&record(3, MISC_COMM_EXEC, &body)),
        Parsed::Event(ProcessEvent::Exec { time_ns: TIME, pid: 10, comm })
    );
    assert_eq!(parse(&record(3, 0, &body)), Parsed::Ignored);
}

#[test]
fn mappings_carry_a_build_id_or_an_inode() {
    let mut file = [0; 24];
    file[0] = 20;
    file[4..].copy_from_slice(&[0xab; 20]);
    let with_id = parse(&record(10, MISC_MMAP_BUILD_ID, &mmap_body(0x3000, &file, b"/bin/a\0\0")));
    let Parsed::Event(ProcessEvent::Mmap(mapping)) = with_id else { panic!("{with_id:?}") };
    assert_eq!((mapping.pid, mapping.start, mapping.len), (7, 0x1000, 0x3000));
    assert_eq!((mapping.file_offset, mapping.path.as_slice()), (0x2000, b"/bin/a".as_slice()));
    let MappedFile::BuildId(id) = mapping.file else { panic!("{mapping:?}") };
    assert_eq!(id.as_bytes(), [0xab; 20]);

    let mut file = [0; 24];
    file[0] = 8;
    file[4] = 1;
    file[8] = 42;
    file[16] = 3;
    let with_inode = parse(&record(10, 0, &mmap_body(0x3000, &file, b"/bin/a\0\0")));
    let Parsed::Event(ProcessEvent::Mmap(mapping)) = with_inode else { panic!("{with_inode:?}") };
    let inode = Inode { major: 8, minor: 1, inode: 42, generation: 3 };
    assert_eq!(mapping.file, MappedFile::Inode(inode));
}

#[test]
fn impossible_mappings_are_damaged() {
    let file = [0; 24];
    assert_eq!(parse(&record(10, 0, &mmap_body(0, &file, b"x\0"))), Parsed::Damaged);
    assert_eq!(parse(&record(10, 0, &mmap_body(u64::MAX, &file, b"x\0"))), Parsed::Damaged);
    let mut long = [0xff; 24];
    long[0] = 21;
    assert_eq!(
        parse(&record(10, MISC_MMAP_BUILD_ID, &mmap_body(1, &long, b"x\0"))),
        Parsed::Damaged
    );
}

#[test]
fn losses_are_counted() {
    let mut body = 1_u64.to_ne_bytes().to_vec();
    body.extend(17_u64.to_ne_bytes());
    assert_eq!(
        parse(&record(2, 0, &body)),
        Parsed::Event(ProcessEvent::Lost { time_ns: TIME, count: 17 })
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        kind in prop_oneof![0_u32..24, any::<u32>()],
        misc in any::<u16>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..400,
    ) {
        let mut bytes = record(kind, misc, &body);
        bytes.truncate(cut);
        if let Parsed::Event(ProcessEvent::Mmap(mapping)) = parse(&bytes) {
            prop_assert!(mapping.path.len() < body.len());
            prop_assert!(mapping.start.checked_add(mapping.len).is_some());
        }
    }
}
