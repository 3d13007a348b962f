//! From a capture and its walk to the case that is kept.

use std::{collections::BTreeSet, path::Path};

use fleetprof_walk::{FRAME_BY_POINTER, frame_address};

use crate::{
    capture::{Capture, mapping_of},
    case::{Case, CodeRange},
    machine::Walked,
    objects::Objects,
};

/// The case. `truth` names the unwinders that found the same frames.
pub fn case(
    about: String,
    truth: &str,
    capture: &Capture,
    walked: &Walked,
    objects: &Objects,
) -> Case {
    let used: BTreeSet<usize> = walked.looked_up.iter().map(|(number, _)| *number).collect();
    // Code without a table is known by its frames only.
    let touched = |number: usize| {
        let mapping = &capture.mappings[number];
        let inside = |frame: &u64| {
            // The call is one byte before the return address.
            (mapping.start..=mapping.end).contains(&frame_address(*frame))
        };
        used.contains(&number) || walked.frames.iter().any(inside)
    };
    let code = (0..capture.mappings.len()).filter(|number| touched(*number)).map(|number| {
        let mapping = &capture.mappings[number];
        let bias = mapping.start.wrapping_sub(mapping.position);
        (name(&mapping.path), CodeRange { start: mapping.start, end: mapping.end, bias })
    });
    let rows = walked.looked_up.iter().filter_map(|(number, position)| {
        let path = &capture.mappings[*number].path;
        let rule = objects.table(path)?.rule(*position)?;
        Some(((name(path), *position), rule))
    });
    let functions = capture.truth.iter().map(|frame| frame.function.clone());
    let functions = functions.chain(std::iter::repeat("?".to_owned()));
    Case {
        about,
        truth: truth.to_owned(),
        architecture: capture.architecture,
        registers: capture.registers.clone(),
        ip: capture.ip,
        code: code.collect(),
        rows: rows.collect(),
        stack: stack(capture, walked),
        frames: walked.frames.iter().copied().zip(functions).collect(),
        end: walked.end,
    }
}

/// What the walk read, and what looks like an address.
fn stack(capture: &Capture, walked: &Walked) -> std::collections::BTreeMap<u64, u64> {
    let read: BTreeSet<u64> = walked.reads.iter().copied().collect();
    let looks = |value: u64| {
        mapping_of(&capture.mappings, value).is_some()
            || capture.stack.iter().any(|piece| (piece.base..piece.end()).contains(&value))
    };
    // Behind the outermost frame are arguments and environment.
    let last = read.last().copied().unwrap_or_default();
    let mut kept = std::collections::BTreeMap::new();
    for piece in &capture.stack {
        let first = piece.base.next_multiple_of(8);
        for address in (first..piece.end()).step_by(8) {
            let Some(value) = piece.word(address) else { break };
            let inside = address <= last || read.range(address..).any(|read| *read < piece.end());
            if read.contains(&address) || (inside && looks(value)) {
                kept.insert(address, value);
            }
        }
    }
    // Words at addresses that are no multiples of 8.
    kept.extend(read.iter().filter_map(|address| Some((*address, capture.word(*address)?))));
    kept
}

/// The file's name: where it lay on the recording host is nobody's business.
fn name(path: &str) -> String {
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| path.to_owned()).replace(' ', "_")
}

/// Whether a frame was only guessed by a frame pointer.
#[must_use]
pub fn is_guess(frame: u64) -> bool {
    frame & FRAME_BY_POINTER != 0
}
