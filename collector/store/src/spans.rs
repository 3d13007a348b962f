//! Spans of time for which there are data. Pure.

/// Most spans of one file. More say where short gaps are, which nobody needs to know of a merged hour.
const MAX_SPANS: usize = 256;

/// Spans that overlap or touch become one, in order. Of more than some hundred the shortest gaps are
/// closed. Each is a start and an end (exclusive), Unix nanoseconds.
pub(crate) fn union(mut spans: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    spans.retain(|(start, end)| start < end);
    spans.sort_unstable();
    let mut union: Vec<(i64, i64)> = Vec::new();
    for (start, end) in spans {
        match union.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => union.push((start, end)),
        }
    }
    if union.len() > MAX_SPANS {
        let gaps = || union.windows(2).map(|pair| pair[1].0.abs_diff(pair[0].1));
        let mut sorted: Vec<u64> = gaps().collect();
        sorted.sort_unstable();
        // The gaps that stay are longer than the longest that is closed.
        let closed = sorted[sorted.len() - MAX_SPANS];
        let keep: Vec<bool> = gaps().map(|gap| gap > closed).collect();
        let mut fewer = vec![union[0]];
        for (span, keep) in union[1..].iter().zip(keep) {
            match fewer.last_mut() {
                Some(last) if !keep => last.1 = span.1,
                _ => fewer.push(*span),
            }
        }
        return fewer;
    }
    union
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_gaps_of_many_are_closed() {
        // Gaps of 1, 2, 3, …: 300 of them.
        let mut at = 0;
        let spans: Vec<_> = (0..301)
            .map(|gap| {
                at += 10 + gap;
                (at - 10, at)
            })
            .collect();
        let fewer = union(spans.clone());
        assert!(fewer.len() <= MAX_SPANS && fewer.len() > MAX_SPANS - 3, "{}", fewer.len());
        assert_eq!((fewer[0].0, fewer.last().map(|span| span.1)), (spans[0].0, Some(at)));
        assert_eq!(fewer[fewer.len() - 5..], spans[spans.len() - 5..]);
    }

    proptest! {
        #[test]
        fn a_union_has_every_instant_once(spans in prop::collection::vec((0..60_i64, 0..9_i64), 0..30)) {
            let spans: Vec<_> = spans.into_iter().map(|(start, len)| (start, start + len)).collect();
            let instants: BTreeSet<i64> = spans.iter().flat_map(|(start, end)| *start..*end).collect();
            let union = union(spans);
            prop_assert!(union.windows(2).all(|pair| pair[0].1 < pair[1].0));
            let of_union: Vec<i64> = union.iter().flat_map(|(start, end)| *start..*end).collect();
            prop_assert_eq!(of_union, instants.into_iter().collect::<Vec<_>>());
        }
    }
}
