use fleetprof_proto::{selector::Selector, time_range::TimeRange};
use proptest::prelude::*;

use super::*;

fn plan(seconds: i64) -> Plan {
    let range = TimeRange::new(0, seconds * SECOND).expect("a range");
    Plan { range, selector: Selector::default() }
}

/// Check that the collector chooses a width that gives a readable number of points.
#[test]
fn widths_are_chosen_by_the_range() {
    for (seconds, width) in
        [(60, 1), (900, 10), (3_600, 30), (86_400, 1_800), (40_000_000, 604_800)]
    {
        assert_eq!(first_step(&plan(seconds), 0), Ok(width * SECOND), "{seconds} s");
    }
    assert!(matches!(first_step(&plan(900), 7), Err(QueryError::TooLarge(_))));
    assert!(matches!(first_step(&plan(900), -1), Err(QueryError::Invalid(_))));
    assert_eq!(first_step(&plan(900), 7 * SECOND), Ok(7 * SECOND));
}

/// Check that each width divides the next: steps can be joined without splitting a point.
#[test]
fn widths_nest() {
    assert!(WIDTHS.windows(2).all(|pair| pair[1] % pair[0] == 0));
}

proptest! {
    /// Check that whatever windows come, in whatever order, no CPU time is lost or made, points are
    /// whole steps apart, and no step is narrower than a window.
    #[test]
    fn steps_widen_without_loss(
        step in 1..40_i64,
        batches in prop::collection::vec((0..100_000_i64, 1..500_i64, 1..1000_u64), 1..40),
    ) {
        let mut builder = Builder::new(step * SECOND);
        let mut total = 0;
        for (at, window, nanos) in &batches {
            builder.widen(window * SECOND);
            let sum = Sum { nanos: *nanos, samples: 1, self_nanos: 0 };
            builder.add(&[], at * SECOND, sum).expect("few points");
            total += nanos;
        }
        let width = builder.step;
        prop_assert!(batches.iter().all(|(_, window, _)| window * SECOND <= width));
        prop_assert_eq!(width % (step * SECOND), 0);
        prop_assert_eq!(builder.points, builder.series.values().map(BTreeMap::len).sum::<usize>());
        let series = builder.finish();
        let points = &series[0].points;
        prop_assert_eq!(points.iter().map(|p| p.cpu_nanos).sum::<u64>(), total);
        prop_assert_eq!(points.iter().map(|p| p.samples).sum::<u64>(), batches.len() as u64);
        prop_assert!(points.iter().all(|p| p.unix_nanos % width == 0));
        prop_assert!(points.is_sorted_by_key(|p| p.unix_nanos));
    }
}
