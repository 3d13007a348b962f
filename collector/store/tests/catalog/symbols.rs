//! Symbol tables that collectors share: the better one stays, everybody learns of changes, unused ones go.

use std::{collections::HashSet, time::Duration};

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectId, ObjectKind};
use fleetprof_store::{Blob, Catalog, FileId, SymbolContent, SymbolCursor, SymbolTable};
use tokio::task::JoinSet;

use crate::fixture::{Place, SECOND, T0, on_both};

on_both!(
    a_worse_table_never_replaces_a_better_one,
    of_many_that_publish_at_once_the_best_stays,
    every_change_is_seen_once,
    unused_tables_go,
    a_table_that_is_given_up_makes_room_for_another,
    leases_are_taken_together,
    leases_taken_at_once_have_one_holder_each,
);

const DAY0: i64 = 20_000;

fn object(number: u32) -> ObjectId {
    let bytes = [number.to_be_bytes(); 5].concat();
    let build_id = BuildId::new(BuildIdKind::Gnu, &bytes).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

pub(crate) fn table(number: u32, merit: u32, converter: u32) -> SymbolTable {
    let id = FileId::random();
    let blob = Blob { path: format!("symbols/{id}.symtab"), bytes: 100, crc32c: u32::MAX };
    SymbolTable {
        id,
        object: object(number),
        content: SymbolContent::Table(blob),
        merit,
        level: 2,
        converter,
        used: DAY0,
        retired: false,
    }
}

/// All live tables, as somebody learns of them who knows nothing.
async fn live(catalog: &Catalog) -> Vec<SymbolTable> {
    let (changes, _) = catalog.symbol_changes(SymbolCursor::default(), 1000).await.expect("reads");
    let mut live: Vec<_> = changes.into_iter().filter(|table| !table.retired).collect();
    live.sort_by_key(|table| table.object.clone());
    live
}

async fn a_worse_table_never_replaces_a_better_one(place: Place) {
    let catalog = place.open().await;
    let publish =
        async |table: &SymbolTable| catalog.publish_symbols(table, T0).await.expect("answers");
    let none = SymbolTable {
        content: SymbolContent::None("it is no ELF\0 file".to_owned()),
        ..table(1, 0, 1)
    };
    assert!(publish(&none).await);
    let said = &live(&catalog).await[0];
    assert_eq!(said.content, SymbolContent::None("it is no ELF\u{fffd} file".to_owned()));
    assert_eq!((said.id, said.content.blob()), (none.id, None));
    let (first, better, newer) = (table(1, 3, 1), table(1, 4, 1), table(1, 4, 2));
    assert!(publish(&first).await);
    assert!(!publish(&table(1, 3, 1)).await, "as good");
    assert!(!publish(&table(1, 2, 9)).await, "worse, though newer");
    assert_eq!(live(&catalog).await, std::slice::from_ref(&first));
    assert!(publish(&better).await);
    assert!(publish(&newer).await);
    assert!(!publish(&better).await, "older");
    let listing =
        Blob { path: "symbols/listing".to_owned(), bytes: u64::from(u32::MAX), crc32c: 0 };
    let listing = SymbolTable { content: SymbolContent::Listing(listing), ..table(2, 1, 1) };
    assert!(publish(&listing).await);
    assert_eq!(live(&catalog).await, [newer.clone(), listing.clone()]);
    // What was replaced is removed in time, and not taken for a stranger's before that.
    let ids = [none.id, first.id, better.id, newer.id, listing.id];
    assert_eq!(catalog.known(&ids).await.expect("answers"), HashSet::from(ids));
    let retired = catalog.retired_symbols(T0 + 1, 10).await.expect("reads");
    let retired: HashSet<FileId> = retired.iter().map(|table| table.id).collect();
    assert_eq!(retired, HashSet::from([none.id, first.id, better.id]));
    assert_eq!(catalog.retired_symbols(T0, 10).await.expect("reads"), []);
    assert_eq!(catalog.forget_symbols(&ids).await.expect("forgets"), 3);
    assert_eq!(live(&catalog).await, [newer, listing]);
}

async fn of_many_that_publish_at_once_the_best_stays(place: Place) {
    let catalogs = [place.open().await, place.open().await];
    let mut tasks = JoinSet::new();
    for number in 0..40_u32 {
        let catalog = catalogs[number as usize % 2].clone();
        let table = table(number % 4, number * 7 % 40, 1);
        tasks.spawn(async move { catalog.publish_symbols(&table, T0).await.expect("answers") });
    }
    let published = tasks.join_all().await.into_iter().filter(|taken| *taken).count();
    let live = live(&catalogs[0]).await;
    for (number, table) in live.iter().enumerate() {
        let best = (0..40).filter(|it| it % 4 == number).map(|it| it * 7 % 40).max();
        assert_eq!(Some(table.merit as usize), best);
    }
    let retired = catalogs[1].retired_symbols(i64::MAX, 100).await.expect("reads").len();
    assert_eq!((live.len(), retired + 4), (4, published));
}

/// Check that one who reads changes as they come has in the end what is there, and has seen each table
/// in a live state at most once.
async fn every_change_is_seen_once(place: Place) {
    const TABLES: u32 = 100;
    let catalogs = [place.open().await, place.open().await];
    let mut writers = JoinSet::new();
    for (at, catalog) in catalogs.iter().cloned().enumerate() {
        writers.spawn(async move {
            for number in 0..TABLES {
                let table = table(number % 60, number + at as u32, 1);
                catalog.publish_symbols(&table, T0).await.expect("answers");
            }
        });
    }
    let reader = place.open().await;
    let (mut cursor, mut known, mut seen) =
        (SymbolCursor::default(), std::collections::BTreeMap::new(), HashSet::new());
    let mut last = false;
    loop {
        let (changes, next) = reader.symbol_changes(cursor, 7).await.expect("reads");
        if changes.is_empty() && last {
            break;
        }
        last = writers.is_empty();
        while writers.try_join_next().is_some() {}
        cursor = next;
        for table in changes {
            if table.retired {
                if known.get(&table.object).is_some_and(|it: &SymbolTable| it.id == table.id) {
                    known.remove(&table.object);
                }
            } else {
                assert!(seen.insert(table.id), "seen twice");
                known.insert(table.object.clone(), table);
            }
        }
    }
    assert_eq!(known.into_values().collect::<Vec<_>>(), live(&reader).await);
    let (changes, same) = reader.symbol_changes(cursor, 7).await.expect("reads");
    assert_eq!((changes, same), (Vec::new(), cursor));
}

async fn unused_tables_go(place: Place) {
    let catalog = place.open().await;
    for number in 0..2500 {
        catalog.publish_symbols(&table(number, 1, 1), T0).await.expect("answers");
    }
    let (_, cursor) = catalog.symbol_changes(SymbolCursor::default(), 5000).await.expect("reads");
    let used: Vec<_> = (0..2400).map(object).chain([object(9999)]).collect();
    let touch = async |day| catalog.use_symbols(&used, day).await.expect("notes");
    assert_eq!(touch(DAY0 + 2).await, 2400);
    assert_eq!(touch(DAY0 + 2).await, 0, "once a day");
    assert_eq!(touch(DAY0 + 1).await, 0, "a day goes by once");
    assert_eq!(catalog.use_symbols(&[], DAY0 + 9).await.expect("notes"), 0);
    let expire = async |day| catalog.expire_symbols(day, T0 + SECOND).await.expect("expires");
    assert_eq!(expire(DAY0).await, 0);
    assert_eq!(expire(i64::MIN).await, 0, "what is kept without an end");
    let (changes, cursor) = catalog.symbol_changes(cursor, 5000).await.expect("reads");
    assert_eq!(changes, [], "a use is no change");
    assert_eq!(expire(DAY0 + 1).await, 100);
    let (changes, _) = catalog.symbol_changes(cursor, 5000).await.expect("reads");
    assert_eq!((changes.len(), changes.iter().all(|table| table.retired)), (100, true));
    assert_eq!(touch(DAY0 + 3).await, 2400);
    // One that comes back begins anew.
    assert!(catalog.publish_symbols(&table(2450, 1, 1), T0).await.expect("answers"));
}

async fn a_table_that_is_given_up_makes_room_for_another(place: Place) {
    let catalog = place.open().await;
    let lost = table(1, 5, 2);
    assert!(catalog.publish_symbols(&lost, T0).await.expect("answers"));
    assert!(catalog.retire_symbols(lost.id, T0).await.expect("answers"));
    assert!(!catalog.retire_symbols(lost.id, T0).await.expect("answers"));
    assert!(!catalog.retire_symbols(FileId::random(), T0).await.expect("answers"));
    let worse = table(1, 1, 1);
    assert!(catalog.publish_symbols(&worse, T0).await.expect("answers"));
    assert_eq!(live(&catalog).await, [worse]);
}

async fn leases_are_taken_together(place: Place) {
    const TTL: Duration = Duration::from_secs(10);
    let catalog = place.open().await;
    let names = |range: std::ops::Range<u32>| -> Vec<String> {
        range.map(|number| format!("object/{number}")).collect()
    };
    let take = async |names: &[String], holder, now| {
        catalog.lease_all(names, holder, TTL, now).await.expect("answers").len()
    };
    assert_eq!(take(&names(0..1500), "a", T0).await, 1500);
    assert_eq!(take(&names(1000..2500), "b", T0).await, 1000);
    assert_eq!(take(&names(0..2500), "a", T0 + SECOND).await, 1500, "renewed");
    assert_eq!(take(&names(0..2500), "b", T0 + 10 * SECOND).await, 1000, "were renewed");
    assert_eq!(take(&names(0..1500), "b", T0 + 11 * SECOND).await, 1500, "have ended");
    assert_eq!(take(&[], "b", T0).await, 0);
    let twice = ["x".to_owned(), "x".to_owned()];
    assert_eq!(take(&twice, "b", T0).await, 1);
    catalog.release_all(&names(0..1200), "a").await.expect("answers");
    assert_eq!(take(&names(0..1), "a", T0 + 12 * SECOND).await, 0, "it was not a's any more");
    catalog.release_all(&names(0..1200), "b").await.expect("answers");
    assert_eq!(take(&names(0..1300), "a", T0 + 12 * SECOND).await, 1200);
    assert_eq!(catalog.forget_leases(T0 + 11 * SECOND).await.expect("forgets"), 1, "x");
    assert_eq!(catalog.forget_leases(i64::MAX).await.expect("forgets"), 2500);
}

/// Check that of collectors that want the same pieces of work in different orders each gets some, and
/// no piece has two.
async fn leases_taken_at_once_have_one_holder_each(place: Place) {
    let catalogs = [place.open().await, place.open().await, place.open().await];
    let mut tasks = JoinSet::new();
    for worker in 0..12_usize {
        let catalog = catalogs[worker % 3].clone();
        let mut names: Vec<String> = (0..300).map(|number| format!("object/{number}")).collect();
        fastrand::shuffle(&mut names);
        names.truncate(200);
        let holder = format!("worker {worker}");
        tasks.spawn(async move {
            let ttl = Duration::from_secs(10);
            catalog.lease_all(&names, &holder, ttl, T0).await.expect("answers")
        });
    }
    let granted = tasks.join_all().await;
    let all: HashSet<&String> = granted.iter().flatten().collect();
    assert_eq!(granted.iter().map(HashSet::len).sum::<usize>(), all.len());
}
