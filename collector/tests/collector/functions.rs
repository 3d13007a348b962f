//! Questions about functions, before and after they are summed up beforehand.

use std::{fs, path::Path, sync::Arc};

use fleetprof_proto::{
    batch::Batch,
    ids::ObjectId,
    symbol::{Reason, Symbol},
    v1::{
        Coverage, SeriesRequest, SeriesResponse, SymbolsRequest, TopOrder, TopRequest, TopResponse,
    },
};
use fleetprof_store::{Blobs, Catalog, DAY, HOUR, MergeLimits, Namer, ProfileStore};

use crate::support::{EPOCH, Running, between, sealed};

/// Knows no object.
struct NoNames;

impl Namer for NoNames {
    fn symbols(&self, code: &Batch) -> Vec<Symbol> {
        let symbol = |row| code.frame(row).locate().err();
        let symbols = (0..code.frame_count()).map(symbol);
        symbols.map(|known| known.unwrap_or(Symbol::Unknown(Reason::NoObject))).collect()
    }

    fn has_names(&self, _object: &ObjectId) -> bool {
        false
    }
}

/// Merges what there is in a collector's directory; answers the number of functions files made.
async fn merge(data: &Path) -> u64 {
    let url = format!("sqlite:{}", data.join("catalog.sqlite").display());
    let catalog = Catalog::open(&url).await.expect("opens");
    let blobs = Blobs::directory(&data.join("profiles")).expect("opens");
    let store = ProfileStore::open(blobs, catalog.clone()).await.expect("opens");
    let mut functions = 0;
    loop {
        let names: Option<Arc<dyn Namer>> = Some(Arc::new(NoNames));
        let merged = store.merge("test", &MergeLimits::default(), names, || false).await;
        let merged = merged.expect("merges");
        functions += merged.functions;
        if merged.jobs == 0 {
            catalog.close().await;
            return functions;
        }
    }
}

/// Removes files of profiles whose path has these parts; answers their number.
fn remove(dir: &Path, part: &str, end: &str) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        let text = path.display().to_string();
        if path.is_dir() {
            removed += remove(&path, part, end);
        } else if text.contains(part) && text.ends_with(end) {
            fs::remove_file(&path).expect("removed");
            removed += 1;
        }
    }
    removed
}

const SELECTORS: [&str; 5] = [
    "",
    r#"{service="checkout"}"#,
    r#"{service=~"s.*"}"#,
    r#"{version="v2.1"}"#,
    r#"{service="search", version=""}"#,
];

/// Answers to the same questions each time: without what says how they were read.
async fn ask(collector: &Running) -> (Vec<TopResponse>, Vec<SeriesResponse>, Vec<u64>) {
    let mut queries = collector.queries().await;
    let (mut tops, mut all_series, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for selector in SELECTORS {
        let query = between(EPOCH, EPOCH + DAY, selector);
        for (limit, order) in [(0, TopOrder::Self_), (1, TopOrder::Total)] {
            let request = TopRequest { query: query.clone(), limit, order: order.into() };
            let answer = queries.top(request).await.expect("answered").into_inner();
            let mut top = answer;
            let coverage = top.coverage.take().expect("there");
            assert_eq!(coverage.damaged, [""; 0], "{selector}");
            samples.push(coverage.samples);
            tops.push(top);
        }
        for by in [&[][..], &["service".to_owned(), "version".to_owned()]] {
            let request = SeriesRequest {
                query: query.clone(),
                group_by: by.to_vec(),
                step_nanos: HOUR,
                function: "app+0x20".to_owned(),
            };
            let mut series = queries.series(request).await.expect("answered").into_inner();
            let coverage = series.coverage.take().expect("there");
            assert_eq!(coverage.damaged, [""; 0], "{selector}");
            samples.push(coverage.samples);
            all_series.push(series);
        }
    }
    (tops, all_series, samples)
}

/// Check that answers are the same before and after functions are summed up, that no stacks are read
/// then, and that they are read again when the functions file is lost.
#[tokio::test(flavor = "multi_thread")]
async fn functions_are_answered_without_stacks() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    // Three in the first hour, one in the second.
    for sequence in [1, 2, 3, 400] {
        agent.deliver(sealed(agent.instance, sequence)).await;
    }
    let (tops, series, samples) = ask(&collector).await;
    assert_eq!(tops[0].functions[0].self_nanos, 16_000_000_000);
    assert_eq!((tops[0].functions.len(), tops[1].functions.len()), (2, 1));
    let points = &series[0].series[0].points;
    let nanos: Vec<_> = points.iter().map(|it| (it.cpu_nanos, it.self_nanos, it.samples)).collect();
    assert_eq!(nanos, [(12_000_000_000, 12_000_000_000, 120), (4_000_000_000, 4_000_000_000, 40)]);
    assert_eq!(series[1].series.len(), 2);

    let dir = collector.stop().await;
    let data = dir.path().join("data");
    assert!(merge(&data).await >= 3, "two hours and a day");
    // Whole days are answered from the daily level.
    assert_eq!(remove(&data.join("profiles"), "/daily/", ".stacks.parquet"), 2);
    let collector = Running::start_with(dir, |_| {}).await;
    assert_eq!(ask(&collector).await, (tops.clone(), series.clone(), samples));

    // What it knows from before would do.
    let dir = collector.stop().await;
    assert!(remove(&data.join("profiles"), "functions", ".functions.parquet") >= 3);
    let collector = Running::start_with(dir, |_| {}).await;
    let request = TopRequest { query: between(EPOCH, EPOCH + DAY, ""), ..Default::default() };
    let answer = collector.queries().await.top(request).await.expect("answered").into_inner();
    let damaged = answer.coverage.expect("there").damaged;
    assert_eq!(damaged.len(), 2, "the stacks of both services are gone, too: {damaged:?}");
    collector.stop().await;
}

/// Check that without a functions file a query is answered from the stacks, completely.
#[tokio::test(flavor = "multi_thread")]
async fn lost_functions_fall_back_to_stacks() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    for sequence in [1, 400] {
        agent.deliver(sealed(agent.instance, sequence)).await;
    }
    let expected = ask(&collector).await;
    let dir = collector.stop().await;
    let data = dir.path().join("data");
    merge(&data).await;
    let collector = Running::start_with(dir, |_| {}).await;
    assert_eq!(ask(&collector).await, expected);
    let dir = collector.stop().await;
    assert!(remove(&data.join("profiles"), "functions", ".functions.parquet") >= 3);
    let collector = Running::start_with(dir, |_| {}).await;
    assert_eq!(ask(&collector).await, expected);
    collector.stop().await;
}

/// Check that what is read of the hours of a day is the same when they are merged once and when that is
/// remembered, and that an hour that cannot be read is missing each time.
#[tokio::test(flavor = "multi_thread")]
async fn hours_of_a_day_are_merged_once() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    for hour in 0..6 {
        agent.deliver(sealed(agent.instance, hour * 360 + 2)).await;
    }
    let request =
        || SymbolsRequest { query: between(EPOCH, EPOCH + 6 * HOUR, r#"{service="checkout"}"#) };
    let fine = collector.queries().await.symbols(request()).await.expect("answered").into_inner();
    assert!(fine.services[0].frames > 0);

    let dir = collector.stop().await;
    let data = dir.path().join("data");
    merge(&data).await;
    let collector = Running::start_with(dir, |_| {}).await;
    for again in 0..3 {
        let answer = collector.queries().await.symbols(request()).await.expect("answered");
        let answer = answer.into_inner();
        assert_eq!(answer.services, fine.services, "{again}");
        let samples = |it: &Option<Coverage>| it.as_ref().map(|it| (it.samples, it.covered_nanos));
        assert_eq!(samples(&answer.coverage), samples(&fine.coverage), "{again}");
    }
    let dir = collector.stop().await;
    assert!(remove(&data.join("profiles"), "hourly/2026-01-01/03", ".stacks.parquet") > 0);
    let collector = Running::start_with(dir, |_| {}).await;
    for again in 0..3 {
        let answer = collector.queries().await.symbols(request()).await.expect("answered");
        let answer = answer.into_inner();
        assert_eq!(answer.services[0].frames * 6, fine.services[0].frames * 5, "{again}");
        assert_eq!(answer.coverage.expect("there").damaged.len(), 1, "{again}");
    }
    collector.stop().await;
}
