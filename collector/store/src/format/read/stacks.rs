//! Reads stacks.
//!
//! They are in the order of their prefix tree, so each is compared with the one before, and only what
//! differs is looked up.

use arrow_array::{Array as _, BooleanArray, Int32Array, Int64Array};
use fleetprof_proto::{
    batch::{BatchBuilder, FrameIndex, ObjectIndex, SourceName, StackIndex},
    ids::{BuildId, ObjectKind},
    v1,
};
use hashbrown::{HashMap, HashSet};

use super::{
    columns::{Columns, Text},
    file::File,
};
use crate::format::{
    FormatError,
    schema::{build_id_of, kind_of, reason_of},
};

/// Which stacks are needed.
pub(super) enum Needed {
    /// All of the file.
    All,
    /// Those of these numbers.
    These(HashSet<i64>),
}

/// Columns that all frames need.
const ADDRESSES: [&str; 7] =
    ["stack_id", "inlined", "module", "kind", "build_id", "offset", "reason"];
/// Columns that only frames need that have their names from hosts.
const NAMES: [&str; 3] = ["function", "file", "line"];

/// Reads stacks: where each is in the builder.
pub(super) fn read(
    file: &File,
    needed: &Needed,
    builder: &mut BatchBuilder,
) -> Result<HashMap<i64, StackIndex>, FormatError> {
    let mut found = HashMap::new();
    for_each(file, needed, builder, Shape::Tree, |id, path| {
        found.insert(id, path.last().map_or(StackIndex::EMPTY, |node| node.stack));
        Ok(())
    })?;
    Ok(found)
}

/// Reads the frames of stacks: hands each stack to `each`, its number and its frames, which are stacks of their
/// own in the builder.
pub(super) fn read_frames(
    file: &File,
    needed: &Needed,
    builder: &mut BatchBuilder,
    each: impl FnMut(i64, &[Node]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    for_each(file, needed, builder, Shape::Frames, each)
}

/// Hands each stack to `each`, in the order of their numbers.
fn for_each(
    file: &File,
    needed: &Needed,
    builder: &mut BatchBuilder,
    shape: Shape,
    each: impl FnMut(i64, &[Node]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut tree = Tree { file, needed, builder, shape, path: Vec::new(), at: 0, id: 0, each };
    for group in 0..file.groups() {
        if !needed.has_any(file.bounds(group, "stack_id")) {
            continue;
        }
        let has_names = file.may_have_nulls(group, "offset");
        let columns = ADDRESSES.into_iter().chain(NAMES.into_iter().filter(|_| has_names));
        for rows in file.batches(group, columns)? {
            let rows = rows.map_err(|error| file.damaged(error.to_string()))?;
            tree.add(&mut Rows::new(file, &Columns::new(file, group, &rows), has_names)?)?;
        }
    }
    tree.end_stack()
}

// === impl Needed ===

impl Needed {
    fn has(&self, id: i64) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(&id),
        }
    }

    fn has_any(&self, bounds: Option<(i64, i64)>) -> bool {
        match (self, bounds) {
            (Self::These(ids), Some((first, last))) => {
                // Whichever are fewer.
                let width = last.saturating_sub(first);
                if usize::try_from(width).is_ok_and(|width| width < ids.len()) {
                    (first..=last).any(|id| ids.contains(&id))
                } else {
                    ids.iter().any(|id| (first..=last).contains(id))
                }
            }
            _ => true,
        }
    }
}

/// What stacks become in the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Stacks.
    Tree,
    /// A stack of one frame for each frame.
    Frames,
}

/// What has been read.
struct Tree<'a, E> {
    file: &'a File,
    needed: &'a Needed,
    builder: &'a mut BatchBuilder,
    shape: Shape,
    /// A stack that was read, outermost frame first, and maybe longer than the current one.
    path: Vec<Node>,
    /// How many frames of it are those of the current stack.
    at: usize,
    /// The current stack; 0 before the first.
    id: i64,
    /// What is done with each stack that is needed: its number, and its frames, outermost first.
    each: E,
}

/// A frame of a stack.
pub(super) struct Node {
    /// The frame as it stands in the rows of the batch at hand; rows of another batch have other numbers.
    raw: Option<RawFrame>,
    frame: Frame,
    /// The stack that ends with it, or that is it.
    pub stack: StackIndex,
}

/// What makes rows of one batch the same frame.
#[derive(Clone, Copy, PartialEq, Eq)]
struct RawFrame {
    object: (i32, i32, i32),
    offset: u64,
    reason: i32,
}

/// What makes a frame one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    Address { object: ObjectIndex, offset: u64, reason: v1::UnresolvedReason },
    Named(FrameIndex),
}

// === impl Tree ===

impl<E: FnMut(i64, &[Node]) -> Result<(), FormatError>> Tree<'_, E> {
    fn add(&mut self, rows: &mut Rows<'_>) -> Result<(), FormatError> {
        let mut is_needed = self.id != 0 && self.needed.has(self.id);
        self.path.iter_mut().for_each(|node| node.raw = None);
        for row in 0..rows.ids.len() {
            let id = rows.ids[row];
            if id != self.id {
                if id < self.id {
                    return Err(self.file.damaged("stacks are not in order"));
                }
                self.end_stack()?;
                self.id = id;
                is_needed = self.needed.has(id);
            }
            if is_needed && !rows.inlined.value(row) {
                // Mostly it is that of the stack before.
                let raw = rows.raw(row);
                match self.path.get(self.at) {
                    Some(node) if raw.is_some() && node.raw == raw => self.at += 1,
                    _ => {
                        let frame = rows.frame(row, self.builder)?;
                        self.push(raw, frame);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a frame to the current stack.
    fn push(&mut self, raw: Option<RawFrame>, frame: Frame) {
        if let Some(node) = self.path.get_mut(self.at).filter(|node| node.frame == frame) {
            node.raw = raw;
        } else {
            self.path.truncate(self.at);
            let parent = match (self.shape, self.path.last()) {
                (Shape::Tree, Some(node)) => node.stack,
                _ => StackIndex::EMPTY,
            };
            let index = match frame {
                Frame::Address { object, offset, reason } => {
                    self.builder.frame(object, offset, reason)
                }
                Frame::Named(frame) => frame,
            };
            let stack = self.builder.child(parent, index);
            self.path.push(Node { raw, frame, stack });
        }
        self.at += 1;
    }

    fn end_stack(&mut self) -> Result<(), FormatError> {
        if self.id != 0 && self.needed.has(self.id) {
            (self.each)(self.id, &self.path[..self.at])?;
        }
        self.at = 0;
        Ok(())
    }
}

/// Some rows of frames.
struct Rows<'a> {
    file: &'a File,
    ids: &'a [i64],
    inlined: &'a BooleanArray,
    /// `None`: null in every row.
    offsets: Option<&'a Int64Array>,
    kind: Text<'a>,
    module: Text<'a>,
    build_id: Text<'a>,
    reason: Text<'a>,
    names: Option<NameColumns<'a>>,
    /// By number.
    kinds: Vec<Option<ObjectKind>>,
    /// By number.
    reasons: Vec<Option<v1::UnresolvedReason>>,
    /// By numbers of kind, module and build ID.
    objects: HashMap<(i32, i32, i32), ObjectIndex>,
    /// By object, numbers of function and file, and line.
    named: HashMap<(ObjectIndex, i32, i32, u32), FrameIndex>,
}

struct NameColumns<'a> {
    function: Text<'a>,
    file: Text<'a>,
    /// `None`: null in every row.
    line: Option<&'a Int32Array>,
}

// === impl Rows ===

impl<'a> Rows<'a> {
    fn new(file: &'a File, columns: &Columns<'a>, has_names: bool) -> Result<Self, FormatError> {
        let (kind, reason) = (columns.text("kind")?, columns.text("reason")?);
        let names = || -> Result<_, FormatError> {
            let (function, file) = (columns.text("function")?, columns.text("file")?);
            Ok(NameColumns { function, file, line: columns.maybe_ints("line")? })
        };
        Ok(Self {
            file,
            ids: columns.amounts("stack_id")?,
            inlined: columns.flags("inlined")?,
            offsets: columns.maybe_longs("offset")?,
            kinds: kind.meanings(kind_of),
            reasons: reason.meanings(reason_of),
            kind,
            module: columns.text("module")?,
            build_id: columns.text("build_id")?,
            reason,
            names: has_names.then(names).transpose()?,
            objects: HashMap::new(),
            named: HashMap::new(),
        })
    }

    /// `None`: it has its name from its host.
    fn raw(&self, row: usize) -> Option<RawFrame> {
        let offsets = self.offsets.filter(|offsets| offsets.is_valid(row))?;
        Some(RawFrame {
            object: (self.kind.numbers[row], self.module.numbers[row], self.build_id.numbers[row]),
            offset: offsets.value(row).cast_unsigned(),
            reason: self.reason.numbers[row],
        })
    }

    fn frame(&mut self, row: usize, builder: &mut BatchBuilder) -> Result<Frame, FormatError> {
        let key = (self.kind.numbers[row], self.module.numbers[row], self.build_id.numbers[row]);
        let object = match self.objects.get(&key) {
            Some(known) => *known,
            None => {
                let object = self.object(row, builder)?;
                *self.objects.entry(key).or_insert(object)
            }
        };
        let offset = self.offsets.filter(|offsets| offsets.is_valid(row));
        let Some(offset) = offset.map(|offsets| offsets.value(row).cast_unsigned()) else {
            return Ok(Frame::Named(self.named(row, object, builder)?));
        };
        let reason = match usize::try_from(self.reason.numbers[row]) {
            Ok(number) => {
                self.reasons[number].ok_or_else(|| self.file.damaged("a reason is not known"))?
            }
            Err(_null) => v1::UnresolvedReason::Unspecified,
        };
        Ok(Frame::Address { object, offset, reason })
    }

    fn object(&self, row: usize, builder: &mut BatchBuilder) -> Result<ObjectIndex, FormatError> {
        let kind = usize::try_from(self.kind.numbers[row]).ok().and_then(|kind| self.kinds[kind]);
        let kind = kind.ok_or_else(|| self.file.damaged("a kind of object is not known"))?;
        let build_id: Option<BuildId> = match self.build_id.get(row) {
            Some(text) => Some(
                build_id_of(text).ok_or_else(|| self.file.damaged("a build ID is malformed"))?,
            ),
            None => None,
        };
        Ok(builder.object(kind, build_id.as_ref(), self.module.get(row).unwrap_or_default()))
    }

    fn named(
        &mut self,
        row: usize,
        object: ObjectIndex,
        builder: &mut BatchBuilder,
    ) -> Result<FrameIndex, FormatError> {
        let names = self.names.as_ref();
        let names = names.ok_or_else(|| self.file.damaged("it has more nulls than it claims"))?;
        let line = names.line.filter(|line| line.is_valid(row));
        let line = line.map_or(0, |line| line.value(row).cast_unsigned());
        let key = (object, names.function.numbers[row], names.file.numbers[row], line);
        if let Some(known) = self.named.get(&key) {
            return Ok(*known);
        }
        let function = names.function.get(row);
        let function =
            function.ok_or_else(|| self.file.damaged("a frame has neither offset nor name"))?;
        let file = names.file.get(row);
        let frame = builder.named_frame(object, SourceName { function, file, line });
        self.named.insert(key, frame);
        Ok(frame)
    }
}
