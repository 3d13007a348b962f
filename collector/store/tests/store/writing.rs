//! What is acknowledged is there, once.

use std::collections::HashSet;

use fleetprof_proto::{
    batch::{BatchBuilder, Window},
    ids::{BatchId, InstanceId},
    v1::Accounting,
};
use fleetprof_store::{Appended, Blobs, Catalog, HOUR, ProfileStore, StoreError, Wanted};

use crate::fixture::{Place, SECOND, batch, files_below, new, past_day, sums, wish};

/// Check that of two collectors that are given the same batches at the same time each batch is kept by
/// one, whatever groups they come in, and that the files of those that were slower are removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_two_collectors_get_is_kept_once() {
    let place = Place::new();
    let day = past_day();
    let stores = [place.open().await, place.open().await, place.open().await];
    let instance = InstanceId::random();
    let tasks = stores.clone().map(|store| {
        tokio::spawn(async move {
            let mut kept = Vec::new();
            for group in 0..10_u64 {
                let sequences: Vec<u64> = (0..7).map(|n| group * 5 + n + 1).collect();
                let batches = sequences.iter().map(|n| {
                    batch(instance, *n, day + 10 * SECOND * i64::try_from(*n).expect("small"), "h")
                });
                let appended = store.append(batches.collect()).await.expect("appends");
                let stored = sequences.into_iter().zip(appended);
                kept.extend(stored.filter(|(_, it)| *it == Appended::Stored).map(|(n, _)| n));
            }
            kept
        })
    });
    let mut kept = Vec::new();
    for task in tasks {
        kept.extend(task.await.expect("ends"));
    }
    let distinct: HashSet<u64> = kept.iter().copied().collect();
    assert_eq!((kept.len(), distinct.len()), (52, 52));
    let (sums, _) = sums(&stores[0], &wish(day, day + HOUR), |_, _, _| String::new()).await;
    assert_eq!(sums[""].0, 52 * 7);
    let files = store_files(&stores[0]).await;
    assert_eq!(files_below(&place.profiles()).len(), 2 * files + 1, "and the store's mark");
}

async fn store_files(store: &ProfileStore) -> usize {
    store.files(None, (i64::MIN, i64::MAX)).await.expect("lists").len()
}

/// Check that a batch twice in one group, batches of different hours and a batch without samples are
/// kept, each once.
#[tokio::test(flavor = "multi_thread")]
async fn unusual_groups_are_kept() {
    let place = Place::new();
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    let window = Window { start_unix_nanos: day, end_unix_nanos: day + 1 };
    let empty = BatchBuilder::new().finish(window, [], Accounting::default());
    let group = || {
        vec![
            batch(instance, 1, day, "h"),
            batch(instance, 2, day + 30 * HOUR, "h"),
            batch(instance, 1, day, "h"),
            new(BatchId { instance, sequence: 3 }, empty.clone()),
        ]
    };
    use Appended::{Duplicate, Stored};
    let appended = store.append(group()).await.expect("appends");
    assert_eq!(appended, [Stored, Stored, Duplicate, Stored]);
    assert_eq!(store.append(group()).await.expect("appends"), [Duplicate; 4]);
    assert_eq!(store.append(Vec::new()).await.expect("appends"), []);
    assert_eq!(store_files(&store).await, 2);
    let instances = store.latest_instances(10).await.expect("lists");
    assert_eq!((instances[0].batches, instances[0].samples), (3, 14));
}

/// Check that a file that was changed or is gone is named, once it was met, by every plan, and that the
/// rest is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_quarantined() {
    let place = Place::new();
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    for n in 1..=3 {
        store.append(vec![batch(instance, n, day, "h")]).await.expect("appends");
    }
    let everything = wish(day, day + HOUR);
    let plan = store.plan(&everything).await.expect("plans");
    let path = |n: usize| place.profiles().join(&plan.pieces[n].file.file.samples.path);
    let mut bytes = std::fs::read(path(0)).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path(0), bytes).expect("writes");
    std::fs::remove_file(path(1)).expect("removes");
    for (piece, why) in plan.pieces.iter().zip([Some("CRC-32C"), Some("is gone"), None]) {
        let read = store.read(piece, Wanted::all()).await;
        match why {
            Some(why) => {
                let error = read.expect_err("damaged");
                assert!(error.is_damage() && error.to_string().contains(why), "{error}");
            }
            None => assert_eq!(read.expect("whole").samples(), 7),
        }
    }
    let plan = store.plan(&everything).await.expect("plans");
    assert_eq!((plan.pieces.len(), plan.lacks.len()), (1, 2), "{:?}", plan.lacks);
    assert!(plan.lacks[0].contains(".samples.parquet"), "{:?}", plan.lacks);
    let status = store.status().await.expect("answers");
    assert_eq!((status.damaged, status.samples), (2, 7));
    assert!(crate::fixture::merge_all(&store).await > 0, "the sound one goes on");
    // Resends of what is damaged are duplicates: they were acknowledged, and their loss is named.
    let again = store.append(vec![batch(instance, 1, day, "h")]).await.expect("appends");
    assert_eq!(again, [Appended::Duplicate]);
}

/// Check that a catalog is not used with files of another store: the sweep would remove them.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_and_files_must_belong_together() {
    let (one, other) = (Place::new(), Place::new());
    let (day, instance) = (past_day(), InstanceId::random());
    one.open().await.append(vec![batch(instance, 1, day, "h")]).await.expect("appends");
    other.open().await;
    let url = format!("sqlite:{}", other.dir.path().join("catalog.sqlite").display());
    let mixed = async |url: &str| {
        let catalog = Catalog::open(url).await.expect("opens");
        ProfileStore::open(Blobs::directory(&one.profiles()).expect("opens"), catalog).await
    };
    let error = mixed(&url).await.err().expect("refused");
    assert!(matches!(error, StoreError::Strangers { .. }), "{error}");
    // A new, empty catalog is another one, too.
    let new = format!("sqlite:{}", one.dir.path().join("new.sqlite").display());
    let error = mixed(&new).await.err().expect("refused").to_string();
    assert!(error.contains("catalog") && error.contains("restore"), "{error}");
    one.open().await;
}
