//! Files grow old, leases end.

use std::time::Duration;

use fleetprof_store::{DAY, Expire, Level, Replace};
use tokio::task::JoinSet;

use crate::fixture::{Place, SECOND, T0, file, ids, live, on_both};

on_both!(
    files_expire_by_service_and_age,
    damaged_files_expire_unmerged,
    retired_files_are_forgotten_when_told,
    too_many_bytes_cost_detail_first,
    a_lease_has_one_holder_until_it_ends,
);

async fn files_expire_by_service_and_age(place: Place) {
    let catalog = place.open().await;
    let daily = |day, service| file(Level::Daily, T0 + day * DAY, &[service]);
    let files = [daily(0, "a"), daily(0, "b"), daily(0, "c"), daily(1, "a"), daily(1, "c")];
    catalog.commit(&files, &[], T0).await.expect("commits");
    let expire = async |level, which, before| {
        catalog.expire(level, which, before, T0 + DAY).await.expect("expires")
    };
    let end = T0 + SECOND;
    assert_eq!(expire(Level::Daily, Expire::Service("a"), end - 1).await, 0, "has data later");
    assert_eq!(expire(Level::Fine, Expire::Except(&[]), end).await, 0, "of another level");
    assert_eq!(expire(Level::Daily, Expire::Service("a"), end).await, 1);
    assert_eq!(expire(Level::Daily, Expire::Service("a"), end).await, 0, "is retired");
    assert_eq!(expire(Level::Daily, Expire::Except(&["b", "x"]), i64::MAX).await, 3);
    assert_eq!(ids(&live(&catalog, Level::Daily).await), [files[1].id]);
    assert_eq!(expire(Level::Daily, Expire::Except(&[]), i64::MAX).await, 1);
    // What is not in the next level yet stays, and files of many services belong to no single one.
    let (fine, hourly) = (file(Level::Fine, T0, &["a"]), file(Level::Hourly, T0, &["a"]));
    catalog.commit(std::slice::from_ref(&fine), &[], T0).await.expect("commits");
    assert_eq!(expire(Level::Fine, Expire::Except(&["a"]), i64::MAX).await, 0);
    let rolled = catalog.replace(&[fine.id], &[hourly], Replace::Roll, T0).await;
    assert!(rolled.expect("replaces"));
    assert_eq!(expire(Level::Fine, Expire::Service("a"), i64::MAX).await, 0);
    assert_eq!(expire(Level::Hourly, Expire::Service("a"), i64::MAX).await, 0);
    assert_eq!(expire(Level::Fine, Expire::Except(&["a"]), i64::MAX).await, 1);
}

/// Check that a damaged file, which is never merged, does not stay for ever, and takes no other with it.
async fn damaged_files_expire_unmerged(place: Place) {
    let catalog = place.open().await;
    for level in Level::ALL {
        let files = [file(level, T0, &["a"]), file(level, T0, &["a"])];
        catalog.commit(&files, &[], T0).await.expect("commits");
        assert!(catalog.quarantine(files[0].id, "is gone").await.expect("answers"));
        let expire = async |before| {
            catalog.expire(level, Expire::Except(&[]), before, T0 + DAY).await.expect("expires")
        };
        let end = T0 + SECOND;
        assert_eq!(expire(end - 1).await, 0, "has data later");
        let whole_too = u64::from(level == Level::Daily);
        assert_eq!(expire(end).await, 1 + whole_too);
        assert_eq!(live(&catalog, level).await.len() as u64, 1 - whole_too);
    }
}

async fn retired_files_are_forgotten_when_told(place: Place) {
    let catalog = place.open().await;
    let files: Vec<_> = (0..3).map(|day| file(Level::Daily, T0 + day * DAY, &["a"])).collect();
    catalog.commit(&files, &[], T0).await.expect("commits");
    for (day, now) in [(0, T0 + 100), (1, T0 + 200)] {
        let before = T0 + day * DAY + SECOND;
        assert_eq!(
            catalog.expire(Level::Daily, Expire::Except(&[]), before, now).await.ok(),
            Some(1)
        );
    }
    let retired = async |before, limit| ids(&catalog.retired(before, limit).await.expect("finds"));
    assert_eq!(retired(T0 + 100, 9).await, []);
    assert_eq!(retired(T0 + 101, 9).await, [files[0].id]);
    assert_eq!(retired(i64::MAX, 9).await, [files[0].id, files[1].id]);
    assert_eq!(retired(i64::MAX, 1).await, [files[0].id]);
    let status = catalog.status().await.expect("reads");
    assert_eq!((status.files, status.retired, status.retired_bytes), (1, 2, 200));
    let all: Vec<_> = files.iter().map(|file| file.id).collect();
    assert_eq!(catalog.known(&all).await.expect("answers").len(), 3);
    assert_eq!(catalog.forget(&all).await.expect("forgets"), 2, "the live one stays");
    assert_eq!(retired(i64::MAX, 9).await, []);
    assert_eq!(catalog.known(&all).await.expect("answers").len(), 1);
    assert_eq!(ids(&live(&catalog, Level::Daily).await), [files[2].id]);
}

/// Check the order in which a limit of size takes files: rolled ones of the finest level, the oldest of
/// them first, then rolled ones of the next, then the oldest of what is not rolled; and no more than
/// needed.
async fn too_many_bytes_cost_detail_first(place: Place) {
    let catalog = place.open().await;
    let fine: Vec<_> = (0..3).map(|day| file(Level::Fine, T0 + day * DAY, &["a"])).collect();
    let hourly: Vec<_> = (0..2).map(|day| file(Level::Hourly, T0 + day * DAY, &["a"])).collect();
    let daily = file(Level::Daily, T0, &["a"]);
    catalog.commit(&fine, &[], T0).await.expect("commits");
    for (input, output) in [(&fine[0], &hourly[0]), (&fine[1], &hourly[1]), (&hourly[0], &daily)] {
        let output = std::slice::from_ref(output);
        assert!(catalog.replace(&[input.id], output, Replace::Roll, T0).await.expect("rolls"));
    }
    // Six files of 100 bytes each.
    assert_eq!(catalog.retire_until(600, T0).await.expect("retires"), 0);
    let order = [fine[0].id, fine[1].id, hourly[0].id, daily.id, hourly[1].id, fine[2].id];
    for (at, (limit, count)) in
        [(599, 1), (499, 1), (301, 1), (299, 1), (200, 0), (101, 1)].into_iter().enumerate()
    {
        let now = T0 + 1 + at as i64;
        assert_eq!(catalog.retire_until(limit, now).await.expect("retires"), count, "{limit}");
    }
    assert_eq!(ids(&catalog.retired(i64::MAX, 9).await.expect("finds")), order[..5]);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let catalog = catalog.clone();
        tasks.spawn(async move { catalog.retire_until(0, T0 + 99).await.expect("retires") });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 1);
    assert_eq!(ids(&catalog.retired(i64::MAX, 9).await.expect("finds")), order);
}

async fn a_lease_has_one_holder_until_it_ends(place: Place) {
    let catalog = place.open().await;
    let ttl = Duration::from_nanos(100);
    let ask = async |name: &str, holder: &str, now| {
        catalog.lease(name, holder, ttl, now).await.expect("answers")
    };
    let first = ask("merge", "one", 0).await.expect("is free");
    assert_eq!(first.expires, 100);
    assert_eq!(ask("merge", "two", 99).await, None);
    assert!(ask("other", "two", 0).await.is_some());
    let renewed = ask("merge", "one", 50).await.expect("is renewed");
    assert_eq!(renewed.expires, 150);
    assert_eq!(ask("merge", "two", 149).await, None);
    let taken = ask("merge", "two", 150).await.expect("has ended");
    assert_eq!(ask("merge", "one", 151).await, None, "was taken over");
    catalog.release(&renewed).await.expect("answers");
    assert_eq!(ask("merge", "one", 152).await, None, "was not the old holder's to give back");
    catalog.release(&taken).await.expect("answers");
    assert!(ask("merge", "one", 153).await.is_some());

    let mut tasks = JoinSet::new();
    for holder in 0..16 {
        let catalog = catalog.clone();
        tasks.spawn(async move {
            catalog.lease("race", &holder.to_string(), ttl, 0).await.expect("answers")
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().flatten().count(), 1);
}
