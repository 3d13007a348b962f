//! What is old goes; what somebody may need stays.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{Ages, DAY, HOUR, Level, ProfileStore, Removed, Retention};

use crate::fixture::{Place, batch, files_below, merge_all, past_day, sums, wish};

const HOURS: Duration = Duration::from_secs(3600);

async fn levels(store: &ProfileStore) -> Vec<(Level, bool)> {
    let files = store.files(None, (i64::MIN, i64::MAX)).await.expect("lists");
    files.iter().map(|row| (row.file.level, row.rolled)).collect()
}

/// Check that each level goes at its age, services of their own at theirs, that what is not in the next
/// level stays, and that files are removed only after a grace period.
#[tokio::test(flavor = "multi_thread")]
async fn levels_go_at_their_ages() {
    let place = Place::new();
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    for n in 1..=3 {
        let start = day + HOUR * i64::try_from(n).expect("small");
        store.append(vec![batch(instance, n, start, "h")]).await.expect("appends");
    }
    let keep = |fine: u32, hourly: u32, daily: u32| Retention {
        ages: Ages { fine: HOURS * fine, hourly: HOURS * hourly, daily: HOURS * daily },
        grace: Duration::ZERO,
        ..Retention::default()
    };
    assert_eq!(store.retain(&keep(1, 1, 1)).await.expect("removes"), Removed::default());
    merge_all(&store).await;
    let all = files_below(&place.profiles()).len();
    let waits = Retention { grace: HOURS, ..keep(1, 1000, 1000) };
    let removed = store.retain(&waits).await.expect("removes");
    assert_eq!((removed.retired, removed.deleted), (3, 0));
    assert_eq!(files_below(&place.profiles()).len(), all);
    let removed = store.retain(&keep(1, 1000, 1000)).await.expect("removes");
    assert_eq!((removed.retired, removed.deleted), (0, 6), "what was merged goes, too");

    let services = BTreeMap::from([("search".to_owned(), keep(1, 1000, 1000).ages)]);
    let removed = store.retain(&Retention { services, ..keep(1, 1, 1000) }).await.expect("removes");
    assert_eq!(removed.retired, 3);
    let (sums, lacks) = {
        let wish = wish(day, day + DAY);
        (sums(&store, &wish, |_, _, _| String::new()).await, store.plan(&wish).await)
    };
    assert_eq!((sums.0[""].0, lacks.expect("plans").lacks.len()), (21, 0));
    for _ in 0..2 {
        // What is retired is removed by a later round.
        store.retain(&keep(1, 1, 1)).await.expect("removes");
    }
    assert_eq!(levels(&store).await, []);
    assert_eq!(files_below(&place.profiles()).len(), 1, "the store's mark");
}

/// Check that what is known of agents goes with the longest age, but not before 30 days: until then a batch may
/// come again.
#[tokio::test(flavor = "multi_thread")]
async fn agents_of_long_ago_are_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    let [older, old, new] = [(); 3].map(|()| InstanceId::random());
    for (instance, days) in [(older, 50), (old, 40), (new, 20)] {
        store
            .append(vec![batch(instance, 1, past_day() - days * DAY, "h")])
            .await
            .expect("appends");
    }
    let keep = |days: u32| {
        let age = HOURS * (24 * days);
        let ages = Ages { fine: HOURS, hourly: HOURS, daily: age };
        Retention { ages, ..Retention::default() }
    };
    for (days, forgotten, left) in
        [(60, 0, &[new, old, older][..]), (45, 1, &[new, old]), (1, 1, &[new]), (1, 0, &[new])]
    {
        assert_eq!(store.retain(&keep(days)).await.expect("removes").instances, forgotten);
        let known = store.latest_instances(10).await.expect("lists");
        let known: Vec<_> = known.into_iter().map(|it| it.instance).collect();
        assert_eq!(known, left, "{days} days");
    }
}

/// Check that a limit of size removes detail first.
#[tokio::test(flavor = "multi_thread")]
async fn too_much_costs_detail_first() {
    let place = Place::new();
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    for n in 1..=3 {
        let start = day + HOUR * i64::try_from(n).expect("small");
        store.append(vec![batch(instance, n, start, "h")]).await.expect("appends");
    }
    merge_all(&store).await;
    let bytes = store.status().await.expect("answers").bytes;
    let retention = Retention { max_bytes: Some(bytes - 1), ..Retention::default() };
    assert_eq!(store.retain(&retention).await.expect("removes").retired, 1);
    assert_eq!(levels(&store).await.iter().filter(|(level, _)| *level == Level::Fine).count(), 2);
}

/// Check that files that no catalog knows go when they are old, and that others stay.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_swept() {
    let place = Place::new();
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    store.append(vec![batch(instance, 1, day, "h")]).await.expect("appends");
    let dir = place.profiles().join("fine/2026-01-01/00");
    std::fs::create_dir_all(&dir).expect("made");
    let name = |n: u64| format!("{n:016x}.samples.parquet");
    for (n, hours) in [(1, 5), (2, 0)] {
        let file = std::fs::File::create(dir.join(name(n))).expect("made");
        file.set_modified(SystemTime::now() - HOURS * hours).expect("set");
    }
    let foreign = std::fs::File::create(dir.join("notes.txt")).expect("made");
    foreign.set_modified(SystemTime::now() - HOURS * 5).expect("set");
    for path in files_below(&place.profiles()) {
        if path.contains(".parquet") && !path.contains("2026-01-01") {
            let file = std::fs::File::open(place.profiles().join(path)).expect("opens");
            file.set_modified(SystemTime::now() - HOURS * 5).expect("set");
        }
    }
    assert_eq!(store.sweep(HOURS).await.expect("sweeps"), 1);
    let left = files_below(&place.profiles());
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(left.iter().any(|path| path.ends_with(&name(2))), "{left:?}");
    assert_eq!(store.sweep(HOURS).await.expect("sweeps"), 0);
}
