//! Values of labels that only fine files keep: of long ranges the catalog has them.

use std::collections::BTreeSet;

use fleetprof_proto::{
    batch::{BatchBuilder, StackIndex, Window, seal},
    ids::{BatchId, InstanceId},
    v1::{Accounting, Coverage, LabelsRequest, SealedBatch},
};

use crate::support::{EPOCH, Running, SECOND, between};

const DAY: i64 = 86_400 * SECOND;

/// A second of a day, of two services on a host of that day and one that is always there.
fn sealed(instance: InstanceId, day: u64) -> SealedBatch {
    let mut builder = BatchBuilder::new();
    let host = format!("host-{day}");
    for labels in [
        [("service", "checkout"), ("version", "v1"), ("host", &*host)],
        [("service", "checkout"), ("version", "v1"), ("host", "always")],
        [("service", "search"), ("team", "blue"), ("host", "other")],
    ] {
        let origin = builder.origin(labels);
        builder.add(origin, StackIndex::EMPTY, 0, 1, 10_000_000);
    }
    let start = EPOCH + day as i64 * DAY;
    let window = Window { start_unix_nanos: start, end_unix_nanos: start + SECOND };
    let batch = builder.finish(window, [], Accounting::default());
    seal(BatchId { instance, sequence: day + 1 }, &batch).expect("sealed")
}

async fn ask(
    collector: &Running,
    days: (i64, i64),
    selector: &str,
    name: &str,
) -> (BTreeSet<String>, Coverage) {
    let query = between(EPOCH + days.0 * DAY, EPOCH + days.1 * DAY, selector);
    let request = LabelsRequest { query, name: name.to_owned() };
    let answer = collector.queries().await.labels(request).await.expect("answered").into_inner();
    assert!(answer.values.is_sorted(), "{:?}", answer.values);
    (answer.values.into_iter().collect(), answer.coverage.expect("there"))
}

/// Check that the catalog's answers are those of reading all files, for which there is a matcher that changes
/// nothing but has no place in the catalog.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_days_are_those_in_the_files() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    for day in 0..4 {
        agent.deliver(sealed(agent.instance, day)).await;
    }
    for days in [(0, 4), (1, 3), (0, 1), (2, 9)] {
        for name in ["host", "team", "pod"] {
            for (selector, same) in [
                ("", r#"{version!="none"}"#),
                (r#"{service="checkout"}"#, r#"{service="checkout", version!="none"}"#),
                (r#"{service="search"}"#, r#"{service="search", version!="none"}"#),
            ] {
                let (values, coverage) = ask(&collector, days, selector, name).await;
                let (expected, read) = ask(&collector, days, same, name).await;
                assert_eq!(values, expected, "{days:?} {selector} {name}");
                assert_eq!(coverage, read, "{days:?} {selector} {name}");
            }
        }
    }
    let hosts = ask(&collector, (1, 3), r#"{service="checkout"}"#, "host").await.0;
    assert_eq!(hosts, ["always", "host-1", "host-2"].map(str::to_owned).into());
    collector.stop().await;
}
