//! A batch whose indices are known to be valid, and the view of it that readers use.

use thiserror::Error;

use super::{FrameRef, SourceName, Window, frame::identity};
use crate::{
    ids::{BuildId, IdError, ObjectId, ObjectKind},
    v1,
};

/// A batch that was built or checked here: every index points at a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    wire: v1::Batch,
    /// Parallel to `wire.objects`.
    objects: Vec<(ObjectKind, Option<BuildId>)>,
}

/// One row of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRow {
    /// Row of the origin table.
    pub origin: usize,
    /// Row of the stack table.
    pub stack: usize,
    /// The sampler's result code.
    pub result: u32,
    /// Number of samples.
    pub count: u64,
    /// CPU time they stand for, nanoseconds.
    pub nanos: u64,
}

/// What is wrong with a batch that came in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBatch {
    /// The window is empty or reversed.
    #[error("window ends at {end} ns, not after its start at {start} ns")]
    Window {
        /// Start of the window, Unix nanoseconds.
        start: i64,
        /// Its end.
        end: i64,
    },
    /// A table lacks its reserved row 0, or has another value there.
    #[error("row 0 of table {0} is not the reserved one")]
    Reserved(&'static str),
    /// The columns of a table differ in length.
    #[error("columns of table {0} differ in length")]
    Ragged(&'static str),
    /// An index points past the end of a table.
    #[error("table {table}, row {row}: {what} {index} does not exist")]
    Index {
        /// The table that refers.
        table: &'static str,
        /// The row that refers.
        row: usize,
        /// What it refers to.
        what: &'static str,
        /// The number it gives.
        index: u64,
    },
    /// A frame's name is empty, or its file, line, offset or reason do not go with it.
    #[error("frame {0} has an empty name, a source without a name, or a name and an address")]
    Name(usize),
    /// A label's name is empty, too long, or stands twice in a set.
    #[error("label name {0:?} is empty, too long or repeated")]
    LabelName(String),
    /// A row of samples without a sample.
    #[error("sample row {0} counts 0 samples")]
    EmptySample(usize),
    /// The sums of counts or nanoseconds do not fit 64 bits.
    #[error("the sum of the samples overflows")]
    Overflow,
    /// An id is malformed.
    #[error("object {row}: {error}")]
    Id {
        /// Row of the object table.
        row: usize,
        /// What is wrong.
        error: IdError,
    },
}

/// Largest `Accounting` that a collector accepts, bytes: it keeps one for each start of each agent.
pub const MAX_ACCOUNTING_BYTES: usize = 4 << 10;

/// Longest label name, bytes.
pub const MAX_LABEL_NAME_BYTES: usize = 256;

// === impl Batch ===

impl Batch {
    /// For batches whose indices are right by construction.
    pub(super) fn trusted(wire: v1::Batch) -> Self {
        let objects =
            wire.objects.iter().map(|o| object_id(o).unwrap_or((ObjectKind::Unknown, None)));
        Self { objects: objects.collect(), wire }
    }

    /// Checks every index and sum.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(wire: v1::Batch) -> Result<Self, InvalidBatch> {
        let (start, end) = (wire.start_unix_nanos, wire.end_unix_nanos);
        if end <= start {
            return Err(InvalidBatch::Window { start, end });
        }
        if wire.strings.first().is_none_or(|text| !text.is_empty()) {
            return Err(InvalidBatch::Reserved("strings"));
        }
        check_labels(&wire)?;
        let objects = check_objects(&wire)?;
        check_frames(&wire)?;
        check_stacks(&wire)?;
        check_samples(&wire)?;
        Ok(Self { wire, objects })
    }

    /// The message itself.
    pub fn wire(&self) -> &v1::Batch {
        &self.wire
    }

    /// The span of time it covers.
    pub fn window(&self) -> Window {
        Window {
            start_unix_nanos: self.wire.start_unix_nanos,
            end_unix_nanos: self.wire.end_unix_nanos,
        }
    }

    /// Labels shared by all samples.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.resolve(&self.wire.labels)
    }

    /// Number of origins.
    pub fn origin_count(&self) -> usize {
        self.wire.origins.len()
    }

    /// The labels of one origin, without the shared ones.
    pub fn origin_labels(&self, origin: usize) -> impl Iterator<Item = (&str, &str)> {
        self.resolve(self.wire.origins.get(origin).map_or(&[][..], |o| &o.labels))
    }

    /// Number of frame rows, the reserved one included.
    pub fn frame_count(&self) -> usize {
        self.wire.frames.as_ref().map_or(0, |f| f.object.len())
    }

    /// One frame. Row 0, the reserved one, reads as an unknown frame.
    pub fn frame(&self, frame: usize) -> FrameRef<'_> {
        let frames = self.wire.frames.as_ref();
        let column = |c: Option<&Vec<u32>>| c.and_then(|c| c.get(frame)).copied().unwrap_or(0);
        let object = column(frames.map(|f| &f.object)) as usize;
        let function = column(frames.map(|f| &f.function));
        let file = column(frames.map(|f| &f.file));
        let reason = column(frames.map(|f| &f.reason));
        let (kind, build_id) = &self.objects[object];
        FrameRef {
            object,
            kind: *kind,
            build_id: build_id.as_ref(),
            path: self.text(self.wire.objects[object].path),
            offset: frames.and_then(|f| f.offset.get(frame)).copied().unwrap_or(0),
            reason: i32::try_from(reason)
                .ok()
                .and_then(|reason| v1::UnresolvedReason::try_from(reason).ok())
                .unwrap_or_default(),
            name: (function != 0).then(|| SourceName {
                function: self.text(function),
                file: (file != 0).then(|| self.text(file)),
                line: column(frames.map(|f| &f.line)),
            }),
        }
    }

    /// The identifiable objects of this batch.
    pub fn object_ids(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.iter().filter_map(|(kind, build_id)| identity(*kind, build_id.as_ref()))
    }

    /// Number of rows of the object table.
    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// Number of stack rows, the reserved one included.
    pub fn stack_count(&self) -> usize {
        self.wire.stacks.as_ref().map_or(0, |s| s.frame.len())
    }

    /// Parent row and innermost frame row of a stack; `None` for the empty stack (row 0).
    pub fn stack_node(&self, stack: usize) -> Option<(usize, usize)> {
        let stacks = self.wire.stacks.as_ref()?;
        let distance = *stacks.parent_distance.get(stack)? as usize;
        (distance > 0).then(|| (stack - distance, stacks.frame[stack] as usize))
    }

    /// The frame rows of a stack, innermost first.
    pub fn stack_frames(&self, stack: usize) -> impl Iterator<Item = usize> {
        let mut next = stack;
        std::iter::from_fn(move || {
            let (parent, frame) = self.stack_node(next)?;
            next = parent;
            Some(frame)
        })
    }

    /// The rows of samples.
    pub fn samples(&self) -> impl Iterator<Item = SampleRow> {
        self.wire.samples.iter().flat_map(|s| {
            (0..s.count.len()).map(|row| SampleRow {
                origin: s.origin[row] as usize,
                stack: s.stack[row] as usize,
                result: s.result[row],
                count: s.count[row],
                nanos: s.nanos[row],
            })
        })
    }

    /// Rows in all tables, the measure of its memory: some 30 bytes each.
    pub fn rows(&self) -> usize {
        let samples = self.wire.samples.as_ref().map_or(0, |samples| samples.count.len());
        let tables = [&self.wire.strings.len(), &self.objects.len(), &self.wire.origins.len()];
        tables.into_iter().sum::<usize>() + self.frame_count() + self.stack_count() + samples
    }

    /// Number of samples: the sum of all counts.
    pub fn sample_total(&self) -> u64 {
        self.samples().map(|row| row.count).sum()
    }

    fn text(&self, index: u32) -> &str {
        &self.wire.strings[index as usize]
    }

    fn resolve<'a>(&'a self, labels: &'a [v1::Label]) -> impl Iterator<Item = (&'a str, &'a str)> {
        labels.iter().map(|label| (self.text(label.name), self.text(label.value)))
    }
}

fn object_id(object: &v1::Object) -> Result<(ObjectKind, Option<BuildId>), IdError> {
    let build_id = object.build_id.as_ref().map(BuildId::try_from).transpose()?;
    Ok((ObjectKind::try_from(object.kind)?, build_id))
}

fn check_index(
    table: &'static str,
    row: usize,
    what: &'static str,
    index: u32,
    len: usize,
) -> Result<(), InvalidBatch> {
    if (index as usize) < len {
        return Ok(());
    }
    Err(InvalidBatch::Index { table, row, what, index: index.into() })
}

fn check_labels(wire: &v1::Batch) -> Result<(), InvalidBatch> {
    let strings = wire.strings.len();
    let sets = std::iter::once(&wire.labels).chain(wire.origins.iter().map(|o| &o.labels));
    for (row, labels) in sets.enumerate() {
        let mut names = std::collections::BTreeSet::new();
        for label in labels {
            check_index("labels", row, "string", label.name, strings)?;
            check_index("labels", row, "string", label.value, strings)?;
            let name = &wire.strings[label.name as usize];
            if name.is_empty() || name.len() > MAX_LABEL_NAME_BYTES || !names.insert(name) {
                return Err(InvalidBatch::LabelName(name.chars().take(64).collect()));
            }
        }
    }
    Ok(())
}

fn check_objects(wire: &v1::Batch) -> Result<Vec<(ObjectKind, Option<BuildId>)>, InvalidBatch> {
    let mut objects = Vec::with_capacity(wire.objects.len());
    for (row, object) in wire.objects.iter().enumerate() {
        check_index("objects", row, "string", object.path, wire.strings.len())?;
        objects.push(object_id(object).map_err(|error| InvalidBatch::Id { row, error })?);
    }
    match objects.first() {
        Some((ObjectKind::Unknown, None)) => Ok(objects),
        _ => Err(InvalidBatch::Reserved("objects")),
    }
}

fn check_frames(wire: &v1::Batch) -> Result<(), InvalidBatch> {
    let frames = wire.frames.as_ref().ok_or(InvalidBatch::Reserved("frames"))?;
    let len = frames.object.len();
    if frames.offset.len() != len || frames.reason.len() != len {
        return Err(InvalidBatch::Ragged("frames"));
    }
    if len == 0 || (frames.object[0], frames.offset[0], frames.reason[0]) != (0, 0, 0) {
        return Err(InvalidBatch::Reserved("frames"));
    }
    let objects = wire.objects.len();
    let mut rows = frames.object.iter().enumerate();
    rows.try_for_each(|(row, object)| check_index("frames", row, "object", *object, objects))?;
    check_names(frames, &wire.strings)
}

/// Columns of names are there for all frames or for none.
fn check_names(frames: &v1::Frames, strings: &[String]) -> Result<(), InvalidBatch> {
    let columns = [frames.function.len(), frames.file.len(), frames.line.len()];
    if columns == [0; 3] {
        return Ok(());
    }
    if columns != [frames.object.len(); 3] {
        return Err(InvalidBatch::Ragged("frames"));
    }
    if (frames.function[0], frames.file[0], frames.line[0]) != (0, 0, 0) {
        return Err(InvalidBatch::Reserved("frames"));
    }
    for row in 1..frames.object.len() {
        let (function, file, line) = (frames.function[row], frames.file[row], frames.line[row]);
        check_index("frames", row, "string", function, strings.len())?;
        check_index("frames", row, "string", file, strings.len())?;
        let is_named = function != 0;
        let is_nameless = is_named && strings[function as usize].is_empty();
        let is_placed = (frames.offset[row], frames.reason[row]) != (0, 0);
        if is_nameless || (is_named && is_placed) || (!is_named && (file, line) != (0, 0)) {
            return Err(InvalidBatch::Name(row));
        }
    }
    Ok(())
}

fn check_stacks(wire: &v1::Batch) -> Result<(), InvalidBatch> {
    let stacks = wire.stacks.as_ref().ok_or(InvalidBatch::Reserved("stacks"))?;
    let frames = wire.frames.as_ref().map_or(0, |f| f.object.len());
    if stacks.parent_distance.len() != stacks.frame.len() {
        return Err(InvalidBatch::Ragged("stacks"));
    }
    if stacks.frame.is_empty() || (stacks.parent_distance[0], stacks.frame[0]) != (0, 0) {
        return Err(InvalidBatch::Reserved("stacks"));
    }
    for (row, (distance, frame)) in
        stacks.parent_distance.iter().zip(&stacks.frame).enumerate().skip(1)
    {
        check_index("stacks", row, "frame", *frame, frames)?;
        // A parent stands before its child: no cycles, and every walk ends.
        if *distance == 0 || *distance as usize > row {
            let index = (*distance).into();
            return Err(InvalidBatch::Index {
                table: "stacks",
                row,
                what: "parent distance",
                index,
            });
        }
    }
    Ok(())
}

fn check_samples(wire: &v1::Batch) -> Result<(), InvalidBatch> {
    let Some(samples) = wire.samples.as_ref() else { return Ok(()) };
    let stacks = wire.stacks.as_ref().map_or(0, |s| s.frame.len());
    let len = samples.count.len();
    if [samples.origin.len(), samples.stack.len(), samples.result.len(), samples.nanos.len()]
        != [len; 4]
    {
        return Err(InvalidBatch::Ragged("samples"));
    }
    let (mut count, mut nanos) = (0_u64, 0_u64);
    for row in 0..len {
        check_index("samples", row, "origin", samples.origin[row], wire.origins.len())?;
        check_index("samples", row, "stack", samples.stack[row], stacks)?;
        if samples.count[row] == 0 {
            return Err(InvalidBatch::EmptySample(row));
        }
        count = count.checked_add(samples.count[row]).ok_or(InvalidBatch::Overflow)?;
        nanos = nanos.checked_add(samples.nanos[row]).ok_or(InvalidBatch::Overflow)?;
    }
    Ok(())
}
