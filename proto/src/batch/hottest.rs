//! Which objects a batch is about most.

use std::collections::HashMap;

use super::{Batch, FrameRef};
use crate::ids::ObjectId;

// === impl Batch ===

impl Batch {
    /// The objects that frames of sampled stacks lie in, with the CPU time that passed in or below them
    /// (nanoseconds) and a path of each; the hottest first.
    #[must_use]
    pub fn hottest_objects(&self) -> Vec<(ObjectId, u64, &str)> {
        let mut stacks = vec![0_u64; self.stack_count()];
        for row in self.samples() {
            if let Some(nanos) = stacks.get_mut(row.stack) {
                *nanos = nanos.saturating_add(row.nanos);
            }
        }
        // A parent stands before its children, so one pass from the end sums up whole subtrees.
        let mut by_row = vec![0_u64; self.frame_count()];
        for stack in (1..stacks.len()).rev() {
            let nanos = stacks[stack];
            let Some((parent, frame)) = self.stack_node(stack).filter(|_| nanos > 0) else {
                continue;
            };
            stacks[parent] = stacks[parent].saturating_add(nanos);
            by_row[frame] = by_row[frame].saturating_add(nanos);
        }
        let mut by_object: HashMap<ObjectId, (u64, &str)> = HashMap::new();
        for (sum, path, object) in self.sums_of_objects(&by_row) {
            let (all, _) = by_object.entry(object).or_insert((0, path));
            *all = all.saturating_add(sum);
        }
        let mut objects: Vec<_> =
            by_object.into_iter().map(|(object, (nanos, path))| (object, nanos, path)).collect();
        objects
            .sort_unstable_by(|(a, more, _), (b, less, _)| less.cmp(more).then_with(|| a.cmp(b)));
        objects
    }
    /// Sums of the rows of objects, from those of frames. An object may have several rows.
    fn sums_of_objects<'a>(
        &'a self,
        by_frame: &[u64],
    ) -> impl Iterator<Item = (u64, &'a str, ObjectId)> {
        let mut by_row: Vec<Option<(u64, usize)>> = vec![None; self.object_count()];
        for (frame, nanos) in by_frame.iter().enumerate().filter(|(_, nanos)| **nanos > 0) {
            let FrameRef { object, name, .. } = self.frame(frame);
            // What has its name from the host is looked up nowhere.
            if name.is_some() {
                continue;
            }
            let (sum, _) = by_row[object].get_or_insert((0, frame));
            *sum = sum.saturating_add(*nanos);
        }
        by_row.into_iter().flatten().filter_map(|(sum, frame)| {
            let frame = self.frame(frame);
            Some((sum, frame.path, frame.locate().ok()?))
        })
    }
}
