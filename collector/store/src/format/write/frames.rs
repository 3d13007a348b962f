//! Frames as cells of the stacks file.

use std::ops::Range;

use fleetprof_proto::{
    batch::{Batch, FrameRef},
    symbol::Line,
};
use hashbrown::{HashMap, hash_map::Entry};

use crate::format::{
    Names,
    order::{Plan, index},
    schema::{build_id_text, kind_name, reason_name},
    strings::{Strings, Texts},
};

/// Frames as cells, and the texts that their numbers mean.
pub(super) struct Frames {
    /// By row of the code's frames, as is what follows; only those that are used are filled in.
    cells: Vec<Cells>,
    /// Which of [`Self::object_cells`]: apart from other cells, as they are asked for by every row of a file.
    objects: Vec<u32>,
    offsets: Vec<Option<i64>>,
    object_cells: Vec<Object>,
    /// Lines of inlined code, outermost first.
    inlined: Vec<Source>,
    pub(super) texts: Columns<Texts>,
}

/// One thing for each column of texts.
#[derive(Debug, Default)]
pub(super) struct Columns<T> {
    pub(super) function: T,
    pub(super) system_name: T,
    pub(super) file: T,
    pub(super) module: T,
    pub(super) kind: T,
    pub(super) build_id: T,
    pub(super) reason: T,
}

/// What is the same in all rows of a frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    pub(super) reason: Option<i32>,
    /// Of the physical row.
    pub(super) source: Source,
    inlined: Range<usize>,
}

/// Cells that tell the object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Object {
    pub(super) kind: i32,
    pub(super) module: Option<i32>,
    pub(super) build_id: Option<i32>,
}

/// Cells that name code.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) function: Option<i32>,
    pub(super) system_name: Option<i32>,
    pub(super) file: Option<i32>,
    pub(super) line: Option<i32>,
}

// === impl Frames ===

impl Frames {
    /// The frames of the stacks that are written.
    pub(super) fn new(code: &Batch, plan: &Plan<'_>, names: Option<&dyn Names>) -> Self {
        let mut cells = vec![Cells::default(); code.frame_count()];
        let mut is_known = vec![false; code.frame_count()];
        let mut is_seen = vec![false; code.stack_count()];
        let mut inlined = Vec::new();
        let mut objects = vec![0; code.frame_count()];
        let mut offsets = vec![None; code.frame_count()];
        let mut object_cells = vec![Object::default()];
        let mut known_objects = HashMap::new();
        let mut strings = Columns::default();
        for stack in &plan.stacks {
            let mut at = *stack as usize;
            while let Some((parent, frame)) = code.stack_node(at) {
                if std::mem::replace(&mut is_seen[at], true) {
                    break;
                }
                at = parent;
                if std::mem::replace(&mut is_known[frame], true) {
                    continue;
                }
                let lines = names.and_then(|names| names.lines(frame)).unwrap_or_default();
                let frame_ref = code.frame(frame);
                objects[frame] = match known_objects.entry(frame_ref.object) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => {
                        object_cells.push(strings.object(&frame_ref));
                        *new.insert(index(object_cells.len() - 1))
                    }
                };
                // The bits of an unsigned number.
                offsets[frame] = frame_ref.name.is_none().then(|| frame_ref.offset.cast_signed());
                cells[frame] = strings.cells(&frame_ref, lines, &mut inlined);
            }
        }
        Self { cells, objects, offsets, object_cells, inlined, texts: strings.finish() }
    }

    /// The object of a frame, for [`Self::object_cells`].
    pub(super) fn object(&self, frame: usize) -> u32 {
        self.objects[frame]
    }

    /// The cells that tell the object.
    pub(super) fn object_cells(&self, object: u32) -> Object {
        self.object_cells[object as usize]
    }

    /// The offset of a frame in its object.
    pub(super) fn offset(&self, frame: usize) -> Option<i64> {
        self.offsets[frame]
    }

    /// The cells of a frame.
    pub(super) fn cells(&self, frame: usize) -> &Cells {
        &self.cells[frame]
    }

    /// The names of a row of a frame: 0 is its own, the further ones are of what was inlined there, outermost
    /// first.
    pub(super) fn source(&self, frame: usize, row: u32) -> &Source {
        let cells = &self.cells[frame];
        match row.checked_sub(1) {
            None => &cells.source,
            Some(number) => &self.inlined[cells.inlined.clone()][number as usize],
        }
    }

    /// How many rows a frame has.
    pub(super) fn rows(&self, frame: usize) -> usize {
        1 + self.cells[frame].inlined.len()
    }
}

// === impl Columns ===

impl Columns<Strings> {
    fn object(&mut self, frame: &FrameRef<'_>) -> Object {
        let module = (!frame.path.is_empty()).then(|| self.module.number(frame.path));
        let build_id = frame.build_id.map(|id| self.build_id.number(&build_id_text(id)));
        Object { kind: self.kind.number(kind_name(frame.kind)), module, build_id }
    }

    fn cells(&mut self, frame: &FrameRef<'_>, lines: &[Line], inlined: &mut Vec<Source>) -> Cells {
        if let Some(name) = frame.name {
            let source = Source {
                function: Some(self.function.number(name.function)),
                system_name: None,
                file: name.file.map(|file| self.file.number(file)),
                line: line_cell(name.line),
            };
            return Cells { source, ..Cells::default() };
        }
        let (source, inner) = match lines.split_last() {
            Some((physical, inner)) => (self.source(physical), inner),
            None => (Source::default(), &[][..]),
        };
        let start = inlined.len();
        inlined.extend(inner.iter().rev().map(|line| self.source(line)));
        Cells {
            reason: reason_name(frame.reason).map(|reason| self.reason.number(reason)),
            source,
            inlined: start..inlined.len(),
        }
    }

    fn source(&mut self, line: &Line) -> Source {
        Source {
            function: Some(self.function.number(&line.name)),
            system_name: Some(self.system_name.number(&line.system_name)),
            file: line.file.as_deref().map(|file| self.file.number(file)),
            line: line_cell(line.line),
        }
    }

    fn finish(self) -> Columns<Texts> {
        Columns {
            function: self.function.finish(),
            system_name: self.system_name.finish(),
            file: self.file.finish(),
            module: self.module.finish(),
            kind: self.kind.finish(),
            build_id: self.build_id.finish(),
            reason: self.reason.finish(),
        }
    }
}

/// All its bits, though no file has so many lines; null when unknown.
fn line_cell(line: u32) -> Option<i32> {
    (line != 0).then_some(line.cast_signed())
}
