//! Writes the stacks.

use std::sync::Arc;

use arrow_array::{
    ArrayRef,
    builder::{BooleanBuilder, Int32Builder, Int64Builder},
};
use bytes::Bytes;
use fleetprof_proto::batch::Batch;

use super::{
    FileWriter,
    frames::{Cells, Columns, Frames, Source},
};
use crate::{
    catalog::FileId,
    format::{
        FormatError, Names,
        order::{Plan, groups},
        schema,
        strings::{Texts, column},
    },
};

/// Columns of which rows that follow each other have values that do so, too.
pub(in crate::format) const DELTA: [&str; 2] = ["stack_id", "depth"];

/// Writes the stacks.
pub(super) fn write(
    id: FileId,
    code: &Batch,
    plan: &Plan<'_>,
    names: Option<&dyn Names>,
) -> Result<Bytes, FormatError> {
    let mut file = FileWriter::new(id, &schema::stacks(), &DELTA)?;
    let frames = Frames::new(code, plan, names);
    let sizes = sizes(code, &frames);
    let sections = plan.services.iter().map(|service| service.stacks.clone());
    let mut path = Vec::new();
    for group in groups(sections, |stack| sizes[plan.stacks[stack] as usize]) {
        let mut rows = Rows::default();
        for stack in group {
            path.clear();
            path.extend(code.stack_frames(plan.stacks[stack] as usize));
            rows.stack(id.number(), stack as i64 + 1, &path, &frames);
        }
        file.group(rows.finish(&frames.texts)?)?;
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

/// The columns while rows are added.
#[derive(Default)]
struct Rows {
    file_id: Int64Builder,
    stack_id: Int64Builder,
    depth: Int32Builder,
    line: Int32Builder,
    inlined: BooleanBuilder,
    offset: Int64Builder,
    texts: Columns<Int32Builder>,
}

// === impl Rows ===

impl Rows {
    /// Adds the frames of a stack, innermost first.
    fn stack(&mut self, file: i64, id: i64, path: &[usize], frames: &Frames) {
        let mut depth = 0;
        for frame in path.iter().rev() {
            let cells = frames.cells(*frame);
            let inlined = frames.inlined(cells).iter().map(|source| (source, true));
            for (source, is_inlined) in std::iter::once((&cells.source, false)).chain(inlined) {
                self.file_id.append_value(file);
                self.stack_id.append_value(id);
                self.depth.append_value(depth);
                self.inlined.append_value(is_inlined);
                self.cells(cells, source);
                depth += 1;
            }
        }
    }

    fn cells(&mut self, cells: &Cells, source: &Source) {
        let texts = &mut self.texts;
        texts.function.append_option(source.function);
        texts.system_name.append_option(source.system_name);
        texts.file.append_option(source.file);
        self.line.append_option(source.line);
        texts.module.append_option(cells.object.module);
        texts.kind.append_value(cells.object.kind);
        texts.build_id.append_option(cells.object.build_id);
        self.offset.append_option(cells.offset);
        texts.reason.append_option(cells.reason);
    }

    fn finish(mut self, texts: &Columns<Texts>) -> Result<Vec<ArrayRef>, FormatError> {
        let numbers = &mut self.texts;
        Ok(vec![
            Arc::new(self.file_id.finish()),
            Arc::new(self.stack_id.finish()),
            Arc::new(self.depth.finish()),
            column(numbers.function.finish(), &texts.function)?,
            column(numbers.system_name.finish(), &texts.system_name)?,
            column(numbers.file.finish(), &texts.file)?,
            Arc::new(self.line.finish()),
            Arc::new(self.inlined.finish()),
            column(numbers.module.finish(), &texts.module)?,
            column(numbers.kind.finish(), &texts.kind)?,
            column(numbers.build_id.finish(), &texts.build_id)?,
            Arc::new(self.offset.finish()),
            column(numbers.reason.finish(), &texts.reason)?,
        ])
    }
}
