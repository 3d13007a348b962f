//! What a round costs: `cargo test -p fleetprof-iceberg --test tables measure -- --ignored --nocapture`.

use std::{fs, time::Instant};

use fleetprof_store::{Catalog, FileId, HOUR, Level, NewFile};

use crate::fixture::{Directory, of, publish};

/// Pairs of files that the store has.
const PAIRS: usize = 20_000;
/// Those that come between two rounds.
const MORE: usize = 200;

/// Makes copies of a pair known.
async fn copy(place: &Directory, catalog: &Catalog, pair: &NewFile, count: usize) {
    let mut files = Vec::new();
    for _ in 0..count {
        let mut new = NewFile { id: FileId::random(), batches: 0, ..pair.clone() };
        for (blob, kind) in [(&mut new.samples, "samples"), (&mut new.stacks, "stacks")] {
            let path = format!("fine/many/{}.{kind}.parquet", new.id);
            let (from, to) = (place.profiles().join(&blob.path), place.profiles().join(&path));
            fs::hard_link(from, to).expect("linked");
            blob.path = path;
        }
        files.push(new);
    }
    for files in files.chunks(1000) {
        catalog.commit(files, &[], 1).await.expect("committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and prints times"]
async fn a_round_of_many_files() {
    let mut place = Directory::new();
    let store = place.store().await;
    place.append(&store, 0..1).await;
    let rows = store.files(None, (i64::MIN, i64::MAX)).await.expect("lists");
    let url = format!("sqlite:{}", place.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url).await.expect("opens");
    fs::create_dir_all(place.profiles().join("fine/many")).expect("made");
    copy(&place, &catalog, &rows[0].file, PAIRS).await;
    let mut publisher = place.publisher().await;
    for what in ["all of them", "nothing", "some more", "nothing", "some gone"] {
        match what {
            "some more" => copy(&place, &catalog, &rows[0].file, MORE).await,
            "some gone" => {
                let bucket = rows[0].file.bucket;
                let bytes = rows[0].file.bytes() * (PAIRS as u64);
                catalog.retire_until(bytes, bucket + HOUR).await.expect("retired");
            }
            _ => {}
        }
        let start = Instant::now();
        let changes = publish(&mut publisher).await;
        println!("{what}: {:?} in {:?}", of(&changes, Level::Fine), start.elapsed());
    }
    let start = Instant::now();
    publish(&mut place.publisher().await).await;
    println!("by a new committer: {:?}", start.elapsed());
    let folder = place.profiles().join("iceberg/fine_samples/metadata");
    for entry in fs::read_dir(folder).expect("lists") {
        let entry = entry.expect("lists");
        println!("{:>9} {:?}", entry.metadata().expect("it is there").len(), entry.file_name());
    }
}
