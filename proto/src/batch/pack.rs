//! Payload format 2: the tables of format 1 in an order and as differences that compress to less.
//!
//! Frames are sorted by object and offset. Stacks stand as a walk through their tree, children in the order
//! of their frames. Columns hold the difference to what is likely:
//!
//! - frames: `object` to the row before; `offset` to that of the row before, where it is of the same object;
//!   `function` and `file` to the row before. `reason` and `line` are as they are.
//! - stacks: `parent_distance` is how many steps to go up from the row before to the parent: 0 for its child;
//!   `frame` is the difference to the parent's last child before it, or, when it is the first, to the parent.
//! - samples: `origin` and `stack` to the row before; `nanos` to `count` times the nanoseconds of one sample
//!   of the first row. `result` and `count` are as they are.
//!
//! Differences wrap around and are written as protobuf writes `sint`: the sign in the lowest bit. Row 0 is as
//! it is everywhere.

use super::InvalidBatch;
use crate::v1;

/// The tables of a batch as format 2 has them.
///
/// # Panics
/// When an index is wrong: as those of a [`super::Batch`] never are.
#[must_use]
pub fn pack(wire: &v1::Batch) -> v1::Batch {
    let mut packed = wire.clone();
    let frames = packed.frames.get_or_insert_default();
    let frame_rows = sort_frames(frames);
    frame_differences(frames);
    let stack_rows = pack_stacks(packed.stacks.get_or_insert_default(), &frame_rows);
    pack_samples(packed.samples.get_or_insert_default(), &stack_rows);
    packed
}

/// The tables of a batch as format 1 has them, still to be validated. What the columns of a table that differ
/// in length become does not matter.
///
/// # Errors
/// When a stack's parent would stand above the root.
pub(super) fn unpack(mut packed: v1::Batch) -> Result<v1::Batch, InvalidBatch> {
    if let Some(frames) = &mut packed.frames {
        unpack_frames(frames);
    }
    if let Some(stacks) = &mut packed.stacks {
        unpack_stacks(stacks)?;
    }
    if let Some(samples) = &mut packed.samples {
        unpack_samples(samples);
    }
    Ok(packed)
}

// === frames ===

/// Sorts rows, the first one stays; gives the new row of each.
fn sort_frames(frames: &mut v1::Frames) -> Vec<u32> {
    let is_named = !frames.function.is_empty();
    let name = |row: usize| match is_named {
        true => (frames.function[row], frames.file[row], frames.line[row]),
        false => (0, 0, 0),
    };
    let key =
        |row: &usize| (frames.object[*row], frames.offset[*row], frames.reason[*row], name(*row));
    let mut order: Vec<usize> = (0..frames.object.len()).collect();
    if let Some(rest) = order.get_mut(1..) {
        rest.sort_by_key(key);
    }
    let mut rows = vec![0; order.len()];
    (0..).zip(&order).for_each(|(new, old)| rows[*old] = new);
    frames.offset = order.iter().map(|row| frames.offset[*row]).collect();
    for column in [
        &mut frames.object,
        &mut frames.reason,
        &mut frames.function,
        &mut frames.file,
        &mut frames.line,
    ] {
        if !column.is_empty() {
            *column = order.iter().map(|row| column[*row]).collect();
        }
    }
    rows
}

fn frame_differences(frames: &mut v1::Frames) {
    let offsets = frames.offset.clone();
    for row in 1..offsets.len() {
        let is_same = frames.object[row] == frames.object[row - 1];
        let before = if is_same { offsets[row - 1] } else { 0 };
        frames.offset[row] = sign_low(offsets[row].wrapping_sub(before));
    }
    for column in [&mut frames.object, &mut frames.function, &mut frames.file] {
        differences(column);
    }
}

fn unpack_frames(frames: &mut v1::Frames) {
    for column in [&mut frames.object, &mut frames.function, &mut frames.file] {
        sums(column);
    }
    for row in 1..frames.offset.len().min(frames.object.len()) {
        let is_same = frames.object[row] == frames.object[row - 1];
        let before = if is_same { frames.offset[row - 1] } else { 0 };
        frames.offset[row] = before.wrapping_add(sign_high(frames.offset[row]));
    }
}

// === stacks ===

/// A stack on the way from the root to the one at hand.
struct Step {
    row: u32,
    /// The frame of its last child, its own when it has none yet.
    frame: u32,
}

/// Writes the tree; gives the new row of each stack.
fn pack_stacks(stacks: &mut v1::Stacks, frames: &[u32]) -> Vec<u32> {
    let count = stacks.frame.len();
    // By parent, children in the order of their frames.
    let mut children: Vec<(u32, u32, u32)> = (0..)
        .zip(stacks.parent_distance.iter().zip(&stacks.frame))
        .skip(1)
        .map(|(row, (distance, frame)): (u32, _)| (row - distance, frames[*frame as usize], row))
        .collect();
    children.sort_unstable();
    let mut first = vec![0; count + 1];
    children.iter().for_each(|(parent, ..)| first[*parent as usize + 1] += 1);
    for row in 0..count {
        first[row + 1] += first[row];
    }
    let mut rows = vec![0; count];
    let (mut ups, mut differences) = (vec![0], vec![0]);
    // The children that are still to be written of each stack from the root to the one at hand.
    let mut path = vec![(first[0], first.get(1).copied().unwrap_or(0), 0)];
    let mut up = 0;
    while let Some((next, end, frame)) = path.last_mut() {
        if next == end {
            path.pop();
            up += 1;
            continue;
        }
        let (_, child_frame, child) = children[*next];
        *next += 1;
        rows[child as usize] = u32::try_from(ups.len()).unwrap_or(u32::MAX);
        ups.push(std::mem::take(&mut up));
        differences.push(sign_low_32(child_frame.wrapping_sub(*frame)));
        *frame = child_frame;
        let child = child as usize;
        path.push((first[child], first[child + 1], child_frame));
    }
    stacks.parent_distance = ups;
    stacks.frame = differences;
    rows
}

fn unpack_stacks(stacks: &mut v1::Stacks) -> Result<(), InvalidBatch> {
    let mut path = vec![Step { row: 0, frame: 0 }];
    let columns = stacks.parent_distance.iter_mut().zip(&mut stacks.frame);
    for (row, (up, difference)) in (0_u32..).zip(columns).skip(1) {
        let kept = path.len().saturating_sub(*up as usize);
        path.truncate(kept);
        let Some(parent) = path.last_mut() else {
            return Err(InvalidBatch::Index {
                table: "stacks",
                row: row as usize,
                what: "steps up",
                index: (*up).into(),
            });
        };
        let frame = parent.frame.wrapping_add(sign_high_32(*difference));
        (parent.frame, *difference) = (frame, frame);
        *up = row - parent.row;
        path.push(Step { row, frame });
    }
    Ok(())
}

// === samples ===

fn pack_samples(samples: &mut v1::Samples, stacks: &[u32]) {
    samples.stack.iter_mut().for_each(|stack| *stack = stacks[*stack as usize]);
    let key = |row: &usize| (samples.origin[*row], samples.stack[*row], samples.result[*row]);
    let mut order: Vec<usize> = (0..samples.count.len()).collect();
    order.sort_by_key(key);
    for column in [&mut samples.origin, &mut samples.stack, &mut samples.result] {
        *column = order.iter().map(|row| column[*row]).collect();
    }
    for column in [&mut samples.count, &mut samples.nanos] {
        *column = order.iter().map(|row| column[*row]).collect();
    }
    let usual = usual_nanos(samples);
    for (nanos, count) in samples.nanos.iter_mut().zip(&samples.count).skip(1) {
        *nanos = sign_low(nanos.wrapping_sub(usual.wrapping_mul(*count)));
    }
    differences(&mut samples.origin);
    differences(&mut samples.stack);
}

fn unpack_samples(samples: &mut v1::Samples) {
    sums(&mut samples.origin);
    sums(&mut samples.stack);
    let usual = usual_nanos(samples);
    for (nanos, count) in samples.nanos.iter_mut().zip(&samples.count).skip(1) {
        *nanos = usual.wrapping_mul(*count).wrapping_add(sign_high(*nanos));
    }
}

/// What one sample of the first row stands for.
fn usual_nanos(samples: &v1::Samples) -> u64 {
    let first = samples.nanos.first().zip(samples.count.first());
    first.and_then(|(nanos, count)| nanos.checked_div(*count)).unwrap_or(0)
}

// === differences ===

/// Each value but the first becomes its difference to the one before.
fn differences(column: &mut [u32]) {
    for at in (1..column.len()).rev() {
        column[at] = sign_low_32(column[at].wrapping_sub(column[at - 1]));
    }
}

fn sums(column: &mut [u32]) {
    for at in 1..column.len() {
        column[at] = column[at - 1].wrapping_add(sign_high_32(column[at]));
    }
}

fn sign_low_32(difference: u32) -> u32 {
    (difference << 1) ^ (difference.cast_signed() >> 31).cast_unsigned()
}

fn sign_high_32(coded: u32) -> u32 {
    (coded >> 1) ^ (coded & 1).wrapping_neg()
}

fn sign_low(difference: u64) -> u64 {
    (difference << 1) ^ (difference.cast_signed() >> 63).cast_unsigned()
}

fn sign_high(coded: u64) -> u64 {
    (coded >> 1) ^ (coded & 1).wrapping_neg()
}

#[cfg(test)]
mod tests;
