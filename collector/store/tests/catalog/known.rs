//! What was found before is found again as long as it is so, and no longer.

use fleetprof_store::{
    Blob, Catalog, DAY, Expire, FileId, FileQuery, FunctionFile, HOUR, Level, NewFunctions,
    Replace, Rolled,
};

use crate::fixture::{Place, T0, file, ids, on_both};

on_both!(known_files_are_those_there_are);

/// Each kind of query, of the first day and of all.
fn queries() -> Vec<FileQuery<'static>> {
    let mut queries = Vec::new();
    for level in [None, Some(Level::Fine), Some(Level::Daily)] {
        for range in [(T0, T0 + DAY), (i64::MIN, i64::MAX)] {
            for service in [None, Some("a"), Some("b"), Some("none")] {
                for rolled in [Rolled::Any, Rolled::Only(false), Rolled::Only(true), Rolled::NoFine]
                {
                    queries.push(FileQuery { level, range, service, rolled });
                }
            }
        }
    }
    queries
}

async fn check(catalog: &Catalog, after: &str) {
    for query in queries() {
        let files = catalog.files(&query).await.expect("finds");
        for _ in 0..2 {
            let known = catalog.known_files(&query).await.expect("finds");
            assert_eq!(*known, *files, "after {after}: {query:?}");
        }
    }
}

/// Check that each change of files is seen at once: by the catalog that made it, and by another collector's.
async fn known_files_are_those_there_are(place: Place) {
    let (catalog, other) = (place.open().await, place.open().await);
    let look = async |after: &str| {
        check(&catalog, after).await;
        check(&other, after).await;
    };
    look("nothing").await;
    let fine: Vec<_> =
        (0..3).map(|hour| file(Level::Fine, T0 + hour * HOUR, &["a", "b"])).collect();
    catalog.commit(&fine, &[], T0).await.expect("commits");
    look("a commit").await;
    let a = file(Level::Hourly, T0, &["a"]);
    let b = file(Level::Hourly, T0, &["b"]);
    let rolled = catalog.replace(&[fine[0].id], &[a.clone(), b], Replace::Roll, T0 + 1).await;
    assert!(rolled.expect("rolls"));
    look("rolling").await;
    assert!(catalog.quarantine(fine[1].id, "is gone").await.expect("answers"));
    look("damage").await;
    assert!(catalog.heal(fine[1].id).await.expect("answers"));
    look("healing").await;
    let functions = |covers| {
        let blob = Blob { path: "functions".to_owned(), bytes: 1, crc32c: 1 };
        let file = FunctionFile { id: FileId::random(), blob, end: 1, covers };
        NewFunctions { file, level: Level::Hourly, bucket: T0, missing: Vec::new() }
    };
    for covers in 1..3 {
        assert!(catalog.add_functions(&functions(covers), &[a.id], T0).await.expect("adds"));
        look("functions").await;
    }
    let daily = file(Level::Daily, T0, &["a"]);
    assert!(catalog.replace(&[a.id], &[daily], Replace::Roll, T0 + 2).await.expect("rolls"));
    look("rolling again").await;
    let expired = catalog.expire(Level::Hourly, Expire::Except(&[]), T0 + DAY, T0 + 3).await;
    assert!(expired.expect("expires") > 0);
    look("expiry").await;
    let query =
        FileQuery { level: None, range: (T0, T0 + DAY), service: None, rolled: Rolled::Any };
    assert!(!ids(&other.known_files(&query).await.expect("finds")).contains(&a.id));
}
