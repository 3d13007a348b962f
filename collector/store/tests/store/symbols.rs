//! Symbol tables in the store: what takes the place of another stays for a while, orphans are swept.

use std::{fs, time::Duration};

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectId, ObjectKind};
use fleetprof_store::{
    Ages, FsckOptions, NewSymbols, ProfileStore, Retention, SymbolContent, SymbolCursor,
    SymbolSource, SymbolTable,
};

use crate::fixture::{Place, files_below};

fn object() -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[1; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

async fn publish(
    store: &ProfileStore,
    source: SymbolSource<'_>,
    merit: u32,
) -> Option<SymbolTable> {
    let used = store.today();
    let new = NewSymbols { object: &object(), source, merit, level: 1, converter: 1, used };
    store.publish_symbols(&new).await.expect("publishes")
}

/// Check the life of a table: written, fetched, replaced, gone after the grace period; and that neither
/// the sweep nor fsck takes it for a stranger's.
#[tokio::test(flavor = "multi_thread")]
async fn tables_live_until_others_take_their_place() {
    let place = Place::new();
    let store = place.open().await;
    let file = place.dir.path().join("table");
    let files = || files_below(&place.profiles().join("symbols")).len();
    fs::write(&file, "first").expect("written");
    let first = publish(&store, SymbolSource::Table(&file), 1).await.expect("is the first");
    fs::write(&file, "second").expect("written");
    assert_eq!(publish(&store, SymbolSource::Table(&file), 1).await, None);
    assert_eq!(files(), 1, "what is not needed is not left there");
    let second = publish(&store, SymbolSource::Table(&file), 2).await.expect("is better");
    assert_eq!(files(), 2);

    let copy = place.dir.path().join("copy");
    for (table, text) in [(&first, "first"), (&second, "second")] {
        store.fetch_symbols(table, &copy).await.expect("is there");
        assert_eq!(fs::read_to_string(&copy).expect("read"), text);
        fs::remove_file(&copy).expect("removed");
    }
    assert_eq!(store.sweep(Duration::ZERO).await.expect("sweeps"), 0);
    let retention = Retention::default();
    assert_eq!(store.retain(&retention).await.expect("removes").symbols, 0);
    let retention = Retention { grace: Duration::ZERO, ..retention };
    assert_eq!(store.retain(&retention).await.expect("removes").symbols, 1);
    let error = store.fetch_symbols(&first, &copy).await.expect_err("is gone");
    assert!(error.is_damage(), "{error}");
    let _ = fs::remove_file(&copy);

    // A collector that died after it had written a file.
    let orphan = place.profiles().join("symbols/00/0000000000000001.symtab");
    fs::create_dir_all(orphan.parent().expect("it has one")).expect("made");
    fs::write(&orphan, "orphan").expect("written");
    let options = FsckOptions { fast: true, repair: false, orphan_age: Duration::ZERO };
    let found = store.fsck(&options, |_| {}).await.expect("checks");
    assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
    assert_eq!(store.sweep(Duration::ZERO).await.expect("sweeps"), 1);
    assert!(!orphan.exists());
    store.fetch_symbols(&second, &copy).await.expect("is still there");
}

/// Check that what no profile refers to goes when the oldest profiles have, and never when they stay.
#[tokio::test(flavor = "multi_thread")]
async fn tables_go_with_the_profiles() {
    let place = Place::new();
    let store = place.open().await;
    let file = place.dir.path().join("table");
    fs::write(&file, "table").expect("written");
    let table = publish(&store, SymbolSource::Listing(&file), 1).await.expect("is the first");
    assert!(matches!(table.content, SymbolContent::Listing(_)));
    let keep = |daily| {
        let ages = Ages { fine: Duration::ZERO, hourly: Duration::ZERO, daily };
        Retention { ages, grace: Duration::ZERO, ..Retention::default() }
    };
    let age = async |day: i64| {
        // As if its last use were so long ago.
        let catalog = store.catalog();
        catalog.expire_symbols(i64::MAX, 0).await.expect("expires");
        catalog.forget_symbols(&[table.id]).await.expect("forgets");
        let aged = SymbolTable { used: store.today() - day, ..table.clone() };
        assert!(catalog.publish_symbols(&aged, 0).await.expect("answers"));
    };
    let days = |days: u64| Duration::from_secs(days * 86_400);
    age(10).await;
    assert_eq!(store.retain(&keep(Duration::MAX)).await.expect("removes").symbols, 0);
    assert_eq!(store.retain(&keep(days(11))).await.expect("removes").symbols, 0);
    // What is retired is removed by a later round.
    assert_eq!(store.retain(&keep(days(9))).await.expect("removes").symbols, 0);
    assert_eq!(store.retain(&keep(days(9))).await.expect("removes").symbols, 1);
    let (changes, _) =
        store.catalog().symbol_changes(SymbolCursor::default(), 10).await.expect("reads");
    assert_eq!(changes, []);
    assert_eq!(files_below(&place.profiles().join("symbols")).len(), 0);
}
