//! Values of labels by service and day.

use std::collections::BTreeSet;

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{Committed, DAY, Expire, FileId, HOUR, LabelValue, Level, Replace};

use crate::fixture::{Place, T0, delivery, file, ids, on_both};

on_both!(
    values_are_found_by_service_and_day,
    values_come_with_their_files_or_not_at_all,
    many_may_write_the_same_values,
    merged_files_are_as_their_inputs_were,
);

fn value(service: &str, day: i64, value: &str) -> LabelValue {
    let (service, name) = (service.to_owned(), "host".to_owned());
    LabelValue { service, name, day: T0 + day * DAY, value: value.to_owned() }
}

async fn values_are_found_by_service_and_day(place: Place) {
    let catalog = place.open().await;
    assert_eq!(catalog.first_fine().await.expect("answers"), None);
    let files = [
        file(Level::Fine, T0 + HOUR, &["a"]),
        file(Level::Fine, T0 + DAY, &["a"]),
        file(Level::Hourly, T0, &["a"]),
    ];
    let values: BTreeSet<_> = [
        value("a", 0, "h1"),
        value("", 0, "h1"),
        value("a", 1, "h1"),
        value("a", 1, "ä2"),
        value("b", 1, "h3"),
        LabelValue { name: "pod".to_owned(), ..value("a", 1, "p") },
    ]
    .into();
    let labelled = |id: FileId| id == files[0].id;
    let done = catalog.commit_labelled(&files, &[], &values, labelled, T0).await;
    assert_eq!(done.expect("commits"), Committed::Done);
    for (service, name, days, expected) in [
        ("a", "host", (0, 1), vec!["h1", "ä2"]),
        ("a", "host", (0, 0), vec!["h1"]),
        ("a", "host", (1, 9), vec!["h1", "ä2"]),
        ("a", "pod", (0, 1), vec!["p"]),
        ("a", "node", (0, 1), vec![]),
        ("b", "host", (0, 1), vec!["h3"]),
        ("", "host", (0, 1), vec!["h1"]),
        ("a", "host", (2, 3), vec![]),
    ] {
        let days = (T0 + days.0 * DAY, T0 + days.1 * DAY);
        let found = catalog.label_values(service, name, days).await.expect("answers");
        assert_eq!(found, expected, "{service} {name} {days:?}");
    }
    let unlabelled = async |range| ids(&catalog.unlabelled(range).await.expect("answers"));
    assert_eq!(unlabelled((T0, T0 + 2 * DAY)).await, [files[1].id], "fine files only");
    assert!(unlabelled((T0, T0 + DAY)).await.is_empty());
    assert_eq!(catalog.first_fine().await.expect("answers"), Some(T0 + HOUR));
    let asked: BTreeSet<_> = values.iter().cloned().chain([value("b", 0, "h3")]).collect();
    let lacking = catalog.lacking_labels(&asked).await.expect("answers");
    assert_eq!(lacking, [value("b", 0, "h3")].into(), "it is of the next day");
    assert!(catalog.is_labelled(files[0].id).await.expect("answers"));
    assert!(!catalog.is_labelled(files[1].id).await.expect("answers"));

    let forget = async |before| catalog.forget_labels(before).await.expect("answers");
    assert_eq!(forget(T0 + 9 * DAY).await, 0, "there are files of both days");
    let hourly = file(Level::Hourly, T0 + HOUR, &["a"]);
    let rolled = catalog.replace(&[files[0].id], &[hourly], Replace::Roll, T0).await;
    assert!(rolled.expect("rolls"));
    let expired = catalog.expire(Level::Fine, Expire::Except(&[]), i64::MAX, T0).await;
    assert_eq!(expired.expect("expires"), 1);
    assert_eq!((forget(T0).await, forget(T0 + 9 * DAY).await), (0, 2));
    assert!(!catalog.is_labelled(files[0].id).await.expect("answers"), "it is retired");
    let left = catalog.label_values("a", "host", (T0, T0 + DAY)).await.expect("answers");
    assert_eq!(left, ["h1", "ä2"], "of the second day");
}

async fn values_come_with_their_files_or_not_at_all(place: Place) {
    let catalog = place.open().await;
    let delivered = [delivery(InstanceId::random(), 1)];
    catalog.commit(&[file(Level::Fine, T0, &["a"])], &delivered, T0).await.expect("commits");
    let values = [value("a", 0, "h1")].into();
    let again = [file(Level::Fine, T0, &["a"])];
    let committed = catalog.commit_labelled(&again, &delivered, &values, |_| true, T0).await;
    assert!(matches!(committed, Ok(Committed::Duplicates(_))), "{committed:?}");
    assert!(catalog.label_values("a", "host", (T0, T0)).await.expect("answers").is_empty());
}

async fn many_may_write_the_same_values(place: Place) {
    let catalog = place.open().await;
    let commits = (0..8).map(|number| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            for round in 0..5 {
                let values = (0..200).map(|host| value("a", (host + round) % 3, &host.to_string()));
                let values = values.chain([value("b", 0, &number.to_string())]).collect();
                let files = [file(Level::Fine, T0, &["a"])];
                catalog.commit_labelled(&files, &[], &values, |_| true, T0).await.expect("commits");
            }
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.expect("no panic");
    }
    let days = (T0, T0 + 2 * DAY);
    assert_eq!(catalog.label_values("a", "host", days).await.expect("answers").len(), 200);
    assert_eq!(catalog.label_values("b", "host", days).await.expect("answers").len(), 8);
}

/// Check that a file made of fine files has all its values known if all of them had, and that others are found
/// by those who write them later.
async fn merged_files_are_as_their_inputs_were(place: Place) {
    let catalog = place.open().await;
    let files: Vec<_> = (0..4).map(|_| file(Level::Fine, T0, &["a"])).collect();
    let labelled = |id: FileId| files[..3].iter().any(|file| file.id == id);
    let values = [value("a", 0, "h1")].into();
    catalog.commit_labelled(&files, &[], &values, labelled, T0).await.expect("commits");
    let merge = async |inputs: &[FileId]| {
        let mut merged = file(Level::Fine, T0, &["a"]);
        merged.services[0].samples = 20;
        let how = Replace::Merge { rolled: false };
        let done = catalog.replace(inputs, &[merged.clone()], how, T0).await;
        assert!(done.expect("merges"));
        merged.id
    };
    merge(&[files[0].id, files[1].id]).await;
    let half = merge(&[files[2].id, files[3].id]).await;
    let range = (T0, T0 + HOUR);
    assert_eq!(ids(&catalog.unlabelled(range).await.expect("answers")), [half]);
    assert_eq!(ids(&catalog.to_label(10).await.expect("answers")), [half]);
    catalog.add_labels(&values, &[], &[half]).await.expect("writes");
    assert!(catalog.to_label(10).await.expect("answers").is_empty(), "there are too many");
    assert_eq!(ids(&catalog.unlabelled(range).await.expect("answers")), [half]);
    catalog.add_labels(&values, &[half], &[]).await.expect("writes");
    assert!(catalog.unlabelled(range).await.expect("answers").is_empty());
}
