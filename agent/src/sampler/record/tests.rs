use fleetprof_abi::ResultCode;
use proptest::prelude::*;

use super::{HEADER_WORDS, RecordError, parse};
use crate::sampler::WALK_WORDS;

/// A record with this many frames of each kind claimed, and `frames` words behind the head.
fn record(kernel: u32, user: u32, frames: usize) -> Vec<u64> {
    record_with_stack(kernel, user, frames, 0)
}

fn record_with_stack(kernel: u32, user: u32, frames: usize, stack_bytes: u32) -> Vec<u64> {
    let halves = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let mut words =
        vec![11, 22, 33, 44, halves(55, 66), halves(77, 2 | 4 << 16), halves(kernel, user)];
    words.push(u64::from_le_bytes(*b"thread-n"));
    words.push(u64::from_le_bytes(*b"ame\0\0\0\0\0"));
    words.extend([88, halves(stack_bytes, 0)]);
    words.extend((0..frames as u64).map(|frame| 1000 + frame));
    words
}

#[test]
fn every_field_is_where_the_kernel_side_put_it() {
    let words = record(2, 3, 5);
    let sample = parse(&words).unwrap();
    assert_eq!((sample.time_ns, sample.weight_ns, sample.start_boottime_ns), (11, 22, 33));
    assert_eq!((sample.cgroup_id, sample.pid, sample.tid, sample.cpu), (44, 55, 66, 77));
    assert_eq!(sample.result, ResultCode::FramePointers);
    assert_eq!(&sample.comm, b"thread-name\0\0\0\0\0");
    assert_eq!(sample.kernel, [1000, 1001]);
    assert_eq!(sample.user, [1002, 1003, 1004]);
    assert_eq!((sample.kernel_result, sample.mm), (ResultCode::KernelTruncated, 88));
    assert!(sample.copied.is_none());
}

#[test]
fn a_copied_stack_follows_the_frames() {
    let words = record_with_stack(1, 1, 2 + WALK_WORDS + 3, 24);
    let sample = parse(&words).unwrap();
    let copied = sample.copied.unwrap();
    assert_eq!(
        copied.words,
        [1002 + WALK_WORDS as u64, 1003 + WALK_WORDS as u64, 1004 + WALK_WORDS as u64]
    );
    let walk = copied.walk();
    assert_eq!((walk.registers[0], walk.registers[31], walk.ip), (1002, 1033, 1034));
    // Two fields of 4 bytes in each of the words that follow.
    assert_eq!((walk.known, walk.in_memory), (1035, 0));
    assert_eq!((walk.exact, walk.by_pointer, walk.any_by_pointer), (1036, 0, 1037));
    let cut = record_with_stack(1, 1, 2 + WALK_WORDS + 2, 24);
    assert!(matches!(parse(&cut), Err(RecordError::Short(_))));
    let endless = record_with_stack(0, 0, 10, u32::MAX);
    assert!(matches!(parse(&endless), Err(RecordError::Stack(_))));
}

#[test]
fn records_that_do_not_fit_are_refused() {
    assert_eq!(parse(&[]).unwrap_err(), RecordError::Short(0));
    assert_eq!(parse(&record(2, 3, 4)).unwrap_err(), RecordError::Short(HEADER_WORDS + 4));
    assert_eq!(parse(&record(128, 0, 128)).unwrap_err(), RecordError::Frames(128, 0));
    assert_eq!(parse(&record(0, 513, 513)).unwrap_err(), RecordError::Frames(0, 513));
    let mut unknown = record(0, 0, 0);
    unknown[5] = 77 | 999 << 32;
    assert_eq!(parse(&unknown).unwrap_err(), RecordError::Result(999));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(words in prop::collection::vec(any::<u64>(), 0..700)) {
        if let Ok(sample) = parse(&words) {
            prop_assert!(sample.kernel.len() + sample.user.len() + HEADER_WORDS <= words.len());
        }
    }
}
