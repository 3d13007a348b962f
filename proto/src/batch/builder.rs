//! Makes a batch by interning: every distinct string, object, frame, stack and origin is stored
//! once, and samples are counted per (origin, stack, result) by full equality.

use std::hash::Hash;

use hashbrown::HashMap;

use super::Batch;
use crate::{
    ids::{BuildId, ObjectKind},
    v1,
};

/// Row of the object table; `ObjectIndex::UNKNOWN` is the reserved row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectIndex(pub(super) u32);

/// Row of the frame table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameIndex(pub(super) u32);

/// Row of the stack table; `StackIndex::EMPTY` is the empty stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackIndex(pub(super) u32);

/// Row of the origin table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginIndex(pub(super) u32);

/// A span of time, nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First instant.
    pub start_unix_nanos: i64,
    /// One past the last instant.
    pub end_unix_nanos: i64,
}

/// What only the host knows of a frame: names of generated or interpreted code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceName<'a> {
    /// The function, as its runtime calls it.
    pub function: &'a str,
    /// Its source file.
    pub file: Option<&'a str>,
    /// Source line, 1-based; 0 when unknown.
    pub line: u32,
}

/// What a function is called that has a name without a character.
pub const NAMELESS: &str = "[no name]";

/// Builds one batch. Memory grows with distinct code and stacks, see [`BatchBuilder::rows`].
#[derive(Debug)]
pub struct BatchBuilder {
    strings: Interner<String>,
    objects: Interner<ObjectKey>,
    frames: Interner<FrameKey>,
    stacks: Interner<StackKey>,
    origins: Interner<Vec<(u32, u32)>>,
    samples: HashMap<(OriginIndex, StackIndex, u32), (u64, u64)>,
    sample_total: u64,
}

/// Numbers distinct values in the order they come.
#[derive(Debug)]
struct Interner<T> {
    rows: HashMap<T, u32>,
}

type ObjectKey = (ObjectKind, Option<BuildId>, u32);
/// What makes a frame one. Of names there are the strings' rows; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct FrameKey {
    object: u32,
    offset: u64,
    reason: i32,
    function: u32,
    file: u32,
    line: u32,
}

type StackKey = (u32, u32);

// === impl Interner ===

impl<T: Eq + Hash + Default> Interner<T> {
    fn new() -> Self {
        Self { rows: HashMap::new() }
    }

    fn with_reserved(row: T) -> Self {
        Self { rows: HashMap::from([(row, 0)]) }
    }

    fn intern(&mut self, value: T) -> u32 {
        // A table of 2^32 rows would need hundreds of gigabytes first: callers bound `rows()`.
        let next = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        *self.rows.entry(value).or_insert(next)
    }

    /// The values in the order of their numbers.
    fn into_rows(self) -> Vec<T> {
        let mut rows = Vec::new();
        rows.resize_with(self.rows.len(), T::default);
        // Each number was given once, counting from 0.
        for (value, index) in self.rows {
            rows[index as usize] = value;
        }
        rows
    }
}

// === impl indices ===

impl ObjectIndex {
    /// The object of frames whose code is not known.
    pub const UNKNOWN: Self = Self(0);
}

impl StackIndex {
    /// The stack without frames, the root of every other.
    pub const EMPTY: Self = Self(0);

    /// Its number in the batch that is being built.
    pub fn row(self) -> u32 {
        self.0
    }
}

impl OriginIndex {
    /// Its number in the batch that is being built.
    pub fn row(self) -> u32 {
        self.0
    }
}

// === impl BatchBuilder ===

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            strings: Interner::with_reserved(String::new()),
            objects: Interner::with_reserved((ObjectKind::Unknown, None, 0)),
            frames: Interner::with_reserved(FrameKey::default()),
            stacks: Interner::with_reserved((0, 0)),
            origins: Interner::new(),
            samples: HashMap::new(),
            sample_total: 0,
        }
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    fn string(&mut self, text: &str) -> u32 {
        match self.strings.rows.get(text) {
            Some(index) => *index,
            None => self.strings.intern(text.to_owned()),
        }
    }

    /// Interns an object. `build_id` is `None` when it could not be identified; `path` is for people.
    pub fn object(
        &mut self,
        kind: ObjectKind,
        build_id: Option<&BuildId>,
        path: &str,
    ) -> ObjectIndex {
        let path = self.string(path);
        ObjectIndex(self.objects.intern((kind, build_id.cloned(), path)))
    }

    /// Interns a frame: an offset in an object, with the reason where the object is not known.
    pub fn frame(
        &mut self,
        object: ObjectIndex,
        offset: u64,
        reason: v1::UnresolvedReason,
    ) -> FrameIndex {
        let mut key =
            FrameKey { object: object.0, offset, reason: reason.into(), ..FrameKey::default() };
        // Row 0 is reserved, so a frame equal to it must not get its number.
        if key == FrameKey::default() {
            key.reason = v1::UnresolvedReason::NoMapping.into();
        }
        FrameIndex(self.frames.intern(key))
    }

    /// Interns a frame that its host has a name for. `object` says what sort of code it is; a name
    /// without a function is [`NAMELESS`].
    pub fn named_frame(&mut self, object: ObjectIndex, name: SourceName<'_>) -> FrameIndex {
        let function = if name.function.is_empty() { NAMELESS } else { name.function };
        let key = FrameKey {
            object: object.0,
            function: self.string(function),
            file: name.file.map_or(0, |file| self.string(file)),
            line: name.line,
            ..FrameKey::default()
        };
        FrameIndex(self.frames.intern(key))
    }

    /// Interns the stack `parent` + one callee frame.
    pub fn child(&mut self, parent: StackIndex, frame: FrameIndex) -> StackIndex {
        StackIndex(self.stacks.intern((parent.0, frame.0)))
    }

    /// Interns a whole stack, outermost frame first.
    pub fn stack(&mut self, root_first: impl IntoIterator<Item = FrameIndex>) -> StackIndex {
        root_first.into_iter().fold(StackIndex::EMPTY, |parent, frame| self.child(parent, frame))
    }

    /// Interns a set of labels. Order does not matter; of a repeated name the last value stays;
    /// empty values count as absent.
    pub fn origin<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> OriginIndex {
        let by_name: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
        let labels = by_name
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (self.string(name), self.string(value)))
            .collect();
        OriginIndex(self.origins.intern(labels))
    }

    /// Adds `count` samples that stand for `nanos` of CPU time. `result` is the sampler's code.
    pub fn add(
        &mut self,
        origin: OriginIndex,
        stack: StackIndex,
        result: u32,
        count: u64,
        nanos: u64,
    ) {
        let row = self.samples.entry((origin, stack, result)).or_default();
        row.0 = row.0.saturating_add(count);
        row.1 = row.1.saturating_add(nanos);
        self.sample_total = self.sample_total.saturating_add(count);
    }

    /// Samples added so far.
    pub fn samples(&self) -> u64 {
        self.sample_total
    }

    /// Rows in all tables, the measure of this batch's memory (some 60 to 100 bytes each).
    pub fn rows(&self) -> usize {
        self.strings.rows.len()
            + self.objects.rows.len()
            + self.frames.rows.len()
            + self.stacks.rows.len()
            + self.origins.rows.len()
            + self.samples.len()
    }

    /// Ends the batch. `labels` hold for all its samples.
    pub fn finish<'a>(
        mut self,
        window: Window,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        accounting: v1::Accounting,
    ) -> Batch {
        let labels = labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| v1::Label { name: self.string(name), value: self.string(value) })
            .collect();
        Batch::trusted(v1::Batch {
            start_unix_nanos: window.start_unix_nanos,
            end_unix_nanos: window.end_unix_nanos,
            labels,
            accounting: Some(accounting),
            strings: self.strings.into_rows(),
            objects: self.objects.into_rows().iter().map(wire_object).collect(),
            frames: Some(wire_frames(self.frames.into_rows())),
            stacks: Some(wire_stacks(self.stacks.into_rows())),
            origins: self.origins.into_rows().into_iter().map(wire_origin).collect(),
            samples: Some(wire_samples(self.samples)),
        })
    }
}

fn wire_object((kind, build_id, path): &ObjectKey) -> v1::Object {
    v1::Object {
        kind: v1::ObjectKind::from(*kind).into(),
        build_id: build_id.as_ref().map(Into::into),
        path: *path,
    }
}

/// Without a name anywhere there are no columns of names: they would be zeros only.
fn wire_frames(rows: Vec<FrameKey>) -> v1::Frames {
    let mut frames = v1::Frames::default();
    let named = rows.iter().any(|row| row.function != 0);
    for row in rows {
        frames.object.push(row.object);
        frames.offset.push(row.offset);
        frames.reason.push(row.reason.unsigned_abs());
        if named {
            frames.function.push(row.function);
            frames.file.push(row.file);
            frames.line.push(row.line);
        }
    }
    frames
}

fn wire_stacks(rows: Vec<StackKey>) -> v1::Stacks {
    let mut stacks = v1::Stacks::default();
    for (index, (parent, frame)) in (0..).zip(rows) {
        let index: u32 = index;
        stacks.parent_distance.push(index - parent);
        stacks.frame.push(frame);
    }
    stacks
}

fn wire_origin(labels: Vec<(u32, u32)>) -> v1::Origin {
    let label = |(name, value)| v1::Label { name, value };
    v1::Origin { labels: labels.into_iter().map(label).collect() }
}

/// Sorted, so that equal content gives equal bytes and columns compress well.
fn wire_samples(rows: HashMap<(OriginIndex, StackIndex, u32), (u64, u64)>) -> v1::Samples {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable();
    let mut samples = v1::Samples::default();
    for ((origin, stack, result), (count, nanos)) in rows {
        samples.origin.push(origin.0);
        samples.stack.push(stack.0);
        samples.result.push(result);
        samples.count.push(count);
        samples.nanos.push(nanos);
    }
    samples
}
