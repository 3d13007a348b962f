//! Which stacks of a recording are worth being kept: those that ask for rules that no other does.

use std::collections::BTreeSet;

use fleetprof_abi::{LOST, Rule, RuleKind, SAME_VALUE};

use crate::{capture::Capture, machine::Walked, objects::Objects};

/// What a rule asks of the walk, without the numbers.
pub type Shape = (u8, u8, u8, [u8; 5], bool);

/// Shapes that were seen.
#[derive(Default)]
pub struct Seen {
    shapes: BTreeSet<Shape>,
}

// === impl Seen ===

impl Seen {
    /// Chooses at most `most` of `stacks`: in turn the one that adds most, the deeper one of two that
    /// add as much. The first is always kept.
    pub fn choose<'a>(
        &mut self,
        stacks: &[(&'a Capture, &'a Walked)],
        objects: &Objects,
        most: usize,
    ) -> Vec<usize> {
        let shapes: Vec<BTreeSet<Shape>> =
            stacks.iter().map(|(capture, walked)| shapes(capture, walked, objects)).collect();
        let mut chosen = Vec::new();
        while chosen.len() < most {
            let new = |number: &usize| {
                let depth = stacks[*number].1.frames.len();
                (shapes[*number].difference(&self.shapes).count(), depth.min(60))
            };
            let Some(best) = (0..stacks.len()).filter(|at| !chosen.contains(at)).max_by_key(new)
            else {
                break;
            };
            if new(&best).0 == 0 && !chosen.is_empty() {
                break;
            }
            self.shapes.extend(&shapes[best]);
            chosen.push(best);
        }
        chosen
    }
}

fn shapes(capture: &Capture, walked: &Walked, objects: &Objects) -> BTreeSet<Shape> {
    let rules = walked.looked_up.iter().zip(0..).filter_map(|((number, position), depth)| {
        let rule = objects.table(&capture.mappings[*number].path)?.rule(*position)?;
        Some(shape(&rule, *position, depth == 0))
    });
    rules.collect()
}

fn shape(rule: &Rule, position: u64, innermost: bool) -> Shape {
    let saved = rule.saved.map(|saved| match saved {
        SAME_VALUE => 0,
        LOST => 1,
        _ => 2,
    });
    // A stub of a linkage table has pushed, or not yet.
    let is_plt = rule.kind == RuleKind::Plt as u8;
    let pushed = is_plt && i32::try_from(position & 15).is_ok_and(|byte| byte >= rule.cfa_offset);
    (rule.kind, if pushed { u8::MAX } else { rule.cfa_register }, rule.fp_ra, saved, innermost)
}
