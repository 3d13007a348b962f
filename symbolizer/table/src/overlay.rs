//! Which of several overlapping intervals each address belongs to.
//!
//! In: intervals in any order, each with a rank. Out: the addresses they cover, by rising address,
//! each with the interval of the highest rank there; of equal ranks, the later one.

use std::{cmp::Reverse, collections::BinaryHeap};

/// An interval of addresses, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) rank: u32,
    pub(crate) value: u32,
}

/// A piece of an interval that no other covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) value: u32,
}

/// Replaces what is in `pieces`. Changes the order of `intervals`.
pub(crate) fn overlay(intervals: &mut [Interval], pieces: &mut Vec<Piece>) {
    pieces.clear();
    intervals.sort_unstable_by_key(|interval| (interval.start, interval.rank));
    // Those that began, by rank; those that ended are dropped when they come to the top.
    let mut open: BinaryHeap<(u32, Reverse<u32>, u32)> = BinaryHeap::new();
    let mut rest = intervals.iter().copied().peekable();
    let mut at = 0;
    loop {
        while let Some(interval) = rest.next_if(|next| next.start <= at || open.is_empty()) {
            at = at.max(interval.start);
            if interval.end > at {
                open.push((interval.rank, Reverse(interval.end), interval.value));
            }
        }
        while open.peek().is_some_and(|(_, Reverse(end), _)| *end <= at) {
            open.pop();
        }
        let Some((_, Reverse(end), value)) = open.peek().copied() else {
            if rest.peek().is_none() {
                return;
            }
            continue;
        };
        let next = rest.peek().map_or(end, |next| next.start.min(end));
        push(pieces, Piece { start: at, end: next, value });
        at = next;
    }
}

fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last) if (last.end, last.value) == (piece.start, piece.value) => last.end = piece.end,
        _ => pieces.push(piece),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_rank_wins(bounds in proptest::collection::vec((0..60_u32, 0..30_u32), 0..20)) {
            let mut intervals: Vec<Interval> = bounds
                .iter()
                .zip(0..)
                .map(|((start, length), rank)| Interval {
                    start: *start, end: start + length, rank, value: rank + 100,
                })
                .collect();
            let expected: Vec<Option<u32>> = (0..100)
                .map(|at| {
                    let covers = |i: &&Interval| (i.start..i.end).contains(&at);
                    intervals.iter().filter(covers).max_by_key(|i| i.rank).map(|i| i.value)
                })
                .collect();
            let mut pieces = Vec::new();
            overlay(&mut intervals, &mut pieces);
            let mut found = vec![None; 100];
            for piece in &pieces {
                prop_assert!(piece.start < piece.end);
                found[piece.start as usize..piece.end as usize].fill(Some(piece.value));
            }
            prop_assert_eq!(found, expected);
            prop_assert!(pieces.is_sorted_by(|a, b| a.end < b.start
                || (a.end == b.start && a.value != b.value)));
        }
    }
}
