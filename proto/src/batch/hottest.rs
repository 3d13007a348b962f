//! Which objects a batch is about most.

use std::collections::HashMap;

use super::Batch;
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
        let mut by_row: HashMap<usize, u64> = HashMap::new();
        for stack in (1..stacks.len()).rev() {
            let nanos = stacks[stack];
            let Some((parent, frame)) = self.stack_node(stack).filter(|_| nanos > 0) else {
                continue;
            };
            stacks[parent] = stacks[parent].saturating_add(nanos);
            let sum = by_row.entry(frame).or_default();
            *sum = sum.saturating_add(nanos);
        }
        let mut by_object: HashMap<ObjectId, (u64, &str)> = HashMap::new();
        for (frame, nanos) in by_row {
            let frame = self.frame(frame);
            if let Ok(object) = frame.locate() {
                let (sum, _) = by_object.entry(object).or_insert((0, frame.path));
                *sum = sum.saturating_add(nanos);
            }
        }
        let mut objects: Vec<_> =
            by_object.into_iter().map(|(object, (nanos, path))| (object, nanos, path)).collect();
        objects
            .sort_unstable_by(|(a, more, _), (b, less, _)| less.cmp(more).then_with(|| a.cmp(b)));
        objects
    }
}
