//! A store with batches of a known day, and what anybody should read from it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use fleetprof_iceberg::{Change, Keep, Place, Publisher, Round, TableName};
use fleetprof_proto::{
    batch::{Batch, BatchBuilder, Window},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    symbol::{Line, Reason, Symbol},
    v1::{Accounting, UnresolvedReason},
};
use fleetprof_store::{
    Blobs, Catalog, DAY, HOUR, Level, MergeLimits, Namer, NewBatch, ProfileStore, Retention,
};
use tempfile::TempDir;

const SECOND: i64 = 1_000_000_000;
/// Nanoseconds that a sample stands for.
const PERIOD: u64 = 52_631_579;

/// Samples and nanoseconds by service and stack.
pub(crate) type Stacks = BTreeMap<(String, String), (u64, u64)>;

/// The data directory of a collector.
pub(crate) struct Directory {
    pub(crate) dir: TempDir,
    instance: InstanceId,
    sequence: u64,
    /// What was appended.
    pub(crate) appended: Stacks,
}

/// Offsets in the program are functions, but for one.
struct Program;

impl Namer for Program {
    fn symbols(&self, code: &Batch) -> Vec<Symbol> {
        let symbol = |row: usize| match name(code.frame(row).offset) {
            Some(name) => Symbol::Named(vec![line(name)]),
            None => Symbol::Unknown(Reason::NotCovered),
        };
        (0..code.frame_count()).map(symbol).collect()
    }

    fn has_names(&self, _: &ObjectId) -> bool {
        true
    }
}

fn line(name: &str) -> Line {
    let name: Arc<str> = name.into();
    Line {
        name: name.clone(),
        system_name: name,
        file: Some("src/main.rs".into()),
        line: 7,
        column: 0,
    }
}

/// The function at an offset.
fn name(offset: u64) -> Option<&'static str> {
    ["main", "serve", "parse"].get(usize::try_from(offset).ok()?).copied()
}

/// Offsets of the stacks of a service, outermost first; and what engines make of them.
const STACKS: [(&str, &[u64], &str); 4] = [
    ("api", &[0, 1], "main;serve"),
    ("api", &[0, 1, 2], "main;serve;parse"),
    ("api", &[0, 3], "main;?"),
    ("search", &[0, 2], "main;parse"),
];

fn batch(id: BatchId, start: i64) -> (NewBatch, Stacks) {
    let mut builder = BatchBuilder::new();
    let build_id = BuildId::new(BuildIdKind::Gnu, &[7; 20]).expect("valid");
    let object = builder.object(ObjectKind::File, Some(&build_id), "/usr/bin/program");
    let mut sums = Stacks::new();
    for (number, (service, offsets, text)) in STACKS.iter().enumerate() {
        let origin = builder.origin([("service", *service), ("version", "v1"), ("team", "core")]);
        let frames: Vec<_> = offsets
            .iter()
            .map(|offset| builder.frame(object, *offset, UnresolvedReason::Unspecified))
            .collect();
        let stack = builder.stack(frames);
        let samples = number as u64 + id.sequence % 3 + 1;
        builder.add(origin, stack, 0, samples, samples * PERIOD);
        sums.insert(((*service).to_owned(), (*text).to_owned()), (samples, samples * PERIOD));
    }
    let window = Window { start_unix_nanos: start, end_unix_nanos: start + 10 * SECOND };
    let batch = builder.finish(window, [("host", "h")], Accounting::default());
    let batch = NewBatch {
        id,
        batch,
        host: "h".to_owned(),
        agent_version: "1".to_owned(),
        accounting: Accounting::default(),
        bytes: 100,
    };
    (batch, sums)
}

/// The start of a day three days ago: everything in it can be merged now.
fn past_day() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let now = i64::try_from(now.as_nanos()).expect("before 2262");
    now - now.rem_euclid(DAY) - 3 * DAY
}

// === impl Directory ===

impl Directory {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        std::fs::create_dir(dir.path().join("profiles")).expect("made");
        Self { dir, instance: InstanceId::random(), sequence: 0, appended: Stacks::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn profiles(&self) -> PathBuf {
        self.path().join("profiles").canonicalize().expect("it is there")
    }

    pub(crate) async fn store(&self) -> ProfileStore {
        let url = format!("sqlite:{}", self.path().join("catalog.sqlite").display());
        let blobs = Blobs::directory(&self.profiles()).expect("opens");
        ProfileStore::open(blobs, Catalog::open(&url).await.expect("opens")).await.expect("opens")
    }

    pub(crate) async fn publisher(&self) -> Publisher {
        Publisher::new(Place::directory(self.path()).await.expect("opens"), Keep::default())
    }

    /// Appends a batch in each of some hours.
    pub(crate) async fn append(&mut self, store: &ProfileStore, hours: std::ops::Range<i64>) {
        for hour in hours {
            self.sequence += 1;
            let id = BatchId { instance: self.instance, sequence: self.sequence };
            let (batch, sums) = batch(id, past_day() + hour * HOUR);
            store.append(vec![batch]).await.expect("appends");
            for (key, (samples, nanos)) in sums {
                let sum = self.appended.entry(key).or_default();
                *sum = (sum.0 + samples, sum.1 + nanos);
            }
        }
    }
}

/// Does what merging there is to do now; gives how much it was.
pub(crate) async fn merge(store: &ProfileStore) -> u64 {
    let namer: Arc<dyn Namer> = Arc::new(Program);
    let merged = store.merge("w", &MergeLimits::default(), Some(namer), || false).await;
    let merged = merged.expect("merges");
    merged.jobs + merged.functions
}

/// Merges until nothing is left to do.
pub(crate) async fn merge_all(store: &ProfileStore) {
    while merge(store).await > 0 {}
}

/// Removes files that were retired, at once.
pub(crate) async fn remove(store: &ProfileStore) -> u64 {
    let retention = Retention { grace: Duration::ZERO, ..Retention::default() };
    let mut deleted = 0;
    for _ in 0..2 {
        deleted += store.retain(&retention).await.expect("removes").deleted;
    }
    deleted
}

/// A round that must do something, by table.
pub(crate) async fn publish(publisher: &mut Publisher) -> BTreeMap<String, Change> {
    match publisher.round().await.expect("publishes") {
        Round::Busy => panic!("nobody else is at it"),
        Round::Done(changes) => {
            changes.into_iter().map(|(table, change)| (table.to_string(), change)).collect()
        }
    }
}

/// Files added and removed, and how many there are, of both tables of a level: samples, stacks.
pub(crate) fn of(changes: &BTreeMap<String, Change>, level: Level) -> [(usize, usize, usize); 2] {
    [false, true].map(|is_stacks| {
        let change = changes[&TableName { level, is_stacks }.to_string()];
        assert_eq!(change.left_out, 0);
        (change.added, change.removed, change.files)
    })
}
