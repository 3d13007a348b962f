//! Functions files say what the stacks say.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use fleetprof_proto::{
    batch::{Batch, BatchBuilder, Window},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    symbol::{Line, Reason, Symbol},
    v1::{Accounting, UnresolvedReason},
};
use fleetprof_store::{
    Amounts, DAY, FsckOptions, FunctionKey, FunctionSums, Functions, HOUR, MINUTE, MergeLimits,
    Namer, NewBatch, OriginFilter, ProfileStore, Retention, Wanted, Wish, split_functions,
};
use proptest::prelude::*;

use crate::fixture::{Place, SECOND, files_below, new, past_day, wish};

/// Names the offsets of objects whose tables are there: several offsets are one function, some are
/// inlined code.
#[derive(Default)]
pub(crate) struct Tables {
    ready: Mutex<HashSet<ObjectId>>,
}

impl Namer for Tables {
    fn symbols(&self, code: &Batch) -> Vec<Symbol> {
        let ready = self.ready.lock().expect("no panic");
        let symbol = |row: usize| {
            let frame = code.frame(row);
            match frame.locate() {
                Err(known) => known,
                Ok(object) if !ready.contains(&object) => Symbol::Unknown(Reason::NoObject),
                Ok(_) if frame.offset == 5 => Symbol::Unknown(Reason::NotCovered),
                Ok(_) => Symbol::Named(lines(frame.offset)),
            }
        };
        (0..code.frame_count()).map(symbol).collect()
    }

    fn has_names(&self, object: &ObjectId) -> bool {
        self.ready.lock().expect("no panic").contains(object)
    }
}

fn lines(offset: u64) -> Vec<Line> {
    let line = |number: u64| {
        let name: Arc<str> = format!("f{number}").into();
        let file = (number != 2).then(|| format!("f{number}.rs").into());
        Line { name: name.clone(), system_name: name, file, line: 1, column: 0 }
    };
    match offset % 4 {
        0 => vec![line(9), line(1)],
        other => vec![line(other)],
    }
}

fn object(number: u8) -> ObjectId {
    ObjectId { kind: ObjectKind::File, build_id: build_id(number) }
}

fn build_id(number: u8) -> BuildId {
    BuildId::new(BuildIdKind::Gnu, &[number; 20]).expect("valid")
}

/// One sample: service, version, frames (object and offset), samples.
type Sample = (u8, u8, Vec<(u8, u64)>, u64);

fn batch(sequence: u64, instance: InstanceId, start: i64, samples: &[Sample]) -> NewBatch {
    let mut builder = BatchBuilder::new();
    for (service, version, frames, count) in samples {
        let service = format!("service-{service}");
        let version = format!("v{version}");
        let mut labels = vec![("service", &*service), ("host", "h")];
        if version != "v0" {
            labels.push(("version", &version));
        }
        let origin = builder.origin(labels);
        let frames: Vec<_> = frames
            .iter()
            .map(|(number, offset)| {
                let path = format!("/lib/lib{number}.so");
                let object = builder.object(ObjectKind::File, Some(&build_id(*number)), &path);
                builder.frame(object, *offset, UnresolvedReason::Unspecified)
            })
            .collect();
        let stack = builder.stack(frames);
        builder.add(origin, stack, 0, *count, count * 52_631_579);
    }
    let window = Window { start_unix_nanos: start, end_unix_nanos: start + 10 * SECOND };
    let batch = builder.finish(window, [], Accounting::default());
    new(BatchId { instance, sequence }, batch)
}

/// Sums by function and hour.
type Found = BTreeMap<(Vec<String>, i64), (u64, u64, u64, u64)>;

fn add(found: &mut Found, key: &FunctionKey, hour: i64, amounts: Amounts) {
    let unnamed = key.unnamed.map_or("", Reason::as_str);
    let texts = [&key.function, &key.file, &key.module, unnamed].map(str::to_owned).to_vec();
    let sum = found.entry((texts, hour)).or_default();
    sum.0 += amounts.self_samples;
    sum.1 += amounts.total_samples;
    sum.2 += amounts.self_nanos;
    sum.3 += amounts.total_nanos;
}

async fn from_stacks(
    store: &ProfileStore,
    namer: &Tables,
    pieces: Vec<fleetprof_store::Piece>,
    version: Option<&str>,
    found: &mut Found,
) {
    for piece in pieces {
        let wanted = Wanted { range: Some(piece.range), ..Wanted::all() };
        let table = store.read(&piece, wanted).await.expect("reads");
        let symbols = namer.symbols(&table.code);
        for row in &table.rows {
            let labels = table.labels(row.origin);
            if version.is_some_and(|version| labels.get("version") != Some(&version)) {
                continue;
            }
            let mut functions = Functions::default();
            let mut sums = FunctionSums::new(&table.code, &symbols, &mut functions);
            sums.count(row.stack as usize, row.samples, row.nanos);
            for (function, amounts) in sums.take() {
                add(found, &functions.keys()[function], 0, amounts);
            }
        }
    }
}

/// Sums of a range; and how many functions files were read for it.
async fn sums(
    store: &ProfileStore,
    namer: &Tables,
    wish: &Wish,
    version: Option<&'static str>,
    with_functions: bool,
) -> (Found, usize) {
    let pieces = store.plan(wish).await.expect("plans").pieces;
    let (functions, pieces) = match with_functions {
        true => split_functions(pieces, 0),
        false => (Vec::new(), pieces),
    };
    let mut found = Found::new();
    for piece in &functions {
        let filter = version.map(|wanted| OriginFilter::new(move |_, it| it == Some(wanted)));
        let rows = store.function_sums(&piece.file, piece.wanted(filter)).await.expect("reads");
        let mut places: Vec<_> = rows.iter().map(|row| row.place).collect();
        places.sort();
        let names = store.function_names(&piece.file, places.clone()).await.expect("reads");
        for row in rows {
            let key = &names[places.binary_search(&row.place).expect("there")];
            assert_eq!(key.id(), row.id);
            assert_eq!(key.unnamed, row.unnamed);
            add(&mut found, key, 0, row.amounts);
        }
    }
    from_stacks(store, namer, pieces, version, &mut found).await;
    (found, functions.len())
}

/// Merges until nothing is left to do; answers the number of functions files made.
pub(crate) async fn merge(store: &ProfileStore, namer: &Arc<Tables>) -> u64 {
    let mut functions = 0;
    for _ in 0..1000 {
        let namer: Arc<dyn Namer> = namer.clone();
        let merged = store.merge("w", &MergeLimits::default(), Some(namer), || false).await;
        let merged = merged.expect("merges");
        functions += merged.functions;
        if merged.jobs == 0 && merged.functions == 0 {
            return functions;
        }
    }
    panic!("it never ends");
}

fn sample(service: u8, frames: &[(u8, u64)], count: u64) -> Sample {
    (service, 1, frames.to_vec(), count)
}

fn functions_files(place: &Place) -> Vec<String> {
    let mut files = files_below(&place.profiles());
    files.retain(|path| path.starts_with("functions/"));
    files
}

/// A store with two services over 26 hours, merged.
pub(crate) async fn merged(place: &Place, namer: &Arc<Tables>) -> (ProfileStore, i64, InstanceId) {
    let (store, day, instance) = (place.open().await, past_day(), InstanceId::random());
    for hour in 0..26_i64 {
        let samples = [
            sample(0, &[(1, 1), (1, 2), (1, 1)], 3),
            sample(1, &[(1, 4), (2, 3)], 1 + hour.unsigned_abs()),
        ];
        let start = day + hour * HOUR + 5 * MINUTE;
        let sequence = hour.unsigned_abs() + 1;
        store.append(vec![batch(sequence, instance, start, &samples)]).await.expect("appends");
    }
    merge(&store, namer).await;
    (store, day, instance)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// Check that functions files say exactly what stacks say: of all and of one service, of one
    /// version, of days, of parts of days and of parts of hours.
    #[test]
    fn functions_equal_stacks(
        batches in prop::collection::vec(
            (
                0..26 * 60_i64,
                prop::collection::vec(
                    (0..3_u8, 0..3_u8, prop::collection::vec((1..3_u8, 1..7_u64), 0..5), 1..5_u64),
                    1..6,
                ),
            ),
            1..12,
        ),
        ready in any::<bool>(),
        from in 0..26 * 60_i64,
        minutes in 16..26 * 60_i64,
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("starts");
        runtime.block_on(async {
            let (place, namer) = (Place::new(), Arc::new(Tables::default()));
            namer.ready.lock().expect("no panic").insert(object(1));
            if ready {
                namer.ready.lock().expect("no panic").insert(object(2));
            }
            let (store, day, instance) = (place.open().await, past_day(), InstanceId::random());
            for (sequence, (minute, samples)) in (1..).zip(&batches) {
                let new = batch(sequence, instance, day + minute * MINUTE, samples);
                store.append(vec![new]).await.expect("appends");
            }
            assert!(merge(&store, &namer).await > 0);
            let start = day + from * MINUTE;
            for range in [
                (day, day + DAY),
                (day, day + 2 * DAY),
                (day + HOUR, day + 2 * DAY),
                (start, start + minutes * MINUTE),
            ] {
                for service in [None, Some("service-1".to_owned())] {
                    let wish = Wish { service, ..wish(range.0, range.1) };
                    for version in [None, Some("v1")] {
                        let (expected, none) = sums(&store, &namer, &wish, version, false).await;
                        let (found, _) = sums(&store, &namer, &wish, version, true).await;
                        assert_eq!(none, 0);
                        assert_eq!(found, expected, "{wish:?} {version:?}");
                    }
                }
            }
        });
    }
}

/// Check that a day of all services is one functions file, that what comes late is counted once, and
/// that one function's history has its hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_one_file() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    namer.ready.lock().expect("no panic").extend([object(1), object(2)]);
    let (store, day, instance) = merged(&place, &namer).await;
    let whole = wish(day, day + DAY);
    let (expected, _) = sums(&store, &namer, &whole, None, false).await;
    assert_eq!(sums(&store, &namer, &whole, None, true).await, (expected, 1));

    // Service 0 gets a new pair, service 1 keeps its own.
    let late = batch(100, instance, day + 3 * HOUR, &[sample(0, &[(1, 2)], 7)]);
    store.append(vec![late]).await.expect("appends");
    for merged in [false, true] {
        let (expected, _) = sums(&store, &namer, &whole, None, false).await;
        let (found, files) = sums(&store, &namer, &whole, None, true).await;
        assert_eq!(found, expected, "merged: {merged}");
        assert_eq!(files, if merged { 2 } else { 1 });
        let total: u64 = found.values().map(|sum| sum.0).sum();
        assert_eq!(total, 24 * 3 + (1..=24).sum::<u64>() + 7);
        merge(&store, &namer).await;
    }

    let pieces = store.plan(&whole).await.expect("plans").pieces;
    let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
    for piece in split_functions(pieces, HOUR).0 {
        let found = store.function_history(&piece.file, "f3", piece.wanted(None)).await;
        for history in found.expect("reads") {
            assert_eq!(history.service, "service-1");
            for (hour, amounts) in history.hours {
                assert_eq!(amounts.self_samples, amounts.total_samples);
                *hours.entry((hour - day) / HOUR).or_default() += amounts.self_samples;
            }
        }
    }
    assert_eq!(hours, (0..24_i64).map(|hour| (hour, hour.unsigned_abs() + 1)).collect());
}

/// Check that functions without names are made again when the names have come.
#[tokio::test(flavor = "multi_thread")]
async fn late_symbols_renew_functions() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, day, _) = merged(&place, &namer).await;
    let whole = wish(day, day + DAY);
    let names = async || {
        let (found, files) = sums(&store, &namer, &whole, None, true).await;
        assert_eq!(files, 1);
        found.into_keys().map(|(texts, _)| texts[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["lib1.so+0x1", "lib1.so+0x2", "lib1.so+0x4", "lib2.so+0x3"]);
    assert_eq!(merge(&store, &namer).await, 0, "nothing has changed");
    for (number, expected) in
        [(1, &["f1", "f1", "f2", "f9", "lib2.so+0x3"][..]), (2, &["f1", "f2", "f3", "f9"][..])]
    {
        namer.ready.lock().expect("no panic").insert(object(number));
        assert!(merge(&store, &namer).await > 0);
        let mut found = names().await;
        found.dedup();
        let mut expected = expected.to_vec();
        expected.dedup();
        assert_eq!(found, expected);
    }
    assert_eq!(merge(&store, &namer).await, 0);
    let (expected, _) = sums(&store, &namer, &whole, None, false).await;
    assert_eq!(sums(&store, &namer, &whole, None, true).await.0, expected);
}

/// Check that functions files go when the pairs that they stand for are gone or were replaced, after the
/// grace period, and that the sweep leaves those in use.
#[tokio::test(flavor = "multi_thread")]
async fn functions_go_with_their_pairs() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, day, _) = merged(&place, &namer).await;
    let made = functions_files(&place);
    assert_eq!(made.len(), 26 + 2, "hours and days: {made:?}");
    assert_eq!(store.sweep(std::time::Duration::ZERO).await.expect("sweeps"), 0);
    let keep = |hours: u64, grace: u64| {
        let mut retention = Retention::default();
        retention.ages.fine = std::time::Duration::from_secs(3600);
        retention.ages.hourly = std::time::Duration::from_secs(hours * 3600);
        Retention { grace: std::time::Duration::from_secs(grace), ..retention }
    };
    store.retain(&keep(1, 3600)).await.expect("removes");
    assert_eq!(functions_files(&place).len(), 28, "somebody may be reading them");
    store.retain(&keep(1, 0)).await.expect("removes");
    assert_eq!(functions_files(&place).len(), 2, "the days");
    let whole = wish(day, day + DAY);
    let (expected, _) = sums(&store, &namer, &whole, None, false).await;
    assert_eq!(sums(&store, &namer, &whole, None, true).await, (expected, 1));

    let orphan = place.profiles().join("functions/2026-01-01");
    std::fs::create_dir_all(&orphan).expect("made");
    std::fs::write(orphan.join("0000000000000001.functions.parquet"), b"x").expect("written");
    let options = FsckOptions { fast: true, repair: false, orphan_age: std::time::Duration::ZERO };
    let found = store.fsck(&options, |_| ()).await.expect("checks");
    let places: Vec<_> = found.findings.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, ["functions/2026-01-01/0000000000000001.functions.parquet"]);
    assert_eq!(store.sweep(std::time::Duration::ZERO).await.expect("sweeps"), 1);
    assert_eq!(functions_files(&place).len(), 2);
}

/// Check that a functions file that is damaged anywhere, cut short or gone is given up and made again.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_functions_are_made_again() {
    let (place, namer) = (Place::new(), Arc::new(Tables::default()));
    let (store, day, _) = merged(&place, &namer).await;
    let whole = wish(day, day + DAY);
    let (expected, _) = sums(&store, &namer, &whole, None, false).await;
    let length = {
        let pieces = store.plan(&whole).await.expect("plans").pieces;
        pieces[0].file.functions.clone().expect("there").blob.bytes
    };
    let mut damages: Vec<Option<u64>> = (8..length).step_by(41).map(Some).collect();
    damages.push(None);
    for damage in damages {
        let pieces = store.plan(&whole).await.expect("plans").pieces;
        let (functions, others) = split_functions(pieces, 0);
        assert_eq!((functions.len(), others.len()), (1, 0), "{damage:?}");
        let file = &functions[0].file;
        let path = place.profiles().join(&file.blob.path);
        let whole_file = std::fs::read(&path).expect("reads");
        match damage {
            Some(at) => {
                let mut bytes = whole_file.clone();
                let at = usize::try_from(at).expect("small") % bytes.len();
                bytes[at] ^= 0x10;
                std::fs::write(&path, bytes).expect("written");
            }
            None => std::fs::write(&path, &whole_file[..whole_file.len() - 7]).expect("written"),
        }
        let rows = store.function_sums(file, functions[0].wanted(None)).await;
        let history = store.function_history(file, "lib1.so+0x1", functions[0].wanted(None)).await;
        let Err(error) = rows.map(drop).and(history.map(drop)) else {
            // In a column that was not needed.
            std::fs::write(&path, whole_file).expect("written");
            continue;
        };
        assert!(error.is_damage(), "{damage:?}: {error}");
        let (found, files) = sums(&store, &namer, &whole, None, true).await;
        assert_eq!((found, files), (expected.clone(), 0), "{damage:?}");
        assert_eq!(merge(&store, &namer).await, 1, "{damage:?}");
    }
    let (found, files) = sums(&store, &namer, &whole, None, true).await;
    assert_eq!((found, files), (expected, 1));
}
