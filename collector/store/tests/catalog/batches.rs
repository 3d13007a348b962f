//! Batches are taken over once, whoever brings them how often.

use std::{collections::HashSet, sync::Arc};

use fleetprof_proto::{
    ids::{BatchId, InstanceId},
    v1,
};
use fleetprof_store::{Catalog, CatalogError, Committed, Delivery, Level};
use tokio::task::JoinSet;

use crate::fixture::{EVER, Place, SECOND, T0, delivery, file, ids, live, on_both};

on_both!(
    a_resend_changes_nothing,
    two_collectors_with_the_same_batches_make_one,
    counters_are_those_of_the_highest_sequence,
    what_was_committed_is_there_after_a_restart,
    more_than_one_statement_can_hold,
    numbers_that_do_not_fit_are_refused_with_their_batch,
    instances_that_lost_nothing_are_not_asked_for_losses,
    instances_of_long_ago_are_forgotten,
);

fn duplicates(committed: Committed) -> Vec<BatchId> {
    match committed {
        Committed::Done => panic!("it is said to be new"),
        Committed::Duplicates(ids) => ids,
    }
}

/// Check that a commit with one known batch leaves no trace: no file, no other batch, no instance.
async fn a_resend_changes_nothing(place: Place) {
    let catalog = place.open().await;
    let (one, other) = (InstanceId::random(), InstanceId::random());
    let first = [file(Level::Fine, T0, &["a"])];
    let done = catalog.commit(&first, &[delivery(one, 1)], T0).await.expect("commits");
    assert_eq!(done, Committed::Done);
    let before =
        (live(&catalog, Level::Fine).await, catalog.latest_instances(10_000).await.expect("reads"));

    let mixed = [delivery(other, 1), delivery(one, 2), delivery(one, 1)];
    let again = catalog.commit(&[file(Level::Fine, T0, &["a"])], &mixed, T0).await;
    assert_eq!(duplicates(again.expect("answers")), [delivery(one, 1).id]);
    let twice = [delivery(other, 7), delivery(other, 7), delivery(other, 7)];
    let again = catalog.commit(&[file(Level::Fine, T0, &["a"])], &twice, T0).await;
    assert_eq!(duplicates(again.expect("answers")), [delivery(other, 7).id]);

    let after =
        (live(&catalog, Level::Fine).await, catalog.latest_instances(10_000).await.expect("reads"));
    assert_eq!(before, after);
    let asked = [delivery(one, 1).id, delivery(one, 2).id, delivery(other, 7).id];
    let there = catalog.contains(&asked).await.expect("answers");
    assert_eq!(there, HashSet::from([delivery(one, 1).id]));
}

/// Check that many tasks on two catalogs (two processes, as far as the database knows) that bring
/// overlapping sets of batches of the same instances, new ones among them, take each over once: what
/// was done is what is counted, and files and instances agree.
async fn two_collectors_with_the_same_batches_make_one(place: Place) {
    const INSTANCES: usize = 6;
    const SEQUENCES: u64 = 12;
    let catalogs = [place.open().await, place.open().await];
    let instances: Arc<Vec<_>> = Arc::new((0..INSTANCES).map(|_| InstanceId::random()).collect());
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (catalog, instances) = (catalogs[task % 2].clone(), instances.clone());
        tasks.spawn(async move { bring(&catalog, &instances, SEQUENCES).await });
    }
    let done: u64 = tasks.join_all().await.iter().sum();
    let all = INSTANCES as u64 * SEQUENCES;
    assert_eq!(done, all, "batches are said to be taken over");
    let status = catalogs[0].status().await.expect("reads");
    assert_eq!((status.batches, status.samples), (all, all * 10));
    for instance in catalogs[1].latest_instances(10_000).await.expect("reads") {
        assert_eq!((instance.batches, instance.samples), (SEQUENCES, SEQUENCES * 10));
        assert_eq!(instance.host, format!("host{SEQUENCES}"));
        assert_eq!(instance.window, (T0 + SECOND, T0 + (SEQUENCES as i64 + 1) * SECOND));
    }
}

/// Commits batches of all instances in random groups until none is new; gives how many were taken.
async fn bring(catalog: &Catalog, instances: &[InstanceId], sequences: u64) -> u64 {
    let every = |instance: &InstanceId| {
        let instance = *instance;
        (1..=sequences).map(move |it| delivery(instance, it))
    };
    let mut left: Vec<_> = instances.iter().flat_map(every).collect();
    fastrand::shuffle(&mut left);
    let mut taken = 0;
    while !left.is_empty() {
        let group: Vec<_> = left.iter().take(fastrand::usize(1..=9)).cloned().collect();
        let mut holds = file(Level::Fine, T0, &["a"]);
        holds.batches = group.len() as u64;
        holds.services[0].samples = 10 * group.len() as u64;
        let known: HashSet<_> = match catalog.commit(&[holds], &group, T0).await.expect("commits") {
            Committed::Done => {
                taken += group.len() as u64;
                group.iter().map(|it| it.id).collect()
            }
            Committed::Duplicates(ids) => ids.into_iter().collect(),
        };
        left.retain(|it| !known.contains(&it.id));
    }
    taken
}

async fn counters_are_those_of_the_highest_sequence(place: Place) {
    let catalog = place.open().await;
    let instance = InstanceId::random();
    for sequences in [&[5, 3][..], &[4], &[9, 7]] {
        let batches: Vec<_> = sequences.iter().map(|it| delivery(instance, *it)).collect();
        catalog.commit(&[file(Level::Fine, T0, &["a"])], &batches, T0).await.expect("commits");
    }
    let [kept] = &catalog.latest_instances(10_000).await.expect("reads")[..] else {
        panic!("one instance")
    };
    assert_eq!((kept.samples, kept.batches, &*kept.host), (50, 5, "host9"));
    assert_eq!((kept.accounting.taken, &*kept.agent_version), (90, "1.2.3"));
    assert_eq!(kept.window, (T0 + 3 * SECOND, T0 + 10 * SECOND));
}

async fn instances_that_lost_nothing_are_not_asked_for_losses(place: Place) {
    let catalog = place.open().await;
    let counter = |value| vec![v1::CounterByName { name: "queue_full".to_owned(), value }];
    let lost = async |batch: &Delivery, dropped, recovered_dropped| {
        let accounting = v1::Accounting { dropped, recovered_dropped, ..batch.accounting.clone() };
        let batches = [Delivery { accounting, ..batch.clone() }];
        let holds = [file(Level::Fine, T0, &["a"])];
        assert_eq!(catalog.commit(&holds, &batches, T0).await.expect("commits"), Committed::Done);
        let lossy = catalog.lossy_instances(EVER).await.expect("reads");
        lossy.into_iter().map(|it| it.instance).collect::<Vec<_>>()
    };
    let [one, other] = [InstanceId::random(), InstanceId::random()];
    assert_eq!(lost(&delivery(one, 1), vec![], vec![]).await, []);
    assert_eq!(lost(&delivery(other, 1), counter(0), counter(3)).await, [other]);
    assert_eq!(lost(&delivery(other, 2), counter(0), counter(0)).await, []);
    assert_eq!(lost(&delivery(one, 3), counter(1), vec![]).await, [one]);
    // A batch from before tells nothing new, and other times are not asked about.
    assert_eq!(lost(&delivery(one, 2), vec![], vec![]).await, [one]);
    for (range, found) in [
        ((T0, T0 + SECOND), 0),
        ((T0, T0 + SECOND + 1), 1),
        ((T0 + 4 * SECOND - 1, T0 + 9 * SECOND), 1),
        ((T0 + 4 * SECOND, T0 + 9 * SECOND), 0),
    ] {
        assert_eq!(catalog.lossy_instances(range).await.expect("reads").len(), found, "{range:?}");
    }
    assert_eq!(catalog.latest_instances(10_000).await.expect("reads").len(), 2);
    let latest = catalog.latest_instances(1).await.expect("reads");
    assert_eq!(latest.iter().map(|it| it.instance).collect::<Vec<_>>(), [one]);
    let latest = catalog.latest_instances(9).await.expect("reads");
    assert_eq!(latest.iter().map(|it| it.instance).collect::<Vec<_>>(), [one, other]);
}

async fn instances_of_long_ago_are_forgotten(place: Place) {
    let catalog = place.open().await;
    let [old, new] = [InstanceId::random(), InstanceId::random()];
    let batches = [delivery(old, 1), delivery(new, 1), delivery(new, 5)];
    catalog.commit(&[file(Level::Fine, T0, &["a"])], &batches, T0).await.expect("commits");
    assert_eq!(catalog.forget_instances(T0 + 2 * SECOND).await.expect("forgets"), 0);
    assert_eq!(catalog.forget_instances(T0 + 2 * SECOND + 1).await.expect("forgets"), 1);
    let left = catalog.latest_instances(10_000).await.expect("reads");
    assert_eq!(left.iter().map(|it| (it.instance, it.batches)).collect::<Vec<_>>(), [(new, 2)]);
    let there = catalog.contains(&batches.map(|it| it.id)).await.expect("answers");
    assert_eq!(there, HashSet::from([delivery(new, 1).id, delivery(new, 5).id]));
}

async fn what_was_committed_is_there_after_a_restart(place: Place) {
    let catalog = place.open().await;
    let instance = InstanceId::random();
    let mut written = file(Level::Fine, T0, &["a", "b"]);
    written.spans = vec![(T0 - 1, T0), (T0 + SECOND, T0 + 2 * SECOND)];
    let files = [written];
    catalog.commit(&files, &[delivery(instance, 1)], T0 + 7).await.expect("commits");
    catalog.close().await;

    let catalog = place.open().await;
    let found = live(&catalog, Level::Fine).await;
    assert_eq!(found.len(), 1);
    assert_eq!(*found[0].file, files[0]);
    assert_eq!((found[0].created, found[0].rolled, &found[0].damaged), (T0 + 7, false, &None));
    let again = catalog.commit(&files, &[delivery(instance, 1)], T0).await.expect("answers");
    assert_eq!(duplicates(again), [delivery(instance, 1).id]);
}

/// Check that commits and questions larger than the limits of parameters work: of files, of services,
/// of instances.
async fn more_than_one_statement_can_hold(place: Place) {
    let catalog = place.open().await;
    let batches: Vec<_> = (0..4_000).map(|_| delivery(InstanceId::random(), 1)).collect();
    let names: Vec<_> = (0..4).map(|it| format!("service{it}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let files: Vec<_> = (0..2_000).map(|_| file(Level::Fine, T0, &names)).collect();
    let done = catalog.commit(&files, &batches, T0).await.expect("commits");
    assert_eq!(done, Committed::Done);
    let found = live(&catalog, Level::Fine).await;
    let written: HashSet<_> = files.iter().map(|file| file.id).collect();
    assert_eq!(ids(&found).into_iter().collect::<HashSet<_>>(), written);
    assert!(found.iter().all(|row| row.file.services.len() == 4));
    assert_eq!(catalog.latest_instances(10_000).await.expect("reads").len(), batches.len());
    let mut asked: Vec<_> = (0..40_000).map(|_| delivery(InstanceId::random(), 1).id).collect();
    asked.extend(batches.iter().map(|it| it.id));
    assert_eq!(catalog.contains(&asked).await.expect("answers").len(), batches.len());
}

async fn numbers_that_do_not_fit_are_refused_with_their_batch(place: Place) {
    let catalog = place.open().await;
    let mut huge = delivery(InstanceId::random(), 1);
    huge.samples = u64::MAX;
    let error = catalog.commit(&[], std::slice::from_ref(&huge), T0).await.expect_err("refused");
    assert!(matches!(error, CatalogError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains(&huge.id.to_string()), "{error}");
    assert_eq!(catalog.latest_instances(10_000).await.expect("reads"), []);
    // A sequence is not stored as a number: any will do.
    let last = delivery(huge.id.instance, 1).id;
    let mut odd = delivery(last.instance, 1);
    odd.id.sequence = u64::MAX;
    odd.host = "a\0b".to_owned();
    catalog.commit(&[], std::slice::from_ref(&odd), T0).await.expect("commits");
    assert!(catalog.contains(&[odd.id]).await.expect("answers").contains(&odd.id));
    assert_eq!(catalog.latest_instances(10_000).await.expect("reads")[0].host, "a\u{fffd}b");
}
