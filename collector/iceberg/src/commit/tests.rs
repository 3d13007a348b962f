//! Committers that know nothing of each other, as when a lease ended while its holder slept.

use std::collections::BTreeMap;

use fleetprof_store::{Blobs, Level};

use super::*;
use crate::{place::Root, tables::TableName};

#[tokio::test]
async fn of_two_at_the_same_time_one_makes_the_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let blobs = Blobs::directory(dir.path()).expect("opens");
    let root = Root::new(&dir.path().display().to_string());
    let table = TableName { level: Level::Fine, is_stacks: false };
    let versions = Versions { table, blobs: &blobs, root: &root };
    let (mut known, keep, wanted) = (Named::new(), Keep::default(), BTreeMap::new());
    let one = State::read(&versions, &mut known).await.expect("reads");
    let other = State::read(&versions, &mut known).await.expect("reads");
    let made = one.commit(&versions, &wanted, |_| false, &keep).await.expect("commits");
    assert_eq!((made.version, made.committed), (1, true));
    let late = other.commit(&versions, &wanted, |_| false, &keep).await;
    assert!(matches!(late, Err(PublishError::LeaseLost)), "{late:?}");

    // One that slept until its version was removed creates it, and finds that it is not the newest.
    let newest = versions.newest().await.expect("reads").expect("there is one");
    for number in 2..5 {
        assert!(versions.create(number, &newest.metadata).await.expect("creates"));
    }
    blobs.delete(vec![versions.path("v1.metadata.json")]).await.expect("removed");
    let late = other.commit(&versions, &wanted, |_| false, &keep).await;
    assert!(matches!(late, Err(PublishError::LeaseLost)), "{late:?}");
    let hint = blobs.small(&versions.path("version-hint.text")).await.expect("reads");
    assert_eq!(hint.as_deref(), Some(&b"4"[..]));
}
