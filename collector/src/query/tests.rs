use std::{sync::Arc, time::Duration};

use fleetprof_proto::{
    batch::{BatchBuilder, SourceName, StackIndex, Window},
    ids::{BatchId, InstanceId, ObjectKind},
    selector::Selector,
    time_range::TimeRange,
    v1::{Accounting, UnresolvedReason},
};
use fleetprof_store::{Blobs, Catalog as ProfileCatalog, NewBatch};
use fleetprof_symbolizer::Converter;
use object_store::{
    memory::InMemory,
    throttle::{ThrottleConfig, ThrottledStore},
};
use tempfile::TempDir;

use super::{missing::difference, *};
use crate::{
    objects::{ConversionParts, Conversions, Pool},
    symbols::SymbolLimits,
};

/// A store with one batch, that takes an hour to read it.
async fn slow_store(dir: &TempDir) -> ProfileStore {
    let slow = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
    let mut builder = BatchBuilder::new();
    let origin = builder.origin([("service", "s")]);
    builder.add(origin, StackIndex::EMPTY, 0, 1, 1);
    let store = store(dir, Blobs::of(slow.clone(), "slow"), builder).await;
    slow.config_mut(|config| config.wait_get_per_call = Duration::from_secs(3600));
    store
}

/// A store with one batch.
async fn store(dir: &TempDir, blobs: Blobs, builder: BatchBuilder) -> ProfileStore {
    let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
    let catalog = ProfileCatalog::open(&url).await.expect("opens");
    let store = ProfileStore::open(blobs, catalog).await.expect("opens");
    let window = Window { start_unix_nanos: 0, end_unix_nanos: 10_000 };
    let batch = NewBatch {
        id: BatchId { instance: InstanceId::random(), sequence: 1 },
        batch: builder.finish(window, [], Accounting::default()),
        host: String::new(),
        agent_version: String::new(),
        accounting: Accounting::default(),
        bytes: 1,
    };
    store.append(vec![batch]).await.expect("stored");
    store
}

/// Queries of which one runs at a time.
async fn queries(dir: &TempDir, store: ProfileStore, timeout: Duration) -> Queries {
    let metrics = Metrics::default();
    let catalog = Catalog::open(dir.path(), 0).expect("opens");
    let conversions = ConversionParts {
        catalog: catalog.clone(),
        converter: Converter::in_process(),
        scratch: dir.path().to_owned(),
        threads: 1,
        max_unpacked_bytes: 0,
        pool: Pool::alone(),
        metrics: metrics.clone(),
    };
    let conversions = Conversions::start(conversions).expect("threads");
    let limits = SymbolLimits { memory_bytes: 0, patience: Duration::from_secs(1) };
    let parts = QueryParts {
        store,
        runtime: Handle::current(),
        symbols: Arc::new(Symbols::new(
            catalog.clone(),
            conversions,
            Pool::alone(),
            limits,
            metrics.clone(),
        )),
        wants: Wants::new(catalog.clone(), Pool::alone(), Duration::from_secs(1)),
        catalog,
        agents: Agents::default(),
        known: Arc::new(Known::new(u64::MAX)),
        pool: CpuPool::new(1),
        timeout,
        memory_limit: u64::MAX,
        metrics,
        start_unix_nanos: 0,
    };
    Queries::new(parts)
}

fn plan() -> Plan {
    Plan { range: TimeRange::new(0, 10_000).expect("a range"), selector: Selector::default() }
}

/// Check that a query stops when its client goes away: the only slot is free for the next.
#[tokio::test(flavor = "multi_thread")]
async fn queries_stop_when_nobody_waits_for_them() {
    let dir = TempDir::new().expect("dir");
    let queries = queries(&dir, slow_store(&dir).await, Duration::from_secs(3600)).await;
    let client = tokio::spawn({
        let queries = queries.clone();
        async move { queries.profile(plan(), Labels::All).await }
    });
    while queries.parts.pool.free() > 0 {
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
    let queries = queries(&dir, slow_store(&dir).await, Duration::from_millis(20)).await;
    let error = queries.profile(plan(), Labels::All).await.expect_err("too long");
    assert_eq!(error, QueryError::Timeout(Duration::from_millis(20)));
    assert!(error.to_string().contains("longer than 20ms"), "{error}");
}

/// Check that a look at a few services at a time says what the question about all of them says, as all are in
/// one file.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_symbols_is_in_portions() {
    let dir = TempDir::new().expect("dir");
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, None, "/bin/app");
    let lost = builder.frame(object, 7, UnresolvedReason::NoBuildId);
    let name = SourceName { function: "work", file: Some("work.py"), line: 3 };
    let named = builder.named_frame(object, name);
    let service = |number: u64| format!("service-{number}");
    for number in 1..=5 {
        let labels = [("service", &*service(number)), ("version", "v1"), ("host", "h")];
        let origin = builder.origin(labels);
        let twice = builder.stack([named, lost, named]);
        builder.add(origin, twice, 0, number, 1);
        let once = builder.stack([lost]);
        builder.add(origin, once, 0, 100, 1);
    }
    let blobs = Blobs::of(Arc::new(InMemory::new()), "memory");
    let store = store(&dir, blobs, builder).await;
    let queries = queries(&dir, store, Duration::from_secs(60)).await;
    let look = |rows| {
        queries
            .run(Method::Symbols, move |parts, cancel| symbols::look(parts, &plan(), cancel, rows))
    };
    let one_each = look(1).await.expect("an answer");
    assert_eq!(look(u64::MAX).await.expect("an answer"), one_each);
    let all = queries.run(Method::Symbols, |parts, cancel| symbols::run(parts, &plan(), cancel));
    let all = all.await.expect("an answer");
    assert_eq!(all.services, one_each);
    let samples = (1..=5).map(|number| number + 100).sum::<u64>();
    assert_eq!(all.coverage.map(|coverage| coverage.samples), Some(samples));
    let counts: Vec<_> = one_each
        .into_iter()
        .map(|it| (it.service, it.frames, it.named, it.with_lines, it.unresolved[0].value))
        .collect();
    let expected =
        |number| (service(number), 3 * number + 100, 2 * number, 2 * number, number + 100);
    assert_eq!(counts, (1..=5).rev().map(expected).collect::<Vec<_>>());
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
