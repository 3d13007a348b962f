//! Other engines read the tables: DuckDB, Sail (Spark's SQL, in Rust) and chDB, from
//! `scripts/requirements.txt`.

use std::{collections::BTreeMap, path::Path, process::Command};

use fleetprof_store::Level;
use serde_json::Value;

use crate::fixture::{Directory, Stacks, merge_all, of, publish, remove};

pub(crate) const ENGINES: [&str; 3] = ["duckdb", "sail", "chdb"];

/// What an engine reads from the tables of a level: samples and nanoseconds by service and stack.
pub(crate) fn read(
    engine: &str,
    root: &str,
    level: Level,
    environment: &[(&str, String)],
) -> Stacks {
    let answer = ask(&[engine, "tables", root, level.as_str()], environment);
    let rows: Vec<(String, String, u64, u64)> = serde_json::from_value(answer).expect("rows");
    rows.into_iter()
        .map(|(service, stack, samples, nanos)| ((service, stack), (samples, nanos)))
        .collect()
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
fn without_names(stacks: &Stacks) -> BTreeMap<String, (u64, u64)> {
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
        let stacks = read(engine, &root, Level::Fine, &[]);
        assert_eq!(without_names(&stacks), without_names(&place.appended), "{engine}");
        assert!(read(engine, &root, Level::Hourly, &[]).is_empty(), "{engine}: nothing is merged");
    }
    place.append(&store, 0..3).await;
    merge_all(&store).await;
    let changes = publish(&mut publisher).await;
    assert!(of(&changes, Level::Fine)[0].1 > 0, "files are replaced");
    publish(&mut publisher).await;
    for is_removed in [false, true] {
        for engine in ENGINES {
            let stacks = read(engine, &root, Level::Fine, &[]);
            assert_eq!(without_names(&stacks), without_names(&place.appended), "{engine}");
            for level in [Level::Hourly, Level::Daily] {
                let stacks = read(engine, &root, level, &[]);
                assert_eq!(stacks, place.appended, "{engine} {level:?} removed: {is_removed}");
            }
        }
        if !is_removed {
            assert!(remove(&store).await > 0);
        }
    }
}
