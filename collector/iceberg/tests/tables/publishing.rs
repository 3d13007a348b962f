//! What the committer writes: the difference, once, whatever happens in between.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use fleetprof_iceberg::{Keep, Place, PublishError, Publisher, Root, Round};
use fleetprof_store::Level;
use serde_json::Value;

use crate::fixture::{Directory, merge, merge_all, of, publish, remove};

/// The newest version of a table, by its hint.
pub(crate) fn newest(profiles: &Path, table: &str) -> Value {
    let folder = profiles.join("iceberg").join(table).join("metadata");
    let hint = fs::read_to_string(folder.join("version-hint.text")).expect("a hint");
    let text = fs::read(folder.join(format!("v{hint}.metadata.json"))).expect("it is there");
    serde_json::from_slice(&text).expect("JSON")
}

fn operation(table: &Value) -> &str {
    let current = &table["current-snapshot-id"];
    let snapshots = table["snapshots"].as_array().expect("a list");
    let snapshot = snapshots.iter().find(|it| it["snapshot-id"] == *current).expect("it is there");
    snapshot["summary"]["operation"].as_str().expect("a text")
}

/// Check that files come and go with one snapshot each, that stacks go a round after their samples, and
/// that nothing is written when nothing has changed.
#[tokio::test(flavor = "multi_thread")]
async fn tables_follow_the_store() {
    let mut place = Directory::new();
    let store = place.store().await;
    let mut publisher = place.publisher().await;
    let changes = publish(&mut publisher).await;
    assert_eq!(of(&changes, Level::Fine), [(0, 0, 0); 2]);
    assert!(newest(&place.profiles(), "daily_stacks")["current-snapshot-id"].is_null());

    place.append(&store, 0..3).await;
    let changes = publish(&mut publisher).await;
    assert_eq!(of(&changes, Level::Fine), [(3, 0, 3); 2]);
    assert_eq!(of(&changes, Level::Hourly), [(0, 0, 0); 2]);
    assert_eq!(operation(&newest(&place.profiles(), "fine_samples")), "append");

    assert_eq!(operation(&newest(&place.profiles(), "fine_samples")), "append");
    merge(&store).await;
    let changes = publish(&mut publisher).await;
    assert_eq!(of(&changes, Level::Fine), [(0, 0, 3); 2]);
    assert_eq!(of(&changes, Level::Hourly), [(3, 0, 3); 2], "one of each hour");

    // They become one of each hour and service.
    merge_all(&store).await;
    let changes = publish(&mut publisher).await;
    let [samples, stacks] = of(&changes, Level::Hourly);
    assert_eq!(samples, (6, 3, 6));
    assert_eq!(stacks, (6, 0, 9), "a query that began before needs them");
    assert_eq!(of(&changes, Level::Daily), [(2, 0, 2); 2], "one of each service");
    assert_eq!(operation(&newest(&place.profiles(), "hourly_samples")), "overwrite");
    let changes = publish(&mut publisher).await;
    assert_eq!(of(&changes, Level::Hourly), [(0, 0, 6), (0, 3, 6)]);
    assert_eq!(operation(&newest(&place.profiles(), "hourly_stacks")), "delete");
    let before = newest(&place.profiles(), "hourly_stacks");
    assert!(publish(&mut publisher).await.values().all(|change| !change.committed));
    assert_eq!(newest(&place.profiles(), "hourly_stacks"), before);

    assert!(remove(&store).await > 0);
    // The sweep for files that nobody knows knows of the tables.
    assert_eq!(store.sweep(Duration::ZERO).await.expect("sweeps"), 0);
    let changes = publish(&mut place.publisher().await).await;
    assert!(changes.values().all(|change| !change.committed), "another one finds nothing to do");
}

/// Check that a file whose end makes no sense is left out and counted, and keeps no other from the tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_left_out() {
    let mut place = Directory::new();
    let store = place.store().await;
    place.append(&store, 0..3).await;
    let files = store.files(None, (i64::MIN, i64::MAX)).await.expect("a list");
    let blob = &files[0].file.samples;
    // A schema whose root says to have two thousand million columns, and one field more.
    let footer: &[u8] = &[
        &[0x15, 4, 0x19, 0x2c][..],
        &[0x48, 1, b'x', 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0],
        &[0x48, 1, b'x', 0],
        &[0x16, 2, 0],
    ]
    .concat();
    let length = u32::try_from(footer.len()).expect("short").to_le_bytes();
    let end = [footer, &length, b"PAR1"].concat();
    let path = place.profiles().join(&blob.path);
    let mut bytes = fs::read(&path).expect("it is there");
    let start = bytes.len() - end.len();
    bytes.splice(start.., end);
    fs::write(&path, bytes).expect("written");

    let changes = publish(&mut place.publisher().await).await;
    let change = &changes["fine_samples"];
    assert_eq!((change.added, change.files, change.left_out), (2, 2, 1), "{changes:?}");
    assert_eq!(changes["fine_stacks"].files, 3);
}

/// Check that a committer killed between any two of its writes leaves tables that the next one repairs.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_is_followed() {
    let mut place = Directory::new();
    let store = place.store().await;
    place.append(&store, 0..2).await;
    publish(&mut place.publisher().await).await;
    place.append(&store, 2..4).await;
    // Killed before it made a version: files that nothing names.
    let metadata = place.profiles().join("iceberg/fine_samples/metadata");
    fs::write(metadata.join("lost-m0.avro"), "half a manife").expect("written");
    publish(&mut place.publisher().await).await;
    assert_eq!(files(&newest(&place.profiles(), "fine_samples")), 4);
    // Killed before it wrote the hint.
    fs::write(metadata.join("version-hint.text"), "1").expect("written");
    let changes = publish(&mut place.publisher().await).await;
    assert!(changes.values().all(|change| !change.committed));
    assert_eq!(files(&newest(&place.profiles(), "fine_samples")), 4);
    // All that is described is gone: published anew.
    fs::remove_dir_all(place.profiles().join("iceberg")).expect("removed");
    let changes = publish(&mut place.publisher().await).await;
    assert_eq!(of(&changes, Level::Fine), [(4, 0, 4); 2]);
}

/// Check that a round that ends at any moment leaves tables from which the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_may_end_at_any_moment() {
    let mut place = Directory::new();
    let store = place.store().await;
    let mut publisher = place.publisher().await;
    let mut ended = 0;
    for hour in 0..24 {
        place.append(&store, hour..hour + 1).await;
        merge(&store).await;
        let moment = Duration::from_millis(u64::try_from(hour).expect("small") * 4);
        ended += usize::from(tokio::time::timeout(moment, publisher.round()).await.is_err());
    }
    assert!(ended > 3, "only {ended} of 24 ended early");
    // What a round began with threads may still be about to be written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    merge_all(&store).await;
    for _ in 0..2 {
        publish(&mut publisher).await;
    }
    assert!(remove(&store).await > 0);
    for (table, live) in
        [("fine_samples", 24), ("fine_stacks", 24), ("hourly_samples", 48), ("daily_stacks", 2)]
    {
        assert_eq!(files(&newest(&place.profiles(), table)), live, "{table}");
    }
}

fn files(table: &Value) -> u64 {
    let current = &table["current-snapshot-id"];
    let snapshots = table["snapshots"].as_array().expect("a list");
    let snapshot = snapshots.iter().find(|it| it["snapshot-id"] == *current).expect("it is there");
    let total = snapshot["summary"]["total-data-files"].as_str().expect("a text");
    total.parse().expect("a number")
}

/// Check that of committers at the same time one works, and that one that works on an old version fails.
#[tokio::test(flavor = "multi_thread")]
async fn one_commits_at_a_time() {
    let mut place = Directory::new();
    let store = place.store().await;
    place.append(&store, 0..1).await;
    let (mut one, mut other) = (place.publisher().await, place.publisher().await);
    let (a, b) = tokio::join!(one.round(), other.round());
    let rounds = [a.expect("works"), b.expect("works")];
    assert!(rounds.iter().any(|round| matches!(round, Round::Done(_))), "{rounds:?}");
    assert_eq!(files(&newest(&place.profiles(), "fine_samples")), 1);

    // Somebody made the next version already.
    let metadata = place.profiles().join("iceberg/fine_stacks/metadata");
    place.append(&store, 1..2).await;
    fs::write(metadata.join("v2.metadata.json"), "{}").expect("written");
    let error = one.round().await.expect_err("it cannot read that");
    assert!(matches!(error, PublishError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("remove the folder iceberg/fine_stacks"), "{error}");
}

/// Check that a table of a store that is elsewhere now is not mixed with its files of there.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_moved_is_noticed() {
    let place = Directory::new();
    drop(place.store().await);
    publish(&mut place.publisher().await).await;
    let opened = Place::directory(place.path()).await.expect("opens");
    let moved = Place { root: Root::new("s3://elsewhere/"), ..opened };
    let error = Publisher::new(moved, Keep::default()).round().await.expect_err("another place");
    assert!(error.to_string().contains("s3://elsewhere/iceberg/fine_stacks"), "{error}");
}

/// Check that the past does not grow, and that all that the newest version names stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_bounded() {
    let mut place = Directory::new();
    let store = place.store().await;
    let keep = Keep { snapshots: 3, versions: 4, age: Duration::ZERO, every: 1 };
    let opened = Place::directory(place.path()).await.expect("opens");
    let mut publisher = Publisher::new(opened, keep);
    for hour in 0..20 {
        place.append(&store, hour..hour + 1).await;
        publish(&mut publisher).await;
    }
    let table = newest(&place.profiles(), "fine_samples");
    assert_eq!(table["snapshots"].as_array().map(Vec::len), Some(3));
    assert!(table["metadata-log"].as_array().is_some_and(|log| log.len() <= 10));
    assert_eq!(files(&table), 20);
    let folder = place.profiles().join("iceberg/fine_samples/metadata");
    let names: BTreeSet<String> = fs::read_dir(&folder)
        .expect("lists")
        .map(|entry| entry.expect("lists").file_name().to_string_lossy().into_owned())
        .collect();
    let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!(count(".metadata.json"), 4, "{names:?}");
    // Small manifests become one, now and then.
    assert!(count("-m0.avro") <= 18, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("snap-")).count(), 3, "{names:?}");
    // Still whole: one that remembers nothing reads all of it.
    let changes = publish(&mut place.publisher().await).await;
    assert_eq!(of(&changes, Level::Fine), [(0, 0, 20); 2]);
}
