//! Merges batches into one: the same code and stacks of many hosts and windows become one row.

use std::collections::BTreeMap;

use super::{Batch, BatchBuilder, FrameIndex, ObjectIndex, OriginIndex, StackIndex, Window};
use crate::v1;

/// Adds up batches. Memory grows with distinct code, not with the number of batches.
#[derive(Debug, Default)]
pub struct Merger {
    builder: BatchBuilder,
    window: Option<Window>,
    batches: u64,
}

/// Translates the code of one batch into rows of another's builder, each row at most once.
#[derive(Debug)]
pub struct Translation<'a> {
    batch: &'a Batch,
    /// By row of the batch; `None` is not translated yet. So are the next two.
    objects: Vec<Option<ObjectIndex>>,
    frames: Vec<Option<FrameIndex>>,
    stacks: Vec<Option<StackIndex>>,
    /// Of one call: kept for its memory.
    pending: Vec<(usize, usize)>,
}

// === impl Merger ===

impl Merger {
    /// Nothing merged yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the samples of the origins that `select` maps to a label set.
    ///
    /// `select` is asked once per origin with all labels of its samples (the batch's shared ones
    /// included) and answers the labels to keep, or `None` to leave the origin out.
    /// Returns the number of samples added.
    pub fn add(
        &mut self,
        batch: &Batch,
        mut select: impl FnMut(&BTreeMap<&str, &str>) -> Option<Vec<(String, String)>>,
    ) -> u64 {
        let origins: Vec<Option<OriginIndex>> = (0..batch.origin_count())
            .map(|origin| {
                let labels: BTreeMap<_, _> =
                    batch.labels().chain(batch.origin_labels(origin)).collect();
                let kept = select(&labels)?;
                let kept = kept.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                Some(self.builder.origin(kept))
            })
            .collect();
        let mut translation = Translation::new(batch);
        let mut added = 0;
        for row in batch.samples() {
            let Some(origin) = origins[row.origin] else { continue };
            let stack = translation.stack(&mut self.builder, row.stack);
            self.builder.add(origin, stack, row.result, row.count, row.nanos);
            added += row.count;
        }
        if added > 0 {
            self.batches += 1;
            self.widen(batch.window());
        }
        added
    }

    /// Batches of which at least one sample was added.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Samples added.
    pub fn samples(&self) -> u64 {
        self.builder.samples()
    }

    /// The span from the first to the last window added; `None` before the first.
    pub fn window(&self) -> Option<Window> {
        self.window
    }

    /// The merged batch. Without any sample it has an empty window at the epoch.
    pub fn finish(self) -> Batch {
        let window = self.window.unwrap_or(Window { start_unix_nanos: 0, end_unix_nanos: 0 });
        self.builder.finish(window, [], v1::Accounting::default())
    }

    fn widen(&mut self, window: Window) {
        self.window = Some(self.window.map_or(window, |seen| Window {
            start_unix_nanos: seen.start_unix_nanos.min(window.start_unix_nanos),
            end_unix_nanos: seen.end_unix_nanos.max(window.end_unix_nanos),
        }));
    }
}

// === impl Translation ===

impl<'a> Translation<'a> {
    /// Of nothing yet. All calls must be given the same builder.
    pub fn new(batch: &'a Batch) -> Self {
        let mut stacks = vec![None; batch.stack_count()];
        // The reserved row is the empty stack of every batch.
        if let Some(empty) = stacks.first_mut() {
            *empty = Some(StackIndex::EMPTY);
        }
        Self {
            batch,
            objects: vec![None; batch.object_count()],
            frames: vec![None; batch.frame_count()],
            stacks,
            pending: Vec::new(),
        }
    }

    /// The row of a stack in the builder.
    ///
    /// Walks up to the first ancestor already translated, then down again: no recursion, so a stack
    /// of any depth is fine.
    pub fn stack(&mut self, builder: &mut BatchBuilder, stack: usize) -> StackIndex {
        let mut at = stack;
        let mut merged = loop {
            if let Some(known) = self.stacks[at] {
                break known;
            }
            let Some((parent, frame)) = self.batch.stack_node(at) else { break StackIndex::EMPTY };
            self.pending.push((at, frame));
            at = parent;
        };
        while let Some((node, frame)) = self.pending.pop() {
            let frame = self.frame(builder, frame);
            merged = builder.child(merged, frame);
            self.stacks[node] = Some(merged);
        }
        merged
    }

    /// The rows of all stacks in the builder, by row of the batch.
    ///
    /// Frames first, then stacks by depth: what follows each other does not depend on each other, so that a
    /// processor looks up several at once, which mostly means waiting for memory.
    pub fn all(mut self, builder: &mut BatchBuilder) -> Vec<StackIndex> {
        for frame in 1..self.batch.frame_count() {
            self.frame(builder, frame);
        }
        let mut stacks = vec![StackIndex::EMPTY; self.batch.stack_count()];
        for stack in by_depth(self.batch) {
            let stack = stack as usize;
            let Some((parent, frame)) = self.batch.stack_node(stack) else { continue };
            let frame = self.frame(builder, frame);
            stacks[stack] = builder.child(stacks[parent], frame);
        }
        stacks
    }

    /// The row of a frame in the builder.
    fn frame(&mut self, builder: &mut BatchBuilder, row: usize) -> FrameIndex {
        if let Some(known) = self.frames[row] {
            return known;
        }
        let frame = self.batch.frame(row);
        let object = *self.objects[frame.object]
            .get_or_insert_with(|| builder.object(frame.kind, frame.build_id, frame.path));
        let merged = match frame.name {
            Some(name) => builder.named_frame(object, name),
            None => builder.frame(object, frame.offset, frame.reason),
        };
        self.frames[row] = Some(merged);
        merged
    }
}

/// Rows of all stacks, those with fewer frames first, else in their order.
fn by_depth(batch: &Batch) -> Vec<u32> {
    let mut depths: Vec<u32> = Vec::with_capacity(batch.stack_count());
    for stack in 0..batch.stack_count() {
        // Parents stand before their children.
        depths.push(batch.stack_node(stack).map_or(0, |(parent, _)| depths[parent] + 1));
    }
    let mut next = vec![0_u32; depths.iter().max().map_or(0, |deepest| *deepest as usize + 2)];
    depths.iter().for_each(|depth| next[*depth as usize + 1] += 1);
    for depth in 1..next.len() {
        next[depth] += next[depth - 1];
    }
    let mut order = vec![0; depths.len()];
    for (stack, depth) in (0..).zip(&depths) {
        let place = &mut next[*depth as usize];
        order[*place as usize] = stack;
        *place += 1;
    }
    order
}
