//! Servers that die, other versions, files that are no catalogs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{Catalog, CatalogError, Committed, Level};
use sqlx::{AnyConnection, Connection as _};
use tokio::task::JoinSet;

use crate::{
    fixture::{Place, T0, delivery, file, live, on_both},
    postgres::Postgres,
};

on_both!(
    many_may_open_it_at_once,
    a_newer_catalog_is_refused,
    a_change_that_is_dropped_leaves_no_trace_and_no_lock,
);

async fn many_may_open_it_at_once(place: Place) {
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let url = place.url.clone();
        tasks.spawn(async move { Catalog::open(&url).await.map(drop) });
    }
    for opened in tasks.join_all().await {
        opened.expect("opens");
    }
}

async fn a_newer_catalog_is_refused(place: Place) {
    place.open().await.close().await;
    let execute = async |statement: &str| place.execute(statement).await;
    let refused = async |found: i64| {
        let error = Catalog::open(&place.url).await.expect_err("refused");
        assert!(matches!(error, CatalogError::Newer { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("version {found}")) && said.contains("upgrade"), "{said}");
    };
    execute("UPDATE meta SET value = '2' WHERE name = 'format'").await;
    refused(2).await;
    execute("UPDATE meta SET value = '1' WHERE name = 'format'").await;
    place.open().await.close().await;
    execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 99, 'later', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    refused(99).await;
    execute("DELETE FROM _sqlx_migrations WHERE version = 99").await;
    place.open().await;
}

/// Check that a commit that its caller gives up in the middle is done or not, and that others go on.
async fn a_change_that_is_dropped_leaves_no_trace_and_no_lock(place: Place) {
    let catalog = place.open().await;
    let instance = InstanceId::random();
    for sequence in 1..=60 {
        let files = [file(Level::Fine, T0, &["a"])];
        let batches = [delivery(instance, sequence)];
        let patience = Duration::from_micros(fastrand::u64(0..4_000));
        let given_up =
            tokio::time::timeout(patience, catalog.commit(&files, &batches, T0)).await.is_err();
        let again = catalog.commit(&files, &batches, T0).await.expect("goes on");
        assert!(given_up || again != Committed::Done, "was done twice");
    }
    let status = catalog.status().await.expect("reads");
    assert_eq!((status.files, status.batches, status.samples), (60, 60, 600));
}

/// Check that a server that is killed in the middle of commits, twice, loses none that was said to be
/// done, and that those who try again until they are answered have every batch there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_server_loses_nothing_and_doubles_nothing() {
    const INSTANCES: usize = 6;
    const KILLS: u64 = 2;
    let server = Postgres::start();
    let catalog = Catalog::open(&server.database()).await.expect("opens");
    let stop = Arc::new(AtomicBool::new(false));
    let sent: Arc<[AtomicU64]> = (0..INSTANCES).map(|_| AtomicU64::new(0)).collect();
    let mut tasks = JoinSet::new();
    for number in 0..INSTANCES {
        let (catalog, stop, sent) = (catalog.clone(), stop.clone(), sent.clone());
        tasks.spawn(async move { send_until(&catalog, &stop, &sent[number]).await });
    }
    for _ in 0..KILLS {
        all_go_on(&sent).await;
        server.kill();
        let before = Instant::now();
        let error = catalog.check().await.expect_err("is away").to_string();
        assert!(before.elapsed() < Duration::from_secs(5), "took {:?}", before.elapsed());
        assert!(error.contains("postgres://fleetprof@localhost/test0"), "{error}");
        server.restart();
    }
    all_go_on(&sent).await;
    catalog.check().await.expect("is back");
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let batches: u64 = sent.iter().map(|sent| sent.load(Ordering::Relaxed)).sum();
    let status = catalog.status().await.expect("reads");
    assert_eq!((status.files, status.batches, status.samples), (batches, batches, 10 * batches));
    assert_eq!(live(&catalog, Level::Fine).await.len() as u64, batches);
}

/// Waits until everybody has sent something more.
async fn all_go_on(sent: &[AtomicU64]) {
    let now = || sent.iter().map(|sent| sent.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let (before, began) = (now(), Instant::now());
    while now().iter().zip(&before).any(|(now, before)| now <= before) {
        assert!(began.elapsed() < Duration::from_secs(60), "stuck: {before:?}, {:?}", now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends one batch after the other, each until it is answered, and counts them. The catalog tries again by
/// itself what was surely not done; the rest comes back as an error, and a batch as a duplicate.
async fn send_until(catalog: &Catalog, stop: &AtomicBool, sent: &AtomicU64) {
    let (instance, mut sequence) = (InstanceId::random(), 0);
    while !stop.load(Ordering::Relaxed) {
        sequence += 1;
        let files = [file(Level::Fine, T0, &["a"])];
        while let Err(error) = catalog.commit(&files, &[delivery(instance, sequence)], T0).await {
            assert!(
                matches!(
                    error,
                    CatalogError::Database { .. }
                        | CatalogError::Unknown { .. }
                        | CatalogError::Silent { .. }
                ),
                "{error}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sent.store(sequence, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_catalog_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = format!("sqlite:{}/none/catalog.db", dir.path().display());
    let refused = "postgres://me:s3cret@127.0.0.1:1/fleet".to_owned();
    for (url, name) in [(&missing, &*missing), (&refused, "postgres://me@127.0.0.1:1/fleet")] {
        let error = Catalog::open(url).await.expect_err("is not there");
        let said = error.to_string();
        assert!(said.contains(name) && !said.contains("s3cret"), "{said}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let other = dir.path().join("other");
    std::fs::write(&other, "something else, and long enough".repeat(99)).expect("writes");
    let error = Catalog::open(&format!("sqlite:{}", other.display())).await.expect_err("is none");
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_not_ready() {
    let place = Place::sqlite();
    let catalog = place.open().await;
    catalog.check().await.expect("is ready");
    let url = place.url.strip_prefix("sqlite:").expect("is one");
    // Another process that holds the lock for good: what a full or broken disk looks like from here.
    let url = url.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let mut connection = AnyConnection::connect(&format!("sqlite:{url}")).await.expect("connects");
    let held = connection.begin_with("BEGIN IMMEDIATE").await.expect("locks");
    let before = Instant::now();
    let error = catalog.check().await.expect_err("is not ready").to_string();
    assert!(before.elapsed() < Duration::from_secs(5), "took {:?}", before.elapsed());
    assert!(error.contains("no answer within 3 s"), "{error}");
    held.rollback().await.expect("unlocks");
}
