//! Other engines read the tables: DuckDB, Sail (Spark's SQL, in Rust) and chDB, from
//! `scripts/requirements.txt`.

use std::{collections::BTreeMap, path::Path, process::Command};

use fleetprof_store::Level;
use serde_json::{Value, json};

use crate::fixture::{Directory, Stacks, merge, merge_all, of, publish, remove};

pub(crate) const ENGINES: [&str; 3] = ["duckdb", "sail", "chdb"];

/// What an engine reads from the tables of some levels: samples and nanoseconds by service and stack.
pub(crate) fn read(
    engine: &str,
    root: &str,
    levels: &[Level],
    environment: &[(&str, String)],
) -> Vec<Stacks> {
    let names: Vec<&str> = levels.iter().map(|level| level.as_str()).collect();
    let answer = ask(&[engine, "tables", root, &names.join(",")], environment);
    let rows: Vec<Vec<(String, String, u64, u64)>> = serde_json::from_value(answer).expect("rows");
    let stacks = |rows: Vec<_>| {
        let row = |(service, stack, samples, nanos)| ((service, stack), (samples, nanos));
        rows.into_iter().map(row).collect()
    };
    rows.into_iter().map(stacks).collect()
}

/// Runs `engines.py`, which writes JSON.
pub(crate) fn ask(arguments: &[&str], environment: &[(&str, String)]) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of the tests' virtual environment: scripts/setup.sh test, scripts/env.sh.
    let output = Command::new("python3")
        .arg(here.join("tests/tables/engines.py"))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("python3 can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Names are written when files are merged: what has just come has none.
pub(crate) fn without_names(stacks: &Stacks) -> BTreeMap<String, (u64, u64)> {
    let mut sums = BTreeMap::new();
    for ((service, _), (samples, nanos)) in stacks {
        let sum: &mut (u64, u64) = sums.entry(service.clone()).or_default();
        *sum = (sum.0 + samples, sum.1 + nanos);
    }
    sums
}

/// Check that engines read what was appended: before it is merged, after, and when the files that were
/// merged are gone.
#[tokio::test(flavor = "multi_thread")]
async fn engines_read_the_same() {
    let mut place = Directory::new();
    let root = place.profiles().display().to_string();
    let store = place.store().await;
    let mut publisher = place.publisher().await;
    place.append(&store, 0..3).await;
    publish(&mut publisher).await;
    for engine in ENGINES {
        let read = read(engine, &root, &[Level::Fine, Level::Hourly], &[]);
        assert_eq!(without_names(&read[0]), without_names(&place.appended), "{engine}");
        assert!(read[1].is_empty(), "{engine}: nothing is merged");
    }
    merge(&store).await;
    publish(&mut publisher).await;
    for engine in ENGINES {
        assert_eq!(
            read(engine, &root, &[Level::Hourly], &[]),
            [place.appended.clone()],
            "{engine}"
        );
    }
    merge_all(&store).await;
    let changes = publish(&mut publisher).await;
    assert!(of(&changes, Level::Hourly)[0].1 > 0, "files are replaced");
    publish(&mut publisher).await;
    assert!(remove(&store).await > 0);
    for engine in ENGINES {
        let read = read(engine, &root, &Level::ALL, &[]);
        assert_eq!(without_names(&read[0]), without_names(&place.appended), "{engine}");
        assert_eq!(read[1..], [place.appended.clone(), place.appended.clone()], "{engine}");
    }
}

/// Check that a query for a service opens the files that have it, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_opens_what_it_needs() {
    let mut place = Directory::new();
    let store = place.store().await;
    place.append(&store, 0..3).await;
    merge_all(&store).await;
    publish(&mut place.publisher().await).await;
    let of_search =
        |(key, sum): (&(String, String), &(u64, u64))| (key.0 == "search").then_some(sum.0);
    let samples: u64 = place.appended.iter().filter_map(of_search).sum();
    let root = place.profiles().display().to_string();
    // Of six: three hours, two services.
    assert_eq!(ask(&["duckdb", "pruned", &root, "search"], &[]), json!([samples, 3]));
}
