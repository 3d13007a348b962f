//! What an earlier version kept is there after an upgrade.

use std::{fs, path::Path};

use fleetprof_proto::v1::{ServicesRequest, StatusRequest};
use tempfile::TempDir;

use crate::support::{Running, all};

/// A data directory of layout 1: five batches of 40 samples, of one agent.
fn layout_1() -> TempDir {
    let dir = TempDir::new().expect("dir");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-1");
    let segments = dir.path().join("data/segments");
    fs::create_dir_all(&segments).expect("made");
    fs::copy(from.join("VERSION"), dir.path().join("data/VERSION")).expect("copied");
    fs::copy(from.join("segments").join(SEGMENT), segments.join(SEGMENT)).expect("copied");
    dir
}

const SEGMENT: &str = "0000000000000001-1cb711d5c6b2de6f.seg";

async fn samples(collector: &Running) -> (u64, u64) {
    let mut queries = collector.queries().await;
    let answer = queries.services(ServicesRequest { query: all("") }).await.expect("answered");
    let coverage = answer.into_inner().coverage.expect("there");
    assert_eq!(coverage.damaged, [""; 0]);
    let status = queries.status(StatusRequest {}).await.expect("answered").into_inner();
    (coverage.samples, status.agents.iter().map(|agent| agent.stored_samples).sum())
}

/// Check that everything is taken over once, also when the start is interrupted after the store has it,
/// and that the old file is kept aside.
#[tokio::test(flavor = "multi_thread")]
async fn segments_are_taken_over_once() {
    let dir = layout_1();
    let data = dir.path().join("data");
    let mut collector = Running::start_with(dir, |_| {}).await;
    for _ in 0..2 {
        assert_eq!(samples(&collector).await, (200, 200));
        let dir = collector.stop().await;
        let aside = data.join("segments-imported").join(SEGMENT);
        assert!(aside.exists() && !data.join("segments").exists());
        assert_eq!(fs::read_to_string(data.join("VERSION")).expect("read"), "fleetprof-data 2\n");
        // As if the collector had died before it moved the file.
        fs::create_dir(data.join("segments")).expect("made");
        fs::rename(aside, data.join("segments").join(SEGMENT)).expect("moved");
        collector = Running::start_with(dir, |_| {}).await;
    }
    assert_eq!(samples(&collector).await, (200, 200));
}

/// Check that damage costs what it hits, and that a write that was never finished costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_segments_are_taken_over_as_far_as_they_go() {
    for (change, left) in [("payload", 160), ("record", 160), ("tail", 200)] {
        let dir = layout_1();
        let path = dir.path().join("data/segments").join(SEGMENT);
        let mut bytes = fs::read(&path).expect("read");
        let starts: Vec<usize> = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, it)| *it == b"FPR1")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts.len(), 5);
        match change {
            "payload" => bytes[starts[2] - 1] ^= 1,
            "record" => bytes[starts[2] + 5] ^= 1,
            _ => bytes.extend_from_slice(&b"FPR1\x40\0\0\0\x40\0\0\0rest"[..]),
        }
        fs::write(&path, bytes).expect("written");
        let collector = Running::start_with(dir, |_| {}).await;
        assert_eq!(samples(&collector).await, (left, left), "{change}");
    }
}
