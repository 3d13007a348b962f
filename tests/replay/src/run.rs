//! A capture through our walk, and what it found beside what the other unwinder found.

use fleetprof_abi::ResultCode;
use fleetprof_walk::{FRAME_IS_EXACT, frame_address};

use crate::{
    capture::{Capture, TruePlace, mapping_of},
    machine::{Code, Walked, walk},
    objects::Objects,
};

/// Walks a captured stack with the tables of `objects`.
pub fn run(capture: &Capture, objects: &Objects) -> Walked {
    let code = code_of(capture, objects);
    let memory = |address| capture.word(address);
    walk(capture.architecture, &capture.registers, capture.ip, &code, memory)
}

/// The capture's code, with its tables.
pub fn code_of(capture: &Capture, objects: &Objects) -> Vec<Code> {
    let mappings = capture.mappings.iter();
    mappings
        .map(|mapping| Code {
            start: mapping.start,
            end: mapping.end,
            bias: mapping.start.wrapping_sub(mapping.position),
            table: objects.table(&mapping.path),
        })
        .collect()
}

/// How many frames from the innermost on are the same.
#[must_use]
pub fn equal_frames(capture: &Capture, walked: &Walked) -> usize {
    let pairs = walked.frames.iter().zip(&capture.truth).enumerate();
    pairs
        .take_while(|(depth, (ours, theirs))| is_same(capture, *depth, **ours, &theirs.place))
        .count()
}

/// Whether all frames are the same, and there are as many, up to the most that we keep.
#[must_use]
pub fn is_equal(capture: &Capture, walked: &Walked) -> bool {
    let equal = equal_frames(capture, walked);
    let all = equal == capture.truth.len() || walked.end == ResultCode::UserTruncated;
    equal == walked.frames.len() && all
}

fn is_same(capture: &Capture, depth: usize, ours: u64, theirs: &TruePlace) -> bool {
    let address = frame_address(ours);
    match theirs {
        TruePlace::Address(theirs, exact) => {
            *theirs == address && *exact == (ours & FRAME_IS_EXACT != 0)
        }
        TruePlace::Position(theirs, path) => {
            // perf subtracts one from return addresses, but knows the exact ones by other rules.
            let steps = if depth == 0 { 0..=0 } else { 0..=1 };
            steps.into_iter().any(|step| {
                let address = address.wrapping_sub(step);
                mapping_of(&capture.mappings, address).is_some_and(|mapping| {
                    mapping.position_of(address) == *theirs && *mapping.path == **path
                })
            })
        }
    }
}
