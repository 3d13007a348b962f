//! Writes the stacks.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, ArrowPrimitiveType, BooleanArray, Int32Array, Int64Array, PrimitiveArray,
    types::Int64Type,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use bytes::Bytes;
use fleetprof_proto::batch::Batch;

use super::{
    FileWriter, Layout,
    frames::{Frames, Object},
};
use crate::{
    catalog::FileId,
    format::{
        FormatError, Names,
        order::{Plan, groups, index},
        schema,
        strings::{Texts, column},
    },
};

/// Rows that follow each other have stacks and depths that do so, too.
pub(in crate::format) const LAYOUT: Layout<'_> = Layout {
    delta: &["file_id", "stack_id", "depth"],
    unbounded: &[
        "depth",
        "function",
        "system_name",
        "file",
        "line",
        "inlined",
        "module",
        "kind",
        "build_id",
    ],
};

/// Writes the stacks.
pub(super) fn write(
    id: FileId,
    code: &Batch,
    plan: &Plan<'_>,
    names: Option<&dyn Names>,
) -> Result<Bytes, FormatError> {
    let mut file = FileWriter::new(id, &schema::stacks(), &LAYOUT)?;
    let frames = Frames::new(code, plan, names);
    let sizes = sizes(code, &frames);
    let sections = plan.services.iter().map(|service| service.stacks.clone());
    let mut path = Vec::new();
    for group in groups(sections, |stack| sizes[plan.stacks[stack] as usize]) {
        let mut rows = Rows::new(id.number(), &frames);
        for stack in group {
            path.clear();
            path.extend(code.stack_frames(plan.stacks[stack] as usize).map(index));
            rows.stack(stack as i64 + 1, &path);
        }
        file.group(rows.finish()?)?;
    }
    file.finish()
}

/// How many rows each stack has, by row of the code's stacks.
fn sizes(code: &Batch, frames: &Frames) -> Vec<usize> {
    let mut sizes: Vec<usize> = Vec::with_capacity(code.stack_count());
    for stack in 0..code.stack_count() {
        // Parents stand before their children.
        sizes.push(
            code.stack_node(stack).map_or(0, |(parent, frame)| sizes[parent] + frames.rows(frame)),
        );
    }
    sizes
}

/// The rows of a row group.
struct Rows<'a> {
    file: i64,
    frames: &'a Frames,
    stack_ids: Vec<i64>,
    depths: Vec<i32>,
    /// Which frame each is of, and of what was inlined there: 0 for the frame itself, else counted from 1.
    places: Vec<(u32, u32)>,
}

// === impl Rows ===

impl<'a> Rows<'a> {
    fn new(file: i64, frames: &'a Frames) -> Self {
        Self { file, frames, stack_ids: vec![], depths: vec![], places: vec![] }
    }

    /// Adds the frames of a stack, innermost first.
    fn stack(&mut self, id: i64, path: &[u32]) {
        let before = self.places.len();
        for frame in path.iter().rev() {
            match self.frames.rows(*frame as usize) {
                1 => self.places.push((*frame, 0)),
                rows => self.places.extend((0..rows).map(|row| (*frame, index(row)))),
            }
        }
        let rows = self.places.len() - before;
        self.stack_ids.extend(std::iter::repeat_n(id, rows));
        self.depths.extend(0..index(rows).cast_signed());
    }

    fn finish(self) -> Result<Vec<ArrayRef>, FormatError> {
        let count = self.places.len();
        let Self { file, frames, stack_ids, depths, places } = self;
        let texts = &frames.texts;
        let source = |(frame, inlined): (u32, u32)| frames.source(frame as usize, inlined);
        let text = |of: &Texts, number: &dyn Fn((u32, u32)) -> Option<i32>| {
            // Files of what has just come have no names.
            let is_empty = of.is_empty();
            let numbers =
                if is_empty { Int32Array::new_null(count) } else { numbers(&places, number) };
            column(numbers, of)
        };
        let objects: Vec<u32> =
            places.iter().map(|(frame, _)| frames.object(*frame as usize)).collect();
        let of_object = |of: &Texts, number: fn(Object) -> Option<i32>| {
            column(numbers(&objects, |object| number(frames.object_cells(object))), of)
        };
        let is_inlined = BooleanBuffer::collect_bool(count, |row| places[row].1 > 0);
        let lines = match texts.function.is_empty() {
            true => Int32Array::new_null(count),
            false => numbers(&places, |place| source(place).line),
        };
        Ok(vec![
            Arc::new(Int64Array::from(vec![file; count])),
            Arc::new(Int64Array::from(stack_ids)),
            Arc::new(Int32Array::from(depths)),
            text(&texts.function, &|place| source(place).function)?,
            text(&texts.system_name, &|place| source(place).system_name)?,
            text(&texts.file, &|place| source(place).file)?,
            Arc::new(lines),
            Arc::new(BooleanArray::new(is_inlined, None)),
            of_object(&texts.module, |object| object.module)?,
            of_object(&texts.kind, |object| Some(object.kind))?,
            of_object(&texts.build_id, |object| object.build_id)?,
            Arc::new(numbers::<_, Int64Type>(&places, |(frame, _)| frames.offset(frame as usize))),
            text(&texts.reason, &|(frame, _)| frames.cells(frame as usize).reason)?,
        ])
    }
}

/// A column that may have nulls.
fn numbers<P: Copy, T: ArrowPrimitiveType>(
    rows: &[P],
    number: impl Fn(P) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    let mut has_nulls = false;
    let mut get = |row: &P| {
        let number = number(*row);
        has_nulls |= number.is_none();
        number.unwrap_or_default()
    };
    let numbers: Vec<T::Native> = rows.iter().map(&mut get).collect();
    let is_there = |row: usize| number(rows[row]).is_some();
    let nulls = has_nulls.then(|| BooleanBuffer::collect_bool(rows.len(), is_there));
    PrimitiveArray::new(numbers.into(), nulls.map(NullBuffer::new))
}
