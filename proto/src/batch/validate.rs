//! A batch whose indices are known to be valid, and the view of it that readers use.

use thiserror::Error;

use super::Window;
use crate::{
    ids::{BuildId, IdError, ObjectId, ObjectKind},
    symbol::Reason,
    v1,
};

/// A batch that was built or checked here: every index points at a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    wire: v1::Batch,
    /// Parallel to `wire.objects`.
    objects: Vec<(ObjectKind, Option<BuildId>)>,
}

/// One frame of a batch.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    /// Row of its object.
    pub object: usize,
    /// What the offset is relative to.
    pub kind: ObjectKind,
    /// The object's build ID where it is known.
    pub build_id: Option<&'a BuildId>,
    /// Path or name of the object, empty when unknown.
    pub path: &'a str,
    /// Offset in the object, or the raw address where the object is unknown.
    pub offset: u64,
    /// Why the host could not resolve it; `Unspecified` when it could.
    pub reason: v1::UnresolvedReason,
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
        }
    }

    /// The identifiable objects of this batch.
    pub fn object_ids(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.iter().filter_map(|(kind, build_id)| identity(*kind, build_id.as_ref()))
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

// === impl FrameRef ===

impl FrameRef<'_> {
    /// What to show for a frame without a name: `module+0xoffset`, or the bare address.
    pub fn fallback_name(&self) -> String {
        match self.path.rsplit('/').next().unwrap_or_default() {
            "" => format!("0x{:x}", self.offset),
            module => format!("{module}+0x{:x}", self.offset),
        }
    }

    /// The object to look the offset up in, or why there is none.
    ///
    /// # Errors
    /// The reason that the host gave.
    pub fn locate(&self) -> Result<ObjectId, Reason> {
        identity(self.kind, self.build_id).ok_or(match (self.kind, self.reason) {
            (ObjectKind::Anonymous, _) => Reason::Anonymous,
            (_, v1::UnresolvedReason::ProcessGone) => Reason::ProcessGone,
            (_, v1::UnresolvedReason::NoKernelSymbols) => Reason::NoKernelSymbols,
            (ObjectKind::Unknown, _) => Reason::NoMapping,
            _ => Reason::NoBuildId,
        })
    }
}

/// Only code that other hosts may have too has an identity.
fn identity(kind: ObjectKind, build_id: Option<&BuildId>) -> Option<ObjectId> {
    match kind {
        ObjectKind::Unknown | ObjectKind::Anonymous => None,
        kind => Some(ObjectId { kind, build_id: build_id?.clone() }),
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
    rows.try_for_each(|(row, object)| check_index("frames", row, "object", *object, objects))
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
