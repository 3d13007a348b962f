//! Exports are whole, and are taken over once.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use arrow_array::Array as _;
use fleetprof_proto::{
    batch::Batch,
    ids::{InstanceId, ObjectId},
    symbol::{Line, Symbol},
};
use fleetprof_store::{
    Blob, Catalog, DAY, ExportError, ExportLevel, ExportWish, HOUR, ImportError, Imported, Level,
    MANIFEST, Manifest, MergeLimits, Namer, NewFile, ProfileStore,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::{
    fixture::{Place, batch, files_below, merge_all, past_day, sums, wish},
    fsck::{check, filled, full, rows},
};

fn everything(level: ExportLevel) -> ExportWish {
    ExportWish { range: (past_day(), past_day() + DAY), services: None, level }
}

async fn export(store: &ProfileStore, wish: &ExportWish) -> (TempDir, Manifest) {
    let dir = TempDir::new().expect("a directory");
    let manifest = store.export(wish, dir.path(), |_| {}).await.expect("exports");
    assert_eq!(Manifest::read(dir.path()).expect("reads"), manifest);
    (dir, manifest)
}

async fn import(store: &ProfileStore, dir: &Path) -> Result<Imported, ImportError> {
    store.import(dir, false, |_| {}).await
}

/// Samples and CPU time by level, hour or day, service and whether they are rolled.
async fn by_level(store: &ProfileStore) -> BTreeMap<(Level, i64, String, bool), (u64, u64)> {
    let mut sums = BTreeMap::new();
    for row in rows(store).await {
        for sum in &row.file.services {
            let key = (row.file.level, row.file.bucket, sum.service.clone(), row.rolled);
            let entry: &mut (u64, u64) = sums.entry(key).or_default();
            *entry = (entry.0 + sum.samples, entry.1 + sum.nanos);
        }
    }
    sums
}

/// Check that an export taken over into an empty store gives the same at every level, that it is sound,
/// and that a second import changes nothing, whatever happened to the files since.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_gives_the_same() {
    let (one, other) = (Place::new(), Place::new());
    let store = filled(&one).await;
    let (dir, manifest) = export(&store, &everything(ExportLevel::All)).await;
    assert_eq!((manifest.files.len(), manifest.lacks.len()), (11, 0));
    assert_eq!(manifest.store, store.identity().await.expect("answers"));
    let copy = other.open().await;
    let imported = import(&copy, dir.path()).await.expect("imports");
    assert_eq!(imported, Imported { imported: 11, skipped: 0, samples: 21 });
    assert_eq!(by_level(&copy).await, by_level(&store).await);
    for step in [1, HOUR] {
        let wish = fleetprof_store::Wish { step, ..wish(past_day(), past_day() + DAY) };
        let key = |labels: &BTreeMap<&str, &str>, hour: i64, depth: usize| {
            format!("{labels:?} {hour} {depth}")
        };
        assert_eq!(sums(&copy, &wish, key).await, sums(&store, &wish, key).await);
    }
    assert!(check(&copy, &full()).await.is_clean());
    assert_eq!(merge_all(&copy).await, 0, "there is nothing to merge");

    let before = rows(&copy).await;
    let again = Imported { imported: 0, skipped: 11, samples: 0 };
    assert_eq!(import(&copy, dir.path()).await.expect("imports"), again);
    assert_eq!(rows(&copy).await, before);
    assert_eq!(import(&store, dir.path()).await.expect("imports"), again, "it is its own");
    // Gone since: still not imported again, unless that is asked for.
    let removed = fleetprof_store::Retention {
        max_bytes: Some(0),
        grace: std::time::Duration::ZERO,
        ..fleetprof_store::Retention::default()
    };
    copy.retain(&removed).await.expect("removes");
    copy.retain(&removed).await.expect("removes");
    assert_eq!(rows(&copy).await, []);
    assert_eq!(import(&copy, dir.path()).await.expect("imports"), again);
    let forced = copy.import(dir.path(), true, |_| {}).await.expect("imports");
    assert_eq!(forced.imported, 11);
    assert_eq!(by_level(&copy).await, by_level(&store).await);
}

/// Check that data of the same service and time refuse an import, and that others do not.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_count_twice_is_refused() {
    let (one, other) = (Place::new(), Place::new());
    let store = filled(&one).await;
    let (dir, _) = export(&store, &everything(ExportLevel::All)).await;
    let copy = other.open().await;
    let next_day = batch(InstanceId::random(), 1, past_day() + DAY, "h");
    copy.append(vec![next_day]).await.expect("appends");
    let same_day = batch(InstanceId::random(), 1, past_day() + 7 * HOUR, "h");
    copy.append(vec![same_day]).await.expect("appends");
    let before = rows(&copy).await;
    let error = import(&copy, dir.path()).await.expect_err("refused");
    assert!(matches!(error, ImportError::Overlap { pairs: 2, .. }), "the daily ones: {error}");
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!(rows(&copy).await, before);
    let (fine, _) = export(&store, &everything(ExportLevel::Only(Level::Fine))).await;
    assert_eq!(import(&copy, fine.path()).await.expect("imports").imported, 3, "other hours");
    let forced = copy.import(dir.path(), true, |_| {}).await.expect("imports");
    assert_eq!((forced.imported, forced.skipped), (8, 3));
}

/// Check that of a damaged export nothing is taken over.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_export_is_refused() {
    let place = Place::new();
    let store = filled(&place).await;
    type Damage = fn(&Path, &mut Manifest);
    let damages: [(Damage, &str); 10] = [
        (
            |dir, manifest| {
                let path = dir.join(&manifest.files[7].stacks.path);
                let mut bytes = fs::read(&path).expect("reads");
                bytes[20] ^= 1;
                fs::write(path, bytes).expect("written");
            },
            "CRC-32C",
        ),
        (
            |dir, it| fs::remove_file(dir.join(&it.files[3].samples.path)).expect("removed"),
            "is gone",
        ),
        (|_, manifest| manifest.files[7].rows += 1, "rows"),
        (|_, manifest| manifest.files[0].services[0].samples += 1, "samples"),
        (|_, manifest| manifest.files[0].samples.path = "../x".to_owned(), "should be"),
        (|_, manifest| manifest.files[0].bucket = i64::MIN, "no year"),
        (|_, manifest| manifest.files[0].bucket += 1, "middle"),
        (|_, manifest| manifest.files[0].spans.clear(), "span"),
        (|_, manifest| manifest.files.push(manifest.files[0].clone()), "twice"),
        (|_, manifest| manifest.format += 1, "upgrade"),
    ];
    let copy = Place::new();
    let to = copy.open().await;
    for (damage, why) in damages {
        let (dir, mut manifest) = export(&store, &everything(ExportLevel::All)).await;
        damage(dir.path(), &mut manifest);
        let text = serde_json::to_vec(&manifest).expect("JSON");
        fs::write(dir.path().join(MANIFEST), text).expect("written");
        let error = import(&to, dir.path()).await.expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(rows(&to).await, []);
        assert_eq!(files_below(&copy.profiles()).len(), 1, "the store's mark");
    }
    let (dir, _) = export(&store, &everything(ExportLevel::All)).await;
    fs::write(dir.path().join(MANIFEST), "{").expect("written");
    assert!(import(&to, dir.path()).await.expect_err("refused").to_string().contains("damaged"));
    fs::remove_file(dir.path().join(MANIFEST)).expect("removed");
    assert!(import(&to, dir.path()).await.expect_err("refused").to_string().contains("no export"));
}

/// Check that of one service only its samples are exported, with the names in the files.
#[tokio::test(flavor = "multi_thread")]
async fn one_service_is_exported_with_its_names() {
    struct All;
    impl Namer for All {
        fn symbols(&self, code: &Batch) -> Vec<Symbol> {
            let name = |text: &str| Line {
                name: text.into(),
                system_name: text.into(),
                file: None,
                line: 0,
                column: 0,
            };
            vec![Symbol::Named(vec![name("function")]); code.frame_count()]
        }

        fn has_names(&self, _: &ObjectId) -> bool {
            true
        }
    }
    let (one, other) = (Place::new(), Place::new());
    let store = one.open().await;
    let batches = (1..=2).map(|n| batch(InstanceId::random(), n, past_day(), "h"));
    store.append(batches.collect()).await.expect("appends");
    let namer: Arc<dyn Namer> = Arc::new(All);
    loop {
        let limits = MergeLimits::default();
        let merged = store.merge("w", &limits, Some(namer.clone()), || false).await;
        if merged.expect("merges").jobs == 0 {
            break;
        }
    }
    let search = |level| ExportWish {
        services: Some(vec!["search".to_owned(), "none".to_owned()]),
        ..everything(level)
    };
    let (dir, manifest) = export(&store, &search(ExportLevel::All)).await;
    for file in &manifest.files {
        let services: Vec<_> = file.services.iter().map(|it| (&*it.service, it.samples)).collect();
        assert_eq!(services, [("search", 6)], "{}", file.level);
        // What was not merged yet has none.
        if file.level == "fine" {
            continue;
        }
        let bytes = fs::read(dir.path().join(&file.stacks.path)).expect("reads");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
        for rows in reader.and_then(ParquetRecordBatchReaderBuilder::build).expect("Parquet") {
            let rows = rows.expect("reads");
            let names = rows.column_by_name("function").expect("is there");
            assert_eq!(names.null_count(), 0, "{} has names", file.level);
        }
    }
    assert_eq!(
        manifest.files.iter().map(|it| &*it.level).collect::<Vec<_>>(),
        ["daily", "fine", "hourly"]
    );
    let copy = other.open().await;
    assert_eq!(import(&copy, dir.path()).await.expect("imports").samples, 6);
    assert!(check(&copy, &full()).await.is_clean());
    // The others of the same time are no overlap.
    let (all, _) = export(
        &store,
        &ExportWish {
            services: Some(vec!["checkout".to_owned()]),
            ..everything(ExportLevel::Best)
        },
    )
    .await;
    assert_eq!(import(&copy, all.path()).await.expect("imports").samples, 8);
    merge_all(&copy).await;
    let key = |labels: &BTreeMap<&str, &str>, _, depth| format!("{} {depth}", labels["service"]);
    let wish = wish(past_day(), past_day() + DAY);
    assert_eq!(sums(&copy, &wish, key).await.0, sums(&store, &wish, key).await.0);
    let none = ExportWish { services: Some(vec!["none".to_owned()]), ..search(ExportLevel::Best) };
    let dir = TempDir::new().expect("a directory");
    let error = store.export(&none, dir.path(), |_| {}).await.expect_err("nothing");
    assert!(matches!(error, ExportError::Nothing), "{error}");
}

/// Check what the levels of an export are, that what is not in a coarser level of it is merged there anew,
/// and that a directory with something in it is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn levels_and_ranges_are_chosen() {
    let (one, other) = (Place::new(), Place::new());
    let store = filled(&one).await;
    let (dir, best) = export(&store, &everything(ExportLevel::Best)).await;
    assert!(best.files.iter().all(|file| file.level == "fine"));
    let copy = other.open().await;
    import(&copy, dir.path()).await.expect("imports");
    assert!(rows(&copy).await.iter().all(|row| !row.rolled));
    merge_all(&copy).await;
    assert_eq!(by_level(&copy).await, by_level(&store).await);
    let again = import(&copy, dir.path()).await.expect("imports");
    assert_eq!((again.imported, again.skipped), (0, 3), "merged, and remembered");

    let day = past_day();
    let part =
        ExportWish { range: (day + HOUR + 1, day + HOUR + 2), ..everything(ExportLevel::All) };
    let (_dir, part) = export(&store, &part).await;
    assert_eq!(part.range, (day + HOUR, day + 2 * HOUR));
    assert_eq!(
        part.files.iter().map(|it| &*it.level).collect::<Vec<_>>(),
        ["fine", "hourly", "hourly"]
    );
    // Damaged files are named.
    let files = rows(&store).await;
    fs::remove_file(one.profiles().join(&files[0].file.stacks.path)).expect("removed");
    let (_dir, lacking) = export(&store, &everything(ExportLevel::All)).await;
    assert_eq!((lacking.files.len(), lacking.lacks.len()), (10, 1), "{:?}", lacking.lacks);

    let full = TempDir::new().expect("a directory");
    fs::write(full.path().join("notes.txt"), "mine").expect("written");
    let error = store.export(&everything(ExportLevel::All), full.path(), |_| {}).await;
    assert!(matches!(error, Err(ExportError::NotEmpty { .. })));
    assert_eq!(files_below(full.path()), ["notes.txt"]);
}

/// Check that a pair whose id is another's here gets an id of its own, in its rows, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_taken_is_replaced() {
    let (one, other) = (Place::new(), Place::new());
    let store = one.open().await;
    store.append(vec![batch(InstanceId::random(), 1, past_day(), "h")]).await.expect("appends");
    let (dir, manifest) = export(&store, &everything(ExportLevel::All)).await;
    let copy = other.open().await;
    let mut file = NewFile::clone(&rows(&store).await[0].file);
    let id = file.id;
    file.services.truncate(1);
    file.services[0].service = "another".to_owned();
    file.samples = Blob { crc32c: 1, ..file.samples };
    let url = format!("sqlite:{}", other.dir.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url).await.expect("opens");
    catalog.commit(&[file], &[], 1).await.expect("commits");
    assert_eq!(import(&copy, dir.path()).await.expect("imports").imported, 1);
    let files = rows(&copy).await;
    let new = files.iter().find(|row| row.file.id != id).expect("a new one");
    assert_eq!(
        new.file.sample_count(),
        manifest.files[0].services.iter().map(|it| it.samples).sum::<u64>()
    );
    let found = check(&copy, &full()).await;
    let wrong: Vec<_> = found.findings.iter().map(|it| it.id.clone()).collect();
    assert_eq!(wrong, [Some(id.to_string())], "only the one without files: {found:?}");
    assert_eq!(import(&copy, dir.path()).await.expect("imports").skipped, 1);
}
