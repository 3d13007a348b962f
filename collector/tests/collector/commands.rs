//! Commands of the binary, beside a collector that runs.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use fleetprof_proto::ids::InstanceId;
use tempfile::TempDir;

use crate::support::{Agent, Running, sealed};

fn command(arguments: &[&str], data_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetprof-collector"));
    command.args(arguments).arg("--data-dir").arg(data_dir).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends with this code, and prints one JSON object.
fn json(arguments: &[&str], data_dir: &Path, code: i32) -> serde_json::Value {
    let output = command(arguments, data_dir);
    let said = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// The samples files below a directory.
fn samples(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() {
            found.extend(samples(&path));
        } else if path.to_string_lossy().ends_with(".samples.parquet") {
            found.push(path);
        }
    }
    found
}

/// Check that a store is checked, exported and imported while its collector runs, with exit codes for
/// scripts, and that what is no store is not made one.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_checked_and_moved_while_its_collector_runs() {
    let running = Running::start().await;
    let mut agent = Agent::connect(&running.url(), InstanceId::random()).await.expect("connects");
    for sequence in 1..=3 {
        let batch = sealed(agent.instance, sequence);
        agent.deliver(batch).await;
    }
    let data = running.dir.path().join("data");
    let found = json(&["fsck", "-o", "json"], &data, 0);
    assert_eq!(found["clean"], true);
    let pairs = found["pairs"].as_u64().expect("a number");
    assert!(pairs > 0, "{found}");
    let output = command(&["fsck", "--fast"], &data);
    assert!(text(&output.stdout).contains("0 findings"), "{}", text(&output.stdout));
    assert!(output.stderr.is_empty(), "no progress without a terminal");

    let exported = running.dir.path().join("export");
    let dir = exported.to_str().expect("text");
    let range =
        ["export", "--from", "2026-01-01T00:00Z", "--to", "2026-01-02T00:00Z", "--output", dir];
    let answer = json(&[&range[..], &["--format", "json"]].concat(), &data, 0);
    assert_eq!(answer["pairs"], pairs);
    let again = command(&range, &data);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is not empty"), "{}", text(&again.stderr));

    // Into a new directory, and beside a collector that runs.
    let new = running.dir.path().join("new");
    assert_eq!(json(&["import", dir, "-o", "json"], &new, 0)["imported"], pairs);
    assert_eq!(json(&["import", dir, "-o", "json"], &new, 0)["skipped"], pairs);
    assert_eq!(json(&["import", dir, "-o", "json"], &data, 0)["skipped"], pairs);
    assert_eq!(json(&["fsck", "-o", "json"], &new, 0)["pairs"], pairs);

    let file = samples(&data.join("profiles")).pop().expect("a file");
    let bytes = fs::read(&file).expect("reads");
    fs::write(&file, &bytes[1..]).expect("written");
    let found = json(&["fsck", "--repair", "-o", "json"], &data, 3);
    assert_eq!(found["findings"][0]["kind"], "size");
    assert_eq!(found["findings"][0]["repaired"], true);
    fs::write(&file, &bytes).expect("written");
    let output = command(&["fsck", "--repair"], &data);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("whole"), "{}", text(&output.stdout));
    assert!(!text(&output.stdout).contains('\u{1b}'), "no colours without a terminal");
    json(&["fsck", "-o", "json"], &data, 0);

    let nothing = TempDir::new().expect("dir");
    for arguments in [&["fsck"][..], &["export", "--from", "-1h", "--to", "now", "--output", "x"]] {
        let output = command(arguments, nothing.path());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("no data directory"), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read_dir(nothing.path()).expect("lists").count(), 0, "nothing is made");
    let output = command(&["import", dir, "--store", "s3://b/p"], nothing.path());
    assert_eq!(output.status.code(), Some(2), "--store needs --catalog");
    running.stop().await;
}
