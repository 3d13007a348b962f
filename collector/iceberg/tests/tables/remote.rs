//! The same with an object store: the tables, and the queries of `docs/tables.md` on the files alone.

use std::{path::Path, process::Command, sync::Arc};

use fleetprof_store::{Blobs, Catalog, Level, ProfileStore};
use fleetprof_tests::servers::Seaweed;
use object_store::prefix::PrefixStore;
use serde_json::json;

use crate::{
    engines::{ENGINES, ask, read},
    fixture::{Directory, merge_all, remove},
};

/// The files of a store in SeaweedFS.
fn blobs(seaweed: &Seaweed, root: &str) -> Blobs {
    rustls::crypto::ring::default_provider().install_default().expect("the first one");
    let settings = seaweed.environment().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let url = root.parse().expect("a URL");
    let (store, prefix) = object_store::parse_url_opts(&url, settings).expect("a store");
    Blobs::of(Arc::new(PrefixStore::new(store, prefix)), root)
}

/// Runs the committer once, as people do; gives what it writes.
fn publish(root: &str, catalog: &str, seaweed: &Seaweed) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_fleetprof-iceberg"))
        .args(["--store", root, "--catalog", catalog, "--once"])
        .envs(seaweed.environment())
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Check that engines read tables and files from S3.
#[tokio::test(flavor = "multi_thread")]
async fn engines_read_from_s3() {
    let server = tempfile::tempdir().expect("a directory");
    let seaweed = Seaweed::start(server.path());
    let root = seaweed.url("profiles");
    let mut place = Directory::new();
    let catalog = format!("sqlite:{}", place.path().join("catalog.sqlite").display());
    let opened = Catalog::open(&catalog).await.expect("opens");
    let store = ProfileStore::open(blobs(&seaweed, &root), opened).await.expect("opens");
    place.append(&store, 0..3).await;
    merge_all(&store).await;
    let written = publish(&root, &catalog, &seaweed);
    assert!(written.contains("hourly_samples  version 1: "), "{written}");
    assert_eq!(publish(&root, &catalog, &seaweed).matches("(+0 -0)").count(), 6);
    let environment = seaweed.environment();
    for engine in ENGINES {
        let stacks = read(engine, &root, &[Level::Hourly], &environment);
        assert_eq!(stacks, [place.appended.clone()], "{engine}");
    }
    // Without the tables, nothing says that merged files no longer count.
    assert!(remove(&store).await > 0);
    let samples: u64 = place.appended.values().map(|sum| sum.0).sum();
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tables.md");
    let tables = tables.to_str().expect("a path of text");
    for engine in ["duckdb", "chdb"] {
        let answer = ask(&[engine, "files", &root, tables], &environment);
        assert_eq!(answer, json!([samples, samples]), "{engine}: of samples, and of functions");
    }
}
