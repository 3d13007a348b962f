//! Queries find the files that they ask for; damaged ones are named.

use std::{collections::HashSet, time::Duration};

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{
    Catalog, CatalogError, DAY, Expire, FileId, FileQuery, HOUR, Level, NewFile, Replace, Rolled,
    ServiceSum,
};

use crate::fixture::{EVER, Place, SECOND, T0, delivery, file, ids, live, on_both};

on_both!(
    a_query_finds_what_overlaps,
    a_damaged_file_is_named_until_it_is_healed,
    files_that_contradict_themselves_are_refused,
    status_counts_each_sample_once,
);

async fn a_query_finds_what_overlaps(place: Place) {
    let catalog = place.open().await;
    let mut files: Vec<_> =
        (0..4).map(|hour| file(Level::Fine, T0 + hour * HOUR, &["a", "b"])).collect();
    files[2].services.remove(0);
    // As far from its bucket as a batch of a day allows.
    files[3].spans = vec![(T0 + 3 * HOUR - DAY / 2, T0 + 4 * HOUR + DAY / 2)];
    files.push(file(Level::Hourly, T0, &["a"]));
    catalog.commit(&files, &[], T0).await.expect("commits");
    let id = |at: usize| files[at].id;
    let all = (i64::MIN, i64::MAX);
    let second = T0 + SECOND;
    for (level, range, service, expected) in [
        (Level::Fine, all, None, vec![id(0), id(1), id(2), id(3)]),
        (Level::Fine, all, Some("a"), vec![id(0), id(1), id(3)]),
        (Level::Fine, all, Some("b"), vec![id(0), id(1), id(2), id(3)]),
        (Level::Fine, all, Some("A"), vec![]),
        (Level::Hourly, all, None, vec![id(4)]),
        (Level::Hourly, all, Some("b"), vec![]),
        (Level::Daily, all, None, vec![]),
        (Level::Fine, (T0 - 1, T0), None, vec![id(3)]),
        (Level::Fine, (T0, T0 + 1), None, vec![id(0), id(3)]),
        (Level::Fine, (second - 1, second), None, vec![id(0), id(3)]),
        (Level::Fine, (second, second + 1), None, vec![id(3)]),
        (Level::Fine, (T0 + HOUR, T0 + 3 * HOUR), Some("a"), vec![id(1), id(3)]),
        (Level::Fine, (T0 + 4 * HOUR + DAY / 2 - 1, i64::MAX), Some("a"), vec![id(3)]),
        (Level::Fine, (T0 + 4 * HOUR + DAY / 2, i64::MAX), None, vec![]),
        (Level::Fine, (i64::MIN, T0 + 3 * HOUR - DAY / 2 + 1), None, vec![id(3)]),
        (Level::Fine, (i64::MIN, T0 + 3 * HOUR - DAY / 2), None, vec![]),
    ] {
        let query = FileQuery { level: Some(level), range, service, rolled: Rolled::Any };
        let found = catalog.files(&query).await.expect("finds");
        assert_eq!(ids(&found), expected, "{query:?}");
    }
    let whole =
        |samples| ServiceSum { service: "b".to_owned(), samples, nanos: samples * 1_000_000 };
    let sums = catalog.services(Level::Fine, (T0 + 1, T0 + 3 * HOUR)).await.expect("sums");
    assert_eq!(sums.last(), Some(&whole(20)), "{sums:?}");
}

async fn a_damaged_file_is_named_until_it_is_healed(place: Place) {
    let catalog = place.open().await;
    let files = [file(Level::Fine, T0, &["a"]), file(Level::Fine, T0, &["a"])];
    catalog.commit(&files, &[], T0).await.expect("commits");
    let id = files[0].id;
    assert!(!catalog.heal(id).await.expect("answers"), "is whole");
    assert!(catalog.quarantine(id, "is gone").await.expect("answers"));
    assert!(!catalog.quarantine(id, "is odd").await.expect("answers"), "the first reason stays");
    assert!(!catalog.quarantine(FileId::random(), "is odd").await.expect("answers"));

    let damaged = catalog.damaged().await.expect("finds");
    assert_eq!(ids(&damaged), [id]);
    assert_eq!(damaged[0].damaged.as_deref(), Some("is gone"));
    let found = live(&catalog, Level::Fine).await;
    assert_eq!(found.iter().filter(|row| row.damaged.is_some()).count(), 1);
    assert_eq!(found.len(), 2);
    assert_eq!(catalog.status().await.expect("reads").damaged, 1);
    // It is not mixed with others, which would hide that something is missing.
    let mut merged = file(Level::Fine, T0, &["a"]);
    merged.services[0].samples = 20;
    let both = [id, files[1].id];
    let merge = Replace::Merge { rolled: false };
    let outputs = [merged];
    assert!(!catalog.replace(&both, &outputs, merge, T0).await.expect("answers"));
    assert!(catalog.heal(id).await.expect("answers"));
    assert!(catalog.replace(&both, &outputs, merge, T0).await.expect("answers"));
    assert_eq!(catalog.damaged().await.expect("finds"), []);
    assert!(!catalog.quarantine(id, "is retired").await.expect("answers"));
}

async fn files_that_contradict_themselves_are_refused(place: Place) {
    let catalog = place.open().await;
    type Break = fn(&mut NewFile);
    let broken: [(Break, &str); 7] = [
        (|it| it.spans.clear(), "no span"),
        (|it| it.spans = vec![(T0, T0)], "empty"),
        (|it| it.spans = vec![(T0 + 2 * DAY, T0 + 2 * DAY + 1)], "away from its bucket"),
        (|it| it.services.clear(), "no service"),
        (|it| it.services.push(it.services[0].clone()), "twice"),
        (|it| it.service = Some("z".to_owned()), "another"),
        (|it| it.services[0].service.push('\0'), "NUL"),
    ];
    for (break_it, why) in broken {
        let mut files = [file(Level::Fine, T0, &["a"]), file(Level::Fine, T0, &["a"])];
        break_it(&mut files[1]);
        let batch = [delivery(InstanceId::random(), 1)];
        let error = catalog.commit(&files, &batch, T0).await.expect_err(why);
        assert!(matches!(error, CatalogError::Refused(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains(why) && said.contains(&files[1].id.to_string()), "{said}");
    }
    assert_eq!(live(&catalog, Level::Fine).await, []);
}

async fn status_counts_each_sample_once(place: Place) {
    let catalog = place.open().await;
    assert_eq!(catalog.status().await.expect("reads").window, None);
    let fine = [file(Level::Fine, T0, &["a"]), file(Level::Fine, T0 + HOUR, &["a"])];
    let batches = [delivery(InstanceId::random(), 1), delivery(InstanceId::random(), 1)];
    catalog.commit(&fine, &batches, T0).await.expect("commits");
    let hourly = [file(Level::Hourly, T0, &["a"])];
    assert!(catalog.replace(&[fine[0].id], &hourly, Replace::Roll, T0).await.expect("rolls"));
    let status = catalog.status().await.expect("reads");
    assert_eq!((status.files, status.batches, status.samples, status.bytes), (3, 2, 20, 300));
    assert_eq!(status.window, Some((T0, T0 + HOUR + SECOND)));
    let levels: Vec<_> = status
        .levels
        .iter()
        .map(|it| (it.level, it.files, it.rolled, it.samples, it.bytes))
        .collect();
    let expected =
        [(Level::Fine, 2, 1, 20, 200), (Level::Hourly, 1, 0, 10, 100), (Level::Daily, 0, 0, 0, 0)];
    assert_eq!(levels, expected);
    catalog.quarantine(hourly[0].id, "is gone").await.expect("notes");
    let status = catalog.status().await.expect("reads");
    assert_eq!((status.damaged, status.samples, status.files), (1, 10, 3));
    let found = HashSet::from([fine[0].id, fine[1].id, hourly[0].id]);
    let mut asked: Vec<_> = found.iter().copied().collect();
    asked.push(FileId::random());
    assert_eq!(catalog.known(&asked).await.expect("answers"), found);
}

/// Check, at compile time, that tasks of any thread may use a catalog.
#[tokio::test]
async fn futures_may_move_between_threads() {
    fn sent(_: impl Send) {}
    let place = Place::sqlite();
    let catalog = place.open().await;
    let query =
        FileQuery { level: Some(Level::Fine), range: (0, 1), service: None, rolled: Rolled::Any };
    sent((catalog.commit(&[], &[], 0), catalog.contains(&[]), catalog.files(&query)));
    sent((catalog.damaged(), catalog.replace(&[], &[], Replace::Roll, 0), catalog.known(&[])));
    sent((catalog.expire(Level::Fine, Expire::Service("a"), 0, 0), catalog.retire_until(0, 0)));
    sent((catalog.retired(0, 0), catalog.forget(&[]), catalog.heal(FileId::random())));
    sent((catalog.quarantine(FileId::random(), ""), catalog.lease("", "", Duration::ZERO, 0)));
    sent((
        catalog.latest_instances(10_000),
        catalog.lossy_instances(EVER),
        catalog.status(),
        catalog.check(),
    ));
    sent((catalog.services(Level::Fine, (0, 1)), Catalog::open(&place.url), catalog.close()));
}
