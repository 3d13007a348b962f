//! What is wrong is found, and only that.

mod functions;
mod labels;

use std::{fs, time::Duration};

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{
    Ages, Blob, Catalog, DAY, FileRow, FindingKind, Foreign, Fsck, FsckOptions, HOUR, Level,
    NewFile, ProfileStore, Retention,
};

use crate::fixture::{Place, batch, files_below, merge_all, past_day};

pub(crate) fn full() -> FsckOptions {
    FsckOptions { fast: false, repair: false, orphan_age: Duration::from_secs(3600) }
}

pub(crate) fn fast() -> FsckOptions {
    FsckOptions { fast: true, ..full() }
}

pub(crate) async fn check(store: &ProfileStore, options: &FsckOptions) -> Fsck {
    store.fsck(options, |_| {}).await.expect("checks")
}

fn kinds(found: &Fsck) -> Vec<FindingKind> {
    found.findings.iter().map(|finding| finding.kind).collect()
}

/// A store with three hours of a day, at all levels.
pub(crate) async fn filled(place: &Place) -> ProfileStore {
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    for n in 0..3_u32 {
        let start = day + HOUR * i64::from(n);
        store.append(vec![batch(instance, u64::from(n) + 1, start, "h")]).await.expect("appends");
    }
    merge_all(&store).await;
    store
}

pub(crate) async fn rows(store: &ProfileStore) -> Vec<FileRow> {
    store.files(None, (i64::MIN, i64::MAX)).await.expect("lists")
}

async fn catalog(place: &Place) -> Catalog {
    let url = format!("sqlite:{}", place.dir.path().join("catalog.sqlite").display());
    Catalog::open(&url).await.expect("opens")
}

/// A store with the files of another, whose catalog says something else of them.
async fn altered(from: &Place, change: impl Fn(&Place, &mut NewFile)) -> (Place, ProfileStore) {
    let to = Place::new();
    let store = to.open().await;
    let mut files = Vec::new();
    for row in rows(&from.open().await).await {
        let mut file = NewFile::clone(&row.file);
        for blob in [&file.samples, &file.stacks] {
            let path = to.profiles().join(&blob.path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::copy(from.profiles().join(&blob.path), path).expect("copied");
        }
        change(&to, &mut file);
        files.push(Foreign { origin: file.id.to_string(), file, rolled: row.rolled });
    }
    assert!(catalog(&to).await.import(&files, 1).await.expect("imports"));
    (to, store)
}

/// Check that nothing is wrong with a store that nothing happened to, merged or not, and that levels are
/// compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_sound_store_is_clean() {
    let place = Place::new();
    let store = place.open().await;
    assert!(check(&store, &full()).await.is_clean(), "it is empty");
    store.append(vec![batch(InstanceId::random(), 1, past_day(), "h")]).await.expect("appends");
    assert!(check(&store, &full()).await.is_clean());
    let place = Place::new();
    let store = filled(&place).await;
    for options in [full(), fast()] {
        let found = check(&store, &options).await;
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.pairs, found.compared, found.not_compared), (11, 8, 0));
        assert_eq!(found.bytes, store.status().await.expect("answers").bytes);
    }
}

/// Check that each kind of damage is named as what it is, and quarantined on request, and that a file that
/// is whole again is healed.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_quarantined() {
    let place = Place::new();
    let store = filled(&place).await;
    let files = rows(&store).await;
    let path = |n: usize| place.profiles().join(&files[n].file.samples.path);
    let kept: Vec<Vec<u8>> = (0..3).map(|n| fs::read(path(n)).expect("reads")).collect();
    fs::remove_file(path(0)).expect("removed");
    fs::write(path(1), &kept[1][1..]).expect("written");
    let mut bytes = kept[2].clone();
    bytes[kept[2].len() / 2] ^= 1;
    fs::write(path(2), bytes).expect("written");

    let found = check(&store, &fast()).await;
    assert_eq!(kinds(&found), [FindingKind::Missing, FindingKind::Size]);
    let found = check(&store, &full()).await;
    assert_eq!(kinds(&found), [FindingKind::Missing, FindingKind::Size, FindingKind::Checksum]);
    for (finding, row) in found.findings.iter().zip(&files) {
        assert_eq!(finding.place, row.file.samples.path);
        assert!(!finding.quarantined && !finding.repaired);
    }
    assert_eq!(store.damaged().await.expect("lists"), [], "nothing was asked to be changed");

    let repairing = FsckOptions { repair: true, ..full() };
    let found = check(&store, &repairing).await;
    assert!(found.findings.iter().all(|finding| finding.repaired), "{found:?}");
    assert_eq!(store.damaged().await.expect("lists").len(), 3);
    let found = check(&store, &repairing).await;
    assert!(found.findings.iter().all(|it| it.quarantined && !it.repaired), "{found:?}");

    for (n, bytes) in kept.iter().enumerate() {
        fs::write(path(n), bytes).expect("written");
    }
    assert!(check(&store, &fast()).await.is_clean(), "it does not see that they are whole");
    let found = check(&store, &full()).await;
    assert_eq!(kinds(&found), [FindingKind::Whole; 3]);
    assert_eq!(store.damaged().await.expect("lists").len(), 3);
    let found = check(&store, &repairing).await;
    assert!(found.findings.iter().all(|finding| finding.repaired), "{found:?}");
    assert!(check(&store, &full()).await.is_clean());
    assert_eq!(store.damaged().await.expect("lists"), []);
}

/// Check that a catalog that says something else of a file than what is in it is found out.
#[tokio::test(flavor = "multi_thread")]
async fn other_contents_are_found() {
    let place = Place::new();
    filled(&place).await;
    type Change = fn(&mut NewFile);
    let changes: [(Change, &str); 7] = [
        (|it| it.rows += 1, "rows"),
        (|it| it.services[0].samples += 1, "samples"),
        (|it| it.services[0].nanos += 1, "CPU"),
        (|it| drop(it.services.pop()), "\"search\""),
        (|it| it.spans[0].1 += 1000, "other times"),
        (|it| it.spans = vec![(it.bucket - HOUR, it.bucket - 1)], "other times"),
        (|it| it.bucket += HOUR, "samples of"),
    ];
    for (change, why) in changes {
        let (_place, store) = altered(&place, |_, file| {
            if file.level == Level::Fine {
                change(file);
            }
        })
        .await;
        let found = check(&store, &full()).await;
        let mut contents = found.findings.iter().filter(|it| it.kind == FindingKind::Contents);
        assert_eq!(found.counts.get(&FindingKind::Contents), Some(&3), "{why}: {found:?}");
        assert!(contents.all(|it| it.what.contains(why)), "{why}: {found:?}");
    }
    // Of coarser files it is known which minutes must have data.
    let (_place, store) = altered(&place, |_, file| {
        if file.level == Level::Hourly {
            file.spans = vec![(file.bucket + HOUR / 2, file.bucket + HOUR)];
        }
    })
    .await;
    assert_eq!(kinds(&check(&store, &full()).await), [FindingKind::Contents; 6]);
}

/// Check that what was written as a file and is none is found.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_found() {
    let place = Place::new();
    filled(&place).await;
    let garbage = b"PAR1 no file PAR1";
    let (_place, store) = altered(&place, |to, file| {
        if file.level == Level::Daily {
            fs::write(to.profiles().join(&file.stacks.path), garbage).expect("written");
            let (bytes, crc32c) = (garbage.len() as u64, crc32c::crc32c(garbage));
            file.stacks = Blob { bytes, crc32c, ..file.stacks.clone() };
        }
    })
    .await;
    assert_eq!(kinds(&check(&store, &full()).await), [FindingKind::Undecodable; 2]);
    assert!(check(&store, &fast()).await.is_clean());
}

/// Check that files that nobody knows are named with their age when they are old.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_named() {
    let place = Place::new();
    let store = filled(&place).await;
    let dir = place.profiles().join("fine/2026-01-01/00");
    fs::create_dir_all(&dir).expect("made");
    let names =
        ["0000000000000001.samples.parquet", "0000000000000002.stacks.parquet", "notes.txt"];
    for (name, hours) in names.iter().zip([0, 5, 5]) {
        let file = fs::File::create(dir.join(name)).expect("made");
        let age = Duration::from_secs(3600 * hours);
        file.set_modified(std::time::SystemTime::now() - age).expect("set");
    }
    // A copy of a known file in another place is another file.
    let known = rows(&store).await[0].file.samples.path.clone();
    let copy = dir.join(known.rsplit('/').next().expect("a name"));
    fs::copy(place.profiles().join(&known), &copy).expect("copied");
    let old = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::File::options().append(true).open(&copy).and_then(|it| it.set_modified(old)).expect("set");
    for options in [full(), fast(), FsckOptions { repair: true, ..full() }] {
        let found = check(&store, &options).await;
        assert_eq!((kinds(&found), found.young), (vec![FindingKind::Orphan; 3], 1), "{found:?}");
        let ages = found.findings.iter().map(|it| it.age_seconds.expect("known") / 3600);
        let mut ages: Vec<_> = ages.collect();
        ages.sort_unstable();
        assert_eq!(ages, [2, 5, 5]);
    }
    assert_eq!(files_below(&dir).len(), 4, "nothing is deleted");
}

/// Check that files that are retired are counted and no finding, and that levels whose time is over are
/// not compared.
#[tokio::test(flavor = "multi_thread")]
async fn what_retention_does_is_no_finding() {
    let place = Place::new();
    let store = filled(&place).await;
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after");
    let now = i64::try_from(now.as_nanos()).expect("before 2262");
    // Two of the three hours are over.
    let fine = Duration::from_nanos(u64::try_from(now - past_day() - 2 * HOUR).expect("past"));
    let ages = Ages { fine, hourly: hours(10_000), daily: hours(10_000) };
    let retention = Retention { ages, ..Retention::default() };
    assert_eq!(store.retain(&retention).await.expect("removes").retired, 2);
    let found = check(&store, &full()).await;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.retired, found.pairs, found.compared), (4 + 6, 9, 4));
}

/// Check that samples that a level lost or has twice are found, unless age may have removed them.
#[tokio::test(flavor = "multi_thread")]
async fn levels_that_differ_are_found() {
    let place = Place::new();
    filled(&place).await;
    let day = past_day();
    let of = async |level: Level, hour: i64, by: i64| {
        let (_place, store) = altered(&place, |_, file| {
            let is_it = (file.level, file.bucket) == (level, day + hour * HOUR);
            let sum = &mut file.services[0];
            if is_it && sum.service == "checkout" {
                sum.samples = sum.samples.checked_add_signed(by).expect("positive");
            }
        })
        .await;
        // Files are what they are; only the catalog's sums are of interest here.
        let found = check(&store, &fast()).await;
        (kinds(&found), found.not_compared)
    };
    let wrong = vec![FindingKind::Levels];
    assert_eq!(of(Level::Fine, 0, 1).await, (wrong.clone(), 0), "lost on the way");
    assert_eq!(of(Level::Fine, 0, -1).await, (vec![], 1), "may have expired");
    assert_eq!(of(Level::Fine, 1, -1).await, (wrong.clone(), 0), "cannot have expired");
    assert_eq!(of(Level::Daily, 0, -1).await, (vec![FindingKind::Levels], 0));
    let (more, _) = of(Level::Hourly, 1, -1).await;
    assert_eq!(more, wrong, "fine files have more, daily ones cannot be compared");
    assert_eq!(past_day() % DAY, 0);
}
