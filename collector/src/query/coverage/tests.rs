use fleetprof_proto::batch::BatchBuilder;
use proptest::prelude::*;

use super::*;

fn range() -> TimeRange {
    TimeRange::new(0, 1_000_000_000_000).expect("a range")
}

fn batch(start: i64, end: i64, dropped: u64) -> Batch {
    let dropped = vec![v1::CounterByName { name: "late".to_owned(), value: dropped }];
    let accounting = v1::Accounting { dropped, ..Default::default() };
    let window = Window { start_unix_nanos: start, end_unix_nanos: end };
    BatchBuilder::new().finish(window, [], accounting)
}

/// Check that what an agent lost of an earlier start's samples is a loss, too.
#[test]
fn losses_of_earlier_starts_are_losses() {
    let counter = |value| vec![v1::CounterByName { name: "late".to_owned(), value }];
    let accounting =
        v1::Accounting { dropped: counter(2), recovered_dropped: counter(3), ..Default::default() };
    let window = Window { start_unix_nanos: 0, end_unix_nanos: 10 };
    let mut coverage = Coverage::new(range());
    coverage.read(id(1, 1), &BatchBuilder::new().finish(window, [], accounting));
    assert_eq!(coverage.into_wire().dropped, counter(5));
}

fn id(instance: u8, sequence: u64) -> BatchId {
    let instance = InstanceId::try_from(&[instance; 16][..]).expect("16 bytes");
    BatchId { instance, sequence }
}

/// Check that cores are CPU time per time for which there is data of any host, gaps excluded.
#[test]
fn cores_count_covered_time_once() {
    const SECOND: i64 = 1_000_000_000;
    let mut coverage = Coverage::new(range());
    // Two hosts at the same time, a gap, one host again.
    coverage.read(id(1, 1), &batch(10 * SECOND, 20 * SECOND, 0));
    coverage.read(id(2, 1), &batch(15 * SECOND, 25 * SECOND, 0));
    coverage.read(id(1, 2), &batch(95 * SECOND, 100 * SECOND, 0));
    assert_eq!(coverage.nanos(), 20_000_000_000);
    assert!((coverage.cores(40_000_000_000) - 2.0).abs() < 1e-9);
    let wire = coverage.into_wire();
    assert_eq!((wire.first_unix_nanos, wire.last_unix_nanos), (10 * SECOND, 100 * SECOND));
    assert_eq!(wire.covered_nanos, 20_000_000_000);
}

/// Check that of each instance the latest counters count, whatever the order of its batches.
#[test]
fn losses_are_the_latest_of_each_instance() {
    let mut coverage = Coverage::new(range());
    for (instance, sequence, dropped) in [(1, 2, 7), (1, 1, 3), (2, 5, 10)] {
        coverage.read(id(instance, sequence), &batch(0, 10, dropped));
    }
    let dropped = coverage.into_wire().dropped;
    assert_eq!((dropped.len(), dropped[0].name.as_str(), dropped[0].value), (1, "late", 17));
}

proptest! {
    /// Check the union of windows against counting every instant.
    #[test]
    fn spans_are_the_union_of_windows(windows in prop::collection::vec((0..60_i64, 1..20_i64), 0..30)) {
        let mut coverage = Coverage::new(range());
        let mut instants = BTreeSet::new();
        for (start, length) in windows {
            coverage.cover(Window { start_unix_nanos: start, end_unix_nanos: start + length });
            instants.extend(start..start + length);
        }
        prop_assert_eq!(coverage.nanos(), instants.len() as u64);
        let spans: Vec<_> = coverage.spans.iter().collect();
        prop_assert!(spans.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", spans);
    }
}
