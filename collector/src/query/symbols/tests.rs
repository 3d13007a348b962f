use std::sync::Arc;

use fleetprof_proto::{
    batch::{BatchBuilder, Window},
    ids::{BuildId, BuildIdKind, ObjectKind},
    symbol::{Line, Reason},
    v1::{Accounting, UnresolvedReason},
};

use fleetprof_store::{Blob, FileId, FileRow, Level, NewFile, ServiceSum};

use super::*;

/// Check that frames count as often as they were sampled, and that lines and reasons are told apart.
#[test]
fn frames_count_as_often_as_they_were_sampled() {
    let mut builder = BatchBuilder::new();
    let build_id = BuildId::new(BuildIdKind::Gnu, &[1; 20]).expect("valid");
    let object = builder.object(ObjectKind::File, Some(&build_id), "/bin/app");
    let mut frame = |offset| builder.frame(object, offset, UnresolvedReason::Unspecified);
    let (main, work, lost) = (frame(1), frame(2), frame(3));
    let (deep, flat) = (builder.stack([main, work, lost]), builder.stack([main]));
    let old = builder.origin([("service", "app"), ("version", "1")]);
    let new = builder.origin([("service", "app"), ("version", "2")]);
    builder.add(old, deep, 0, 10, 0);
    builder.add(old, flat, 0, 1, 0);
    builder.add(new, flat, 0, 5, 0);
    let window = Window { start_unix_nanos: 0, end_unix_nanos: 1 };
    let batch = builder.finish(window, [], Accounting::default());

    let named = |line| {
        let name: Arc<str> = Arc::from("f");
        let (system_name, file) = (Arc::clone(&name), None);
        Symbol::Named(vec![Line { name, system_name, file, line, column: 0 }])
    };
    // Row 0 is reserved.
    let reserved = Symbol::Unknown(Reason::NoMapping);
    let symbols = [reserved, named(7), named(0), Symbol::Unknown(Reason::NotCovered)];
    let mut sums = Qualities::default();
    sums.add(&batch, &symbols);
    sums.add(&batch, &symbols);
    let found = sums.finish();
    let shown: Vec<_> =
        found.iter().map(|it| (it.version.as_str(), it.frames, it.named, it.with_lines)).collect();
    assert_eq!(shown, [("1", 62, 42, 22), ("2", 10, 10, 10)], "twice the same");
    let reasons: Vec<_> =
        found[0].unresolved.iter().map(|it| (it.name.as_str(), it.value)).collect();
    assert_eq!((reasons, found[1].unresolved.len()), (vec![("not_covered", 20)], 0));
}

/// A file with so many rows of these services.
fn piece(rows: u64, services: &[&str]) -> Piece {
    let id = FileId::random();
    let blob = || Blob { path: id.to_string(), bytes: 1, crc32c: 0 };
    let sum = |service: &&str| ServiceSum { service: (*service).to_owned(), samples: 1, nanos: 1 };
    let file = NewFile {
        id,
        level: Level::Fine,
        bucket: 0,
        service: None,
        samples: blob(),
        stacks: blob(),
        rows,
        batches: 1,
        spans: vec![(0, 1)],
        services: services.iter().map(sum).collect(),
    };
    let file =
        FileRow { file: file.into(), rolled: false, created: 0, damaged: None, functions: None };
    Piece { file, range: (0, 1) }
}

/// Check that small files are all looked at, and of large ones those that are needed to know each service.
#[test]
fn shares_take_few_files() {
    let rows = |pieces: Vec<Piece>| -> Vec<u64> {
        enough(pieces).into_iter().map(|piece| piece.file.file.rows).collect()
    };
    let small = (1..=100).map(|rows| piece(rows, &["a"])).collect();
    assert_eq!(rows(small), (1..=100).collect::<Vec<_>>());
    let large = |add, services: &[&str]| piece(ENOUGH_ROWS + add, services);
    let many = vec![
        large(1, &["a", "b"]),
        large(2, &["a"]),
        large(3, &["a"]),
        large(4, &["a", "b"]),
        large(5, &["b", "c"]),
        large(6, &["a", "b"]),
        large(7, &["c"]),
    ];
    let taken = rows(many).into_iter().map(|rows| rows - ENOUGH_ROWS).collect::<Vec<_>>();
    assert_eq!(taken, [1, 2, 4, 5, 7]);
}

/// Check that portions have all services once, in order, and no more rows than they may, but for services that have
/// more alone.
#[test]
fn portions_are_bounded() {
    let mut file = NewFile::clone(&piece(100, &["a", "b", "c", "d", "e"]).file.file);
    for (sum, samples) in file.services.iter_mut().zip([10, 10, 10, 160, 10]) {
        sum.samples = samples;
    }
    let portions = |most| -> Vec<String> {
        let joined = |portion: BTreeSet<String>| portion.into_iter().collect::<String>();
        portions(&file, most).into_iter().map(joined).collect()
    };
    assert_eq!(portions(10), ["ab", "c", "d", "e"]);
    assert_eq!(portions(0), ["a", "b", "c", "d", "e"]);
    assert_eq!(portions(u64::MAX), ["abcde"]);
    assert_eq!(super::portions(&piece(1, &[]).file.file, 10), []);
}
