use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fleetprof_proto::{ids::BatchId, selector::Selector, time_range::TimeRange};
use fleetprof_symbolizer::Converter;
use tempfile::TempDir;

use super::{reader::difference, *};
use crate::{
    objects::{ConversionParts, Conversions},
    store::{Appended, InstanceStatus, NewBatch, Scanned, StoreError, StoreStatus},
    symbols::SymbolLimits,
};

/// A store whose scans never end.
#[derive(Debug, Default)]
struct Endless {
    scanned: Arc<AtomicU64>,
}

impl Store for Endless {
    fn append(&self, _: &[NewBatch]) -> Result<Vec<Appended>, StoreError> {
        Ok(Vec::new())
    }

    fn contains(&self, _: BatchId) -> bool {
        false
    }

    fn scan(&self, _: TimeRange) -> Box<dyn Iterator<Item = Scanned> + Send> {
        let scanned = self.scanned.clone();
        Box::new(std::iter::repeat_with(move || {
            scanned.fetch_add(1, Ordering::SeqCst);
            Err("unreadable".to_owned())
        }))
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        Vec::new()
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Queries of which one runs at a time.
fn queries(dir: &TempDir, timeout: Duration) -> (Queries, Arc<AtomicU64>) {
    let store = Endless::default();
    let scanned = store.scanned.clone();
    let metrics = Metrics::default();
    let catalog = Catalog::open(dir.path(), 0).expect("opens");
    let conversions = ConversionParts {
        catalog: catalog.clone(),
        converter: Converter::in_process(),
        scratch: dir.path().to_owned(),
        threads: 1,
        max_unpacked_bytes: 0,
        metrics: metrics.clone(),
    };
    let conversions = Conversions::start(conversions).expect("threads");
    let limits = SymbolLimits { memory_bytes: 0, patience: Duration::from_secs(1) };
    let parts = QueryParts {
        store: Arc::new(store),
        symbols: Symbols::new(catalog.clone(), conversions, limits, metrics.clone()),
        wants: Wants::new(catalog.clone(), Duration::from_secs(1)),
        catalog,
        agents: Agents::default(),
        pool: CpuPool::new(1),
        timeout,
        memory_limit: u64::MAX,
        metrics,
        start_unix_nanos: 0,
    };
    (Queries::new(parts), scanned)
}

fn plan() -> Plan {
    Plan { range: TimeRange::new(0, 10).expect("a range"), selector: Selector::default() }
}

/// Check that a query stops when its client goes away: the only slot is free for the next.
#[tokio::test(flavor = "multi_thread")]
async fn queries_stop_when_nobody_waits_for_them() {
    let dir = TempDir::new().expect("dir");
    let (queries, scanned) = queries(&dir, Duration::from_secs(3600));
    let client = tokio::spawn({
        let queries = queries.clone();
        async move { queries.profile(plan()).await }
    });
    while scanned.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    client.abort();
    let next = queries.run(Method::Status, |_, _| Ok(7));
    assert_eq!(next.await, Ok(7));
}

/// Check that a query that takes too long is stopped and says so.
#[tokio::test(flavor = "multi_thread")]
async fn queries_end_when_time_is_up() {
    let dir = TempDir::new().expect("dir");
    let (queries, _) = queries(&dir, Duration::from_millis(20));
    let error = queries.profile(plan()).await.expect_err("too long");
    assert_eq!(error, QueryError::Timeout(Duration::from_millis(20)));
    assert!(error.to_string().contains("longer than 20ms"), "{error}");
}

/// Check that names are ordered by how much they are alike.
#[test]
fn likeness_is_edit_distance() {
    for (a, b, edits) in [
        ("checkout", "chekout", 1),
        ("a", "b", 1),
        ("check", "checkout", 0),
        ("", "", 0),
        ("ab", "ba", 2),
    ] {
        assert_eq!((difference(a, b), difference(b, a)), (edits, edits), "{a} {b}");
    }
}
