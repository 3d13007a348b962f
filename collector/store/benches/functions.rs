//! How long questions about functions take:
//! `cargo bench -p fleetprof-store --bench functions [-- DAYS SERVICES FUNCTIONS]`.
//!
//! Writes a functions file for each day (30) of some services (100) of some functions (3,000), of which a
//! third are common to all services: the hot ones in every hour, the others in some. Then asks, often, for
//! the top functions of all and of one service, and for the history of one function.

use std::{collections::HashMap, sync::Arc, time::Instant};

use fleetprof_store::{
    Amounts, Blobs, Catalog, DAY, FileId, FunctionFile, FunctionId, FunctionKey, FunctionOrigin,
    FunctionPlace, FunctionTable, FunctionsWanted, HOUR, OriginFilter, ProfileStore,
    encode_functions,
};
use tokio::task::JoinSet;

/// How often each question is asked.
const TIMES: usize = 20;
/// Files read at the same time, as the collector does.
const AT_A_TIME: usize = 4;
/// CPU time of a sample at 19 Hz.
const PERIOD: u64 = 52_631_579;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy)]
struct Size {
    days: i64,
    services: u64,
    functions: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let size = Size {
        days: i64::try_from(number(0, 30))?,
        services: number(1, 100),
        functions: number(2, 3000),
    };
    let dir = tempfile::tempdir()?;
    let blobs = Blobs::directory(dir.path())?;
    let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
    let store = ProfileStore::open(blobs.clone(), Catalog::open(&url).await?).await?;
    let (mut files, mut bytes, mut rows) = (Vec::new(), 0, 0);
    let started = Instant::now();
    for day in 0..size.days {
        let id = FileId::random();
        let table = table(id, size, day);
        let encoded = encode_functions(id, table)?;
        rows += encoded.rows;
        let blob = blobs.put(&format!("functions/{id}.functions.parquet"), encoded.bytes).await?;
        bytes += blob.bytes;
        files.push(Arc::new(FunctionFile { id, blob, end: encoded.end, covers: size.services }));
    }
    println!("{rows} rows, {bytes} bytes, written in {:.1?}", started.elapsed());
    let one = OriginFilter::new(|service, _| service == "service-7");
    for (what, origin) in [("top of all", None), ("top of one service", Some(one))] {
        let wanted = FunctionsWanted { origin, ..FunctionsWanted::default() };
        measure(what, async || top(&store, &files, &wanted).await).await?;
    }
    for name in [name(0, 0), name(7, size.functions - 1)] {
        let what = format!("history of {name}");
        measure(&what, async || history(&store, &files, &name).await).await?;
    }
    Ok(())
}

/// A day of all services.
fn table(file: FileId, size: Size, day: i64) -> FunctionTable {
    let mut table = FunctionTable::default();
    for service in 0..size.services {
        let origin = FunctionOrigin {
            service: format!("service-{service}"),
            version: Some(format!("v{}", day / 7)),
            file,
        };
        for function in 0..size.functions {
            let key = FunctionKey::new(
                name(service, function),
                &format!("src/module_{}.rs", function / 20),
                &format!("program-{}", if is_common(function) { 0 } else { service }),
            );
            for hour in 0..24 {
                let is_hot = function < size.functions / 30;
                if !is_hot && fastrand::u8(..8) > 0 {
                    continue;
                }
                let total = fastrand::u64(1..if is_hot { 10_000 } else { 50 });
                let own = if fastrand::bool() { total / 3 } else { 0 };
                let amounts = Amounts {
                    self_samples: own,
                    total_samples: total,
                    self_nanos: own * PERIOD,
                    total_nanos: total * PERIOD,
                };
                table.put(key.clone(), origin.clone(), day * DAY + hour * HOUR, amounts);
            }
        }
    }
    table
}

fn is_common(function: u64) -> bool {
    function.is_multiple_of(3)
}

fn name(service: u64, function: u64) -> String {
    let service = if is_common(function) { 0 } else { service };
    format!("<service_{service}::module_{}::Type as Trait>::function_{function}", function / 20)
}

async fn measure(what: &str, ask: impl AsyncFn() -> Result<usize, Error>) -> Result<(), Error> {
    let mut times = Vec::with_capacity(TIMES);
    let mut found = 0;
    for _ in 0..TIMES {
        let started = Instant::now();
        found = ask().await?;
        times.push(started.elapsed());
    }
    times.sort();
    let (median, p95) = (times[TIMES / 2], times[TIMES * 95 / 100]);
    println!("{what}: median {median:.1?}, p95 {p95:.1?} ({found} found)");
    Ok(())
}

/// As the collector does it: sums by id, then names of those with the most.
async fn top(
    store: &ProfileStore,
    files: &[Arc<FunctionFile>],
    wanted: &FunctionsWanted,
) -> Result<usize, Error> {
    let mut totals: HashMap<FunctionId, (Amounts, usize, FunctionPlace)> = HashMap::new();
    for (chunk, some) in files.chunks(AT_A_TIME).enumerate() {
        let mut tasks = JoinSet::new();
        for (number, file) in some.iter().enumerate() {
            let (store, file, wanted) = (store.clone(), file.clone(), wanted.clone());
            tasks.spawn(async move { (number, store.function_sums(&file, wanted).await) });
        }
        while let Some(joined) = tasks.join_next().await {
            let (number, sums) = joined?;
            for sum in sums? {
                let place = (Amounts::default(), chunk * AT_A_TIME + number, sum.place);
                totals.entry(sum.id).or_insert(place).0.add(sum.amounts);
            }
        }
    }
    let mut totals: Vec<_> = totals.into_values().collect();
    totals.sort_unstable_by_key(|(amounts, ..)| std::cmp::Reverse(amounts.self_nanos));
    let found = totals.len();
    totals.truncate(20);
    for (number, file) in files.iter().enumerate() {
        let mut places: Vec<_> =
            totals.iter().filter(|it| it.1 == number).map(|(_, _, place)| *place).collect();
        places.sort_unstable();
        if !places.is_empty() {
            store.function_names(file, places).await?;
        }
    }
    Ok(found)
}

async fn history(
    store: &ProfileStore,
    files: &[Arc<FunctionFile>],
    name: &str,
) -> Result<usize, Error> {
    let mut found = 0;
    for some in files.chunks(AT_A_TIME) {
        let mut tasks = JoinSet::new();
        for file in some {
            let (store, file, name) = (store.clone(), file.clone(), name.to_owned());
            let wanted = FunctionsWanted::default();
            tasks.spawn(async move { store.function_history(&file, &name, wanted).await });
        }
        while let Some(joined) = tasks.join_next().await {
            found += joined??.iter().map(|history| history.hours.len()).sum::<usize>();
        }
    }
    Ok(found)
}
