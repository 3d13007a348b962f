//! Functions files are checked as pairs are, and nothing is lost with them.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fleetprof_store::{
    Blob, FileId, FindingKind, FsckOptions, FunctionFile, FunctionTable, NewFunctions,
    ProfileStore, Retention, encode_functions,
};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use super::{catalog, check, fast, full, kinds, rows};
use crate::{
    fixture::Place,
    functions::{Tables, merge, merged},
};

fn repairing() -> FsckOptions {
    FsckOptions { repair: true, ..full() }
}

/// The functions files that pairs name.
async fn named(store: &ProfileStore) -> Vec<Arc<FunctionFile>> {
    let mut files: Vec<_> = rows(store).await.into_iter().filter_map(|row| row.functions).collect();
    files.sort_by_key(|file| file.id);
    files.dedup();
    files
}

fn make_old(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(7200);
    let file = fs::File::options().append(true).open(path).expect("opens");
    file.set_modified(old).expect("set");
}

/// Check that each kind of damage is named as what it is, and that a file is given up on request, made
/// again, and no finding any more.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_ones_are_found_and_made_again() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, ..) = merged(&place, &namer).await;
    let files = named(&store).await;
    for options in [full(), fast(), repairing()] {
        let found = check(&store, &options).await;
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.functions, found.young), (28, 0), "26 hours and 2 days");
    }

    let path = |n: usize| place.profiles().join(&files[n].blob.path);
    fs::remove_file(path(0)).expect("removed");
    let bytes = fs::read(path(1)).expect("reads");
    fs::write(path(1), &bytes[1..]).expect("written");
    let mut bytes = fs::read(path(2)).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path(2), bytes).expect("written");
    let found = check(&store, &fast()).await;
    assert_eq!(kinds(&found), [FindingKind::Missing, FindingKind::Size]);
    let found = check(&store, &full()).await;
    assert_eq!(kinds(&found), [FindingKind::Missing, FindingKind::Size, FindingKind::Checksum]);
    for (finding, file) in found.findings.iter().zip(&files) {
        assert_eq!((&finding.place, &finding.id), (&file.blob.path, &Some(file.id.to_string())));
        assert!(!finding.quarantined && !finding.repaired);
    }
    assert_eq!(named(&store).await, files, "nothing was asked to be changed");

    let found = check(&store, &repairing()).await;
    assert!(found.findings.len() == 3 && found.findings.iter().all(|it| it.repaired), "{found:?}");
    assert_eq!(named(&store).await, files[3..]);
    assert!(check(&store, &full()).await.is_clean(), "nobody reads them any more");
    assert_eq!(merge(&store, &namer).await, 3);
    let before = check(&store, &full()).await;
    assert!(before.is_clean(), "{before:?}");

    // Those that were given up are retired, then removed.
    let retention = Retention { grace: Duration::from_secs(3600), ..Retention::default() };
    store.retain(&retention).await.expect("removes");
    let found = check(&store, &full()).await;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((before.functions, found.functions), (31, 28));
    assert_eq!(found.retired - before.retired, 2, "one of three is gone already");
}

/// Check that a file that is none, or that says something else than its pairs, is found.
#[tokio::test(flavor = "multi_thread")]
async fn other_contents_are_found() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, ..) = merged(&place, &namer).await;
    let row = rows(&store).await.into_iter().find(|row| row.functions.is_some());
    let row = row.expect("there are functions");
    let nothing = |id| encode_functions(id, FunctionTable::default()).expect("can be stored");
    let (id, other) = (FileId::random(), FileId::random());
    let garbage = b"PAR1 no file PAR1".to_vec();
    for (id, bytes, end, kind, why) in [
        (FileId::random(), garbage, 12, FindingKind::Undecodable, "footer"),
        (id, nothing(id).bytes.to_vec(), nothing(id).end, FindingKind::Contents, "0 samples"),
        (other, nothing(id).bytes.to_vec(), nothing(id).end, FindingKind::Contents, "it is the"),
    ] {
        let path = format!("functions/2026-01-01/{id}.functions.parquet");
        let on_disk = place.profiles().join(&path);
        fs::create_dir_all(on_disk.parent().expect("below")).expect("made");
        fs::write(on_disk, &bytes).expect("written");
        let blob = Blob { path, bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        let new = NewFunctions {
            file: FunctionFile { id, blob, end, covers: 1 },
            level: row.file.level,
            bucket: row.file.bucket,
            missing: Vec::new(),
        };
        // It takes the place of the one before.
        let catalog = catalog(&place).await;
        assert!(catalog.add_functions(&new, &[row.file.id], 1).await.expect("adds"));
        let found = check(&store, &full()).await;
        assert_eq!(kinds(&found), [kind], "{found:?}");
        assert!(found.findings[0].what.contains(why), "{found:?}");
        assert!(check(&store, &fast()).await.is_clean());
    }
}

/// Check that files that nobody knows are named when they are old, copies of known ones among them.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_named() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, ..) = merged(&place, &namer).await;
    let dir = place.profiles().join("functions/2026-01-01");
    fs::create_dir_all(&dir).expect("made");
    let known = named(&store).await[0].blob.path.clone();
    let copy = dir.join(known.rsplit('/').next().expect("a name"));
    fs::copy(place.profiles().join(&known), &copy).expect("copied");
    let (old, young) = ("0000000000000001.functions.parquet", "0000000000000002.functions.parquet");
    fs::write(dir.join(old), b"x").expect("written");
    fs::write(dir.join(young), b"x").expect("written");
    make_old(&copy);
    make_old(&dir.join(old));
    for options in [full(), fast(), repairing()] {
        let found = check(&store, &options).await;
        assert_eq!((kinds(&found), found.young), (vec![FindingKind::Orphan; 2], 1), "{found:?}");
    }
    assert!(copy.exists() && dir.join(old).exists(), "nothing is deleted");
}

/// Check that pairs that name a functions file which the catalog lost are found, and get another one.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_name_what_is_not_known_are_found() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, ..) = merged(&place, &namer).await;
    let lost = named(&store).await[0].clone();
    let pairs = rows(&store).await;
    let pairs: Vec<_> = pairs.iter().filter(|row| row.functions.as_ref() == Some(&lost)).collect();
    assert!(pairs.len() > 1, "one stands for two services");
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", place.dir.path().join("catalog.sqlite").display());
    let mut connection = AnyConnection::connect(&url).await.expect("connects");
    let number = i64::from_str_radix(&lost.id.to_string(), 16).expect("a number");
    let statement = format!("DELETE FROM function_files WHERE id = {number}");
    let deleted = sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await;
    assert_eq!(deleted.expect("deletes").rows_affected(), 1);
    connection.close().await.expect("closes");

    assert_eq!(merge(&store, &namer).await, 0, "nobody notices by itself");
    for options in [full(), fast(), repairing()] {
        let found = check(&store, &options).await;
        assert_eq!(kinds(&found), vec![FindingKind::Dangling; pairs.len()], "{found:?}");
        assert!(found.findings.iter().all(|it| it.what.contains(&lost.id.to_string())));
        assert!(found.findings.iter().all(|it| it.repaired == options.repair));
    }
    assert!(check(&store, &full()).await.is_clean());
    assert_eq!(merge(&store, &namer).await, 1);
    assert!(check(&store, &full()).await.is_clean());
}
