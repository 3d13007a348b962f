//! Batches of a small fleet, and what a store should say of them.

use std::{collections::BTreeMap, path::Path, time::SystemTime};

use fleetprof_proto::{
    batch::{Batch, BatchBuilder, Window},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectKind},
    v1::{Accounting, UnresolvedReason},
};
use fleetprof_store::{
    Blobs, Catalog, DAY, HOUR, Level, MergeLimits, NewBatch, ProfileStore, Table, Wanted, Wish,
};
use tempfile::TempDir;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// A store in a directory of its own.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

/// Samples and nanoseconds by something.
pub(crate) type Sums = BTreeMap<String, (u64, u64)>;

// === impl Place ===

impl Place {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        std::fs::create_dir(dir.path().join("profiles")).expect("made");
        Self { dir }
    }

    pub(crate) fn profiles(&self) -> std::path::PathBuf {
        self.dir.path().join("profiles")
    }

    pub(crate) async fn open(&self) -> ProfileStore {
        let url = format!("sqlite:{}", self.dir.path().join("catalog.sqlite").display());
        let blobs = Blobs::directory(&self.profiles()).expect("opens");
        let catalog = Catalog::open(&url).await.expect("opens");
        ProfileStore::open(blobs, catalog).await.expect("opens")
    }
}

/// The start of a day three days ago: everything in it can be merged now.
pub(crate) fn past_day() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let now = i64::try_from(now.as_nanos()).expect("before 2262");
    now - now.rem_euclid(DAY) - 3 * DAY
}

/// A batch of 10 s of one of some hosts: two services, whose stacks depend on `number`.
pub(crate) fn batch(instance: InstanceId, sequence: u64, start: i64, host: &str) -> NewBatch {
    let mut builder = BatchBuilder::new();
    let build_id = BuildId::new(BuildIdKind::Gnu, &[7; 20]).expect("valid");
    let object = builder.object(ObjectKind::File, Some(&build_id), "/usr/bin/program");
    let frames: Vec<_> = (0..4)
        .map(|at| builder.frame(object, 0x1000 + at * 16, UnresolvedReason::Unspecified))
        .collect();
    let third = usize::try_from(sequence % 3).expect("small");
    let (often, rarely) = (
        builder.stack([frames[0], frames[1]]),
        builder.stack([frames[0], frames[1], frames[1 + third]]),
    );
    for (service, samples) in [("checkout", 3), ("search", 2)] {
        let origin = builder.origin([("service", service), ("comm", "main"), ("version", "v1")]);
        builder.add(origin, often, 0, samples, samples * 50_000_001);
        builder.add(origin, rarely, 0, 1, 52_631_578);
    }
    let window = Window { start_unix_nanos: start, end_unix_nanos: start + 10 * SECOND };
    let batch = builder.finish(window, [("host", host), ("zone", "z1")], Accounting::default());
    new(BatchId { instance, sequence }, batch)
}

pub(crate) fn new(id: BatchId, batch: Batch) -> NewBatch {
    NewBatch {
        id,
        batch,
        host: "h".to_owned(),
        agent_version: "1".to_owned(),
        accounting: Accounting::default(),
        bytes: 100,
    }
}

/// All samples of a range by what `key` says of their labels, the start of their hour, and their stack's
/// depth; and the levels they were read from.
pub(crate) async fn sums(
    store: &ProfileStore,
    wish: &Wish,
    key: impl Fn(&BTreeMap<&str, &str>, i64, usize) -> String,
) -> (Sums, Vec<Level>) {
    let plan = store.plan(wish).await.expect("plans");
    assert_eq!(plan.lacks, [""; 0]);
    let (mut sums, mut levels) = (Sums::new(), Vec::new());
    for piece in &plan.pieces {
        levels.push(piece.file.file.level);
        let wanted = Wanted {
            services: wish.service.clone().map(|service| [service].into()),
            range: Some(wish.range),
            ..Wanted::all()
        };
        let table = store.read(piece, wanted).await.expect("reads");
        add(&mut sums, &table, &key);
    }
    levels.sort_unstable();
    levels.dedup();
    (sums, levels)
}

fn add(sums: &mut Sums, table: &Table, key: impl Fn(&BTreeMap<&str, &str>, i64, usize) -> String) {
    for row in &table.rows {
        let depth = table.code.stack_frames(row.stack as usize).count();
        let start = row.window.start_unix_nanos;
        let sum = sums.entry(key(&table.labels(row.origin), start - start.rem_euclid(HOUR), depth));
        let sum = sum.or_default();
        *sum = (sum.0 + row.samples, sum.1 + row.nanos);
    }
}

pub(crate) fn wish(start: i64, end: i64) -> Wish {
    Wish { service: None, range: (start, end), labels: Vec::new(), step: 0 }
}

/// Merges until nothing is left to do; answers the number of jobs.
pub(crate) async fn merge_all(store: &ProfileStore) -> u64 {
    let mut jobs = 0;
    loop {
        let merged = store.merge("w", &MergeLimits::default(), None, || false).await;
        let merged = merged.expect("merges");
        assert_eq!(merged.lost, 0);
        if merged.jobs == 0 {
            return jobs;
        }
        jobs += merged.jobs;
        assert!(jobs < 10_000, "it never ends");
    }
}

/// Paths of files below a directory, relative to it.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("lists") {
            let path = entry.expect("lists").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let relative = path.strip_prefix(root).expect("below");
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}
