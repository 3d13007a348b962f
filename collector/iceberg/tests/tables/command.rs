//! The committer as a command: a loop that a signal ends, and what it says when it cannot work.

use std::{fs, process::Command, time::Duration};

use fleetprof_tests::{
    http, machine,
    metrics::Metrics,
    process::{self, Running},
    wait,
};

use crate::{fixture::Directory, publishing::newest};

const PATIENCE: Duration = Duration::from_secs(60);

fn command() -> Command {
    process::command(env!("CARGO_BIN_EXE_fleetprof-iceberg"))
}

/// Check that it publishes what comes while it runs, and ends in order.
#[tokio::test(flavor = "multi_thread")]
async fn it_runs_until_it_is_told_to_end() {
    let mut place = Directory::new();
    let store = place.store().await;
    let mut command = command();
    command.arg("--data-dir").arg(place.path()).args(["--every", "1s"]);
    let port = machine::free_port();
    command.args(["--metrics-listen", &format!("127.0.0.1:{port}")]);
    let log = place.path().join("log");
    let mut running = Running::start("fleetprof-iceberg", &mut command, &log);
    let hint = place.profiles().join("iceberg/daily_samples/metadata/version-hint.text");
    wait::until("the last table", PATIENCE, || hint.exists().then_some(()));
    place.append(&store, 0..2).await;
    wait::until("the files in the table", PATIENCE, || {
        let table = newest(&place.profiles(), "fine_samples");
        let snapshots = table["snapshots"].as_array()?;
        let total = &snapshots.last()?["summary"]["total-data-files"];
        (total == "2").then_some(())
    });
    wait::until("the round is counted", PATIENCE, || {
        let metrics = Metrics::parse(&http::get(port, "/metrics").ok()?.text());
        let of = |name| metrics.with_label(name, "table", "fine_samples");
        let names = ["fleetprof_iceberg_table_files", "fleetprof_iceberg_files_added_total"];
        (names.map(of) == [Some(2.0), Some(2.0)]).then_some(())
    });
    assert_eq!(http::status(port, "/healthz"), Some(200));
    assert!(running.terminate(PATIENCE).success(), "{}", fs::read_to_string(&log).expect("a log"));
}

/// Check that a place without a store is named, with what to do, and stays as it was.
#[test]
fn a_place_without_a_store_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let output =
        command().arg("--data-dir").arg(dir.path()).arg("--once").output().expect("starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("it has no catalog.sqlite; name the right one with --data-dir"),
        "{errors}"
    );
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 0);
}
