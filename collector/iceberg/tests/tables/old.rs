//! Files from before columns had numbers are read by their names.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use fleetprof_store::{Blobs, Catalog, FileId, HOUR, Level, NewFile, ServiceSum, Wanted, decode};

use crate::{
    engines::{ENGINES, read, without_names},
    fixture::{Directory, publish},
};

/// Check that engines read the fixture of format 1.
#[tokio::test(flavor = "multi_thread")]
async fn files_without_numbers_are_read() {
    let place = Directory::new();
    drop(place.store().await);
    let sums = take_over(&place).await;
    publish(&mut place.publisher().await).await;
    for engine in ENGINES {
        let root = place.profiles().display().to_string();
        let read = read(engine, &root, &[Level::Hourly], &[]);
        assert_eq!(without_names(&read[0]), sums, "{engine}");
    }
}

/// Makes the fixture an hourly file of a store; gives samples and nanoseconds by service, of those that
/// have stacks.
async fn take_over(place: &Directory) -> BTreeMap<String, (u64, u64)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures/format-1");
    let file = |name: &str| Bytes::from(fs::read(fixtures.join(name)).expect("it is committed"));
    let (samples, stacks) = (file("1.samples.parquet"), file("1.stacks.parquet"));
    let table = decode(samples.clone(), Some(stacks.clone()), &Wanted::all()).expect("readable");
    let (mut all, mut joined) = (BTreeMap::new(), BTreeMap::new());
    for row in &table.rows {
        let service = table.labels(row.origin).get("service").copied().unwrap_or_default();
        let add = |sums: &mut BTreeMap<String, (u64, u64)>| {
            let sum = sums.entry(service.to_owned()).or_default();
            *sum = (sum.0 + row.samples, sum.1 + row.nanos);
        };
        add(&mut all);
        if table.code.stack_frames(row.stack as usize).next().is_some() {
            add(&mut joined);
        }
    }
    let blobs = Blobs::directory(&place.profiles()).expect("opens");
    let path = |kind: &str| format!("hourly/1970-01-01/00/0000000000000001.{kind}.parquet");
    let service =
        |(service, (samples, nanos)): (String, (u64, u64))| ServiceSum { service, samples, nanos };
    let new = NewFile {
        id: FileId::from_number(1).expect("a positive number"),
        level: Level::Hourly,
        bucket: 0,
        service: None,
        samples: blobs.put(&path("samples"), samples).await.expect("written"),
        stacks: blobs.put(&path("stacks"), stacks).await.expect("written"),
        rows: table.rows.len() as u64,
        batches: 0,
        spans: vec![(0, HOUR)],
        services: all.into_iter().map(service).collect(),
    };
    let url = format!("sqlite:{}", place.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url).await.expect("opens");
    catalog.commit(&[new], &[], 1).await.expect("committed");
    joined
}
