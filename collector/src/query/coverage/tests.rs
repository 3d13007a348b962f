use std::collections::BTreeSet;

use fleetprof_store::{Blob, FileId, Level};
use proptest::prelude::*;

use super::*;

fn range() -> TimeRange {
    TimeRange::new(0, 1_000_000_000_000).expect("a range")
}

fn file(spans: &[(i64, i64)]) -> NewFile {
    let blob = Blob { path: String::new(), bytes: 0, crc32c: 0 };
    NewFile {
        id: FileId::random(),
        level: Level::Fine,
        bucket: 0,
        service: None,
        samples: blob.clone(),
        stacks: blob,
        rows: 0,
        batches: 1,
        spans: spans.to_vec(),
        services: Vec::new(),
    }
}

/// Check that what an agent lost of an earlier start's samples is a loss, too, and that losses of
/// several add up.
#[test]
fn losses_of_all_starts_add_up() {
    let counter = |value| vec![v1::CounterByName { name: "late".to_owned(), value }];
    let accounting =
        v1::Accounting { dropped: counter(2), recovered_dropped: counter(3), ..Default::default() };
    let mut coverage = Coverage::new(range());
    coverage.lost(&accounting);
    coverage.lost(&accounting);
    assert_eq!(coverage.into_wire().dropped, counter(10));
}

/// Check that cores are CPU time per time for which there is data of any host, gaps and what is outside
/// the range excluded.
#[test]
fn cores_count_covered_time_once() {
    const SECOND: i64 = 1_000_000_000;
    let mut coverage = Coverage::new(range());
    // Two hosts at the same time, a gap, one host again.
    coverage.read(&file(&[(10 * SECOND, 20 * SECOND), (95 * SECOND, 100 * SECOND)]));
    coverage.read(&file(&[(-5 * SECOND, 0), (15 * SECOND, 25 * SECOND)]));
    assert_eq!(coverage.nanos(), 20_000_000_000);
    assert!((coverage.cores(40_000_000_000) - 2.0).abs() < 1e-9);
    let wire = coverage.into_wire();
    assert_eq!((wire.first_unix_nanos, wire.last_unix_nanos), (10 * SECOND, 100 * SECOND));
    assert_eq!((wire.covered_nanos, wire.batches), (20_000_000_000, 2));
}

proptest! {
    /// Check the union of windows against counting every instant.
    #[test]
    fn spans_are_the_union_of_windows(windows in prop::collection::vec((0..60_i64, 1..20_i64), 0..30)) {
        let mut coverage = Coverage::new(range());
        let mut instants = BTreeSet::new();
        for (start, length) in windows {
            coverage.cover(start, start + length);
            instants.extend(start..start + length);
        }
        prop_assert_eq!(coverage.nanos(), instants.len() as u64);
        let spans: Vec<_> = coverage.spans.iter().collect();
        prop_assert!(spans.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", spans);
    }
}
