//! Catalogs of every version stay usable: dumps of old ones, with rows as their version wrote them, are in
//! `tests/fixtures/catalog-VERSION`. They are never written again; a new migration takes one more, made by the
//! code before it.

use std::{collections::HashSet, time::Duration};

use fleetprof_proto::{
    ids::{BatchId, InstanceId},
    v1,
};
use fleetprof_store::{
    Blob, Catalog, Committed, DAY, Delivery, Expire, FileId, FileRow, FunctionFile, HOUR,
    LabelValue, Level, NewFile, Replace, SymbolContent, SymbolCursor, SymbolTable,
};

use crate::{
    fixture::{EVER, Place, SECOND, T0, delivery, file, ids, live, on_both},
    symbols::table,
};

on_both!(
    version_1_is_brought_up_to_date,
    version_2_is_brought_up_to_date,
    version_5_is_brought_up_to_date,
);

/// What a catalog of version 1 was told.
struct Version1 {
    /// An hour with two services, which is rolled; one that is damaged; one that is not.
    fine: Vec<NewFile>,
    /// What the first was rolled into.
    hourly: NewFile,
    /// An old one, retired.
    retired: FileId,
    functions: FunctionFile,
    deliveries: Vec<Delivery>,
}

// === impl Version1 ===

impl Version1 {
    fn new() -> Self {
        let mut fine: Vec<NewFile> =
            (0..3).map(|hour| numbered(1 + hour, Level::Fine, T0 + hour * HOUR)).collect();
        fine[2].spans =
            vec![(T0 + 2 * HOUR, T0 + 2 * HOUR + 1000), (T0 + 3 * HOUR - 1, T0 + 3 * HOUR)];
        let path = "functions/2024-10-04/0000000000000005.functions.parquet".to_owned();
        let id = FileId::from_number(5).expect("positive");
        let blob = Blob { path, bytes: 40, crc32c: 7 };
        let instance = InstanceId::try_from(&[0xab; 16][..]).expect("16 bytes");
        // Two runs, and what came between them is still missing.
        let sequences = [1, 2, 3, 7, 8, 1000];
        Self {
            fine,
            hourly: numbered(4, Level::Hourly, T0),
            retired: FileId::from_number(6).expect("positive"),
            functions: FunctionFile { id, blob, end: 20, covers: 1 },
            deliveries: sequences.map(|sequence| delivery(instance, sequence)).to_vec(),
        }
    }

    fn batches(&self) -> Vec<BatchId> {
        self.deliveries.iter().map(|delivery| delivery.id).collect()
    }
}

fn numbered(number: i64, level: Level, bucket: i64) -> NewFile {
    let services: &[&str] =
        if level == Level::Fine { &["checkout", "s\u{fc}che"] } else { &["checkout"] };
    let mut file = file(level, bucket, services);
    file.id = FileId::from_number(number).expect("positive");
    file.samples.path = format!("{}/{}.samples.parquet", level.as_str(), file.id);
    file.stacks.path = format!("{}/{}.stacks.parquet", level.as_str(), file.id);
    if level == Level::Hourly {
        file.services[0].samples = 20;
    }
    file
}

/// The dump of a database of this kind, what version 2 adds to it, and what version 5 does.
fn dumps(place: &Place) -> [&'static str; 3] {
    if place.url.starts_with("sqlite:") {
        [
            include_str!("../fixtures/catalog-1/sqlite.sql"),
            include_str!("../fixtures/catalog-2/sqlite.sql"),
            include_str!("../fixtures/catalog-5/sqlite.sql"),
        ]
    } else {
        [
            include_str!("../fixtures/catalog-1/postgres.sql"),
            include_str!("../fixtures/catalog-2/postgres.sql"),
            include_str!("../fixtures/catalog-5/postgres.sql"),
        ]
    }
}

/// Check that values of labels of version 5 are known after it was opened, too, and more can be added.
async fn version_5_is_brought_up_to_date(place: Place) {
    for dump in dumps(&place) {
        place.execute(dump).await;
    }
    let known = Version1::new();
    let catalog = place.open().await;
    has_all_of_version_1(&catalog, &known).await;
    let hosts = async |service, (first, last): (i64, i64)| {
        let days = (T0 + first * DAY, T0 + last * DAY);
        catalog.label_values(service, "host", days).await.expect("answers")
    };
    assert_eq!(hosts("checkout", (0, 1)).await, ["h1", "\u{e4}2"]);
    assert_eq!(hosts("checkout", (0, 0)).await, ["h1"]);
    assert_eq!(hosts("", (0, 1)).await, ["h1"]);
    let unlabelled = catalog.unlabelled((T0, T0 + DAY)).await.expect("answers");
    assert_eq!(ids(&unlabelled), [known.fine[0].id, known.fine[1].id]);

    // Of these, two are there.
    let value = |day: i64, value: &str| LabelValue {
        service: "checkout".to_owned(),
        name: "host".to_owned(),
        day: T0 + day * DAY,
        value: value.to_owned(),
    };
    let values = [value(1, "h1"), value(1, "\u{e4}2"), value(0, "h3")].into();
    catalog.add_labels(&values, &[known.fine[0].id], &[]).await.expect("writes");
    assert_eq!(hosts("checkout", (0, 1)).await, ["h1", "h3", "\u{e4}2"]);
    assert_eq!(catalog.forget_labels(T0 + 9 * DAY).await.expect("forgets"), 2, "of the second day");
    assert_eq!(hosts("checkout", (0, 1)).await, ["h1", "h3"]);
}

/// Check that the symbol tables of version 2 are known after it was opened, too, and that an instance of which
/// it is not known whether it lost something counts as one that did, until its next batch.
async fn version_2_is_brought_up_to_date(place: Place) {
    for dump in &dumps(&place)[..2] {
        place.execute(dump).await;
    }
    let known = Version1::new();
    let catalog = place.open().await;
    has_all_of_version_1(&catalog, &known).await;
    let id = FileId::from_number(7).expect("positive");
    let blob = Blob { path: format!("symbols/{id}.symtab"), bytes: 100, crc32c: u32::MAX };
    let symbols = SymbolTable { id, content: SymbolContent::Table(blob), ..table(1, 1, 1) };
    let (changes, _) = catalog.symbol_changes(SymbolCursor::default(), 10).await.expect("reads");
    assert_eq!(changes, [symbols]);

    assert_eq!(catalog.lossy_instances(EVER).await.expect("reads").len(), 1);
    let next = [delivery(known.deliveries[0].id.instance, 1001)];
    let file = [file(Level::Fine, T0 + 2 * HOUR, &["checkout"])];
    assert_eq!(catalog.commit(&file, &next, T0).await.expect("commits"), Committed::Done);
    assert_eq!(catalog.lossy_instances(EVER).await.expect("reads"), []);
}

/// Check that all that a catalog of version 1 knew is known after it was opened, batches and leases included,
/// and that it can do what later versions can.
async fn version_1_is_brought_up_to_date(place: Place) {
    place.execute(dumps(&place)[0]).await;
    let known = Version1::new();
    let catalog = place.open().await;
    has_all_of_version_1(&catalog, &known).await;

    // Batches that it had are no news, and those after them are.
    let instance = known.deliveries[0].id.instance;
    let now = T0 + HOUR;
    let again = [file(Level::Fine, T0 + 2 * HOUR, &["checkout"])];
    let committed = catalog.commit(&again, &known.deliveries[..1], now).await.expect("answers");
    assert_eq!(committed, Committed::Duplicates(known.batches()[..1].to_vec()));
    let new = [delivery(instance, 4), delivery(instance, 1001)];
    assert_eq!(catalog.commit(&again, &new, now).await.expect("commits"), Committed::Done);
    assert_eq!(catalog.latest_instances(10_000).await.expect("reads")[0].batches, 8);

    // Files of both can be merged, and files of version 1 retired and forgotten.
    let mut merged = file(Level::Fine, T0 + 2 * HOUR, &["checkout", "s\u{fc}che"]);
    merged.services[0].samples = 20;
    let inputs = [known.fine[2].id, again[0].id];
    let how = Replace::Merge { rolled: false };
    assert!(catalog.replace(&inputs, &[merged.clone()], how, now).await.expect("answers"));
    let old =
        catalog.expire(Level::Fine, Expire::Except(&[]), T0 + HOUR, now).await.expect("expires");
    assert_eq!(old, 1, "what is rolled");
    assert_eq!(ids(&live(&catalog, Level::Fine).await), [known.fine[1].id, merged.id]);
    assert_eq!(catalog.forget(&[known.retired, known.fine[0].id]).await.expect("forgets"), 2);

    let symbols = table(1, 1, 1);
    assert!(catalog.publish_symbols(&symbols, now).await.expect("publishes"));
    let (changes, _) = catalog.symbol_changes(SymbolCursor::default(), 10).await.expect("reads");
    assert_eq!(changes, [symbols]);
    catalog.close().await;
    place.open().await;
}

async fn has_all_of_version_1(catalog: &Catalog, known: &Version1) {
    let fine = live(catalog, Level::Fine).await;
    let of = |rows: &[FileRow]| -> Vec<NewFile> {
        rows.iter().map(|row| NewFile::clone(&row.file)).collect()
    };
    assert_eq!(of(&fine), known.fine);
    assert_eq!(fine.iter().map(|row| row.rolled).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(fine[1].damaged.as_deref(), Some("it's gone"));
    let hourly = live(catalog, Level::Hourly).await;
    assert_eq!(of(&hourly), std::slice::from_ref(&known.hourly));
    assert_eq!(hourly[0].functions.as_deref(), Some(&known.functions));
    let late = catalog.late_functions(10).await.expect("reads");
    assert_eq!(late.len(), 1);
    assert_eq!(
        (late[0].id, &*late[0].missing),
        (known.functions.id, &["file:gnu:07".to_owned()][..])
    );
    let retired = catalog.retired(i64::MAX, 10).await.expect("reads");
    assert_eq!(ids(&retired), [known.retired]);

    let batches: HashSet<BatchId> = known.batches().into_iter().collect();
    let mut asked = known.batches();
    let instance = asked[0].instance;
    asked.extend([0, 4, 6, 9, 999, 1001].map(|sequence| BatchId { instance, sequence }));
    assert_eq!(catalog.contains(&asked).await.expect("reads"), batches);
    let instances = catalog.latest_instances(10_000).await.expect("reads");
    assert_eq!(instances.len(), 1);
    assert_eq!(
        (instances[0].instance, instances[0].batches, instances[0].samples),
        (instance, 6, 60)
    );
    assert_eq!(instances[0].window, (T0 + SECOND, T0 + 1001 * SECOND));
    let latest = v1::Accounting { taken: 10_000, ..v1::Accounting::default() };
    assert_eq!((&*instances[0].host, &instances[0].accounting), ("host1000", &latest));

    assert_eq!(catalog.identity().await.expect("reads"), "00112233445566778899aabbccddeeff");
    let minute = Duration::from_secs(60);
    let lease = async |now| catalog.lease("merge", "c2", minute, now).await.expect("answers");
    assert_eq!(lease(T0).await, None, "c1 has it for a minute");
    assert!(lease(T0 + 61 * SECOND).await.is_some());
}
