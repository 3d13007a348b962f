//! What is written is read, whole or in part.

use std::collections::BTreeMap;

use fleetprof_store::{
    FileId, FormatError, NO_WINDOW, Reader, Row, Stacks, Table, TableBuilder, Wanted, decode,
    encode, midpoint,
};
use proptest::prelude::*;

use crate::tables::{Key, NOON, content, deep, samples, table};

fn id() -> FileId {
    FileId::from_number(0x1234_5678_9abc_def0).expect("a positive number")
}

fn read(table: &Table, wanted: &Wanted) -> Table {
    let files = encode(id(), table, None).expect("a table that can be stored");
    let stacks = wanted.has_stacks().then_some(files.stacks);
    decode(files.samples, stacks, wanted).expect("what was written")
}

/// What should be read, by going through the table.
fn filtered(table: &Table, wanted: &Wanted) -> BTreeMap<Key, (u64, u64)> {
    let mut kept: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for (mut key, sum) in content(table) {
        let service = key.0.iter().find(|label| label.0 == "service");
        let service = service.map_or("", |label| label.1.as_str());
        let middle = key.1.0 + (key.1.1 - key.1.0) / 2;
        if wanted.services.as_ref().is_some_and(|wanted| !wanted.contains(service))
            || wanted.range.is_some_and(|(start, end)| middle < start || middle >= end)
        {
            continue;
        }
        if let Some(labels) = &wanted.labels {
            key.0.retain(|(name, _)| labels.contains(name));
        }
        if !wanted.windows || wanted.stacks == Stacks::Frames {
            key.1 = (NO_WINDOW.start_unix_nanos, NO_WINDOW.end_unix_nanos);
        }
        let mut keep = |key: Key| {
            let known = kept.entry(key).or_default();
            *known = (known.0 + sum.0, known.1 + sum.1);
        };
        if wanted.stacks == Stacks::Frames {
            key.2 = 0;
            for frame in &key.3 {
                keep((key.0.clone(), key.1, key.2, vec![frame.clone()]));
            }
        }
        if wanted.stacks != Stacks::Whole {
            key.3.clear();
        }
        keep(key);
    }
    kept
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let label = prop::sample::select(vec!["service", "version", "host", "team", "region", "pod"]);
    let labels = prop::collection::vec(label.prop_map(str::to_owned), 0..4);
    let service = prop::sample::select(vec!["", "api", "worker", "wörker-2", "other"]);
    let second = 1_000_000_000;
    let range = (0..30_i64, 1..30_i64)
        .prop_map(move |(start, width)| (NOON + start * second, NOON + (start + width) * second));
    (
        prop::option::of(prop::collection::btree_set(service.prop_map(str::to_owned), 0..3)),
        prop::option::of(labels),
        prop::option::of(range),
        any::<bool>(),
        prop::sample::select(vec![Stacks::None, Stacks::Frames, Stacks::Whole]),
    )
        .prop_map(|(services, labels, range, windows, stacks)| Wanted {
            services,
            labels,
            range,
            windows,
            stacks,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_read(samples in samples()) {
        let table = table(&samples);
        let again = read(&table, &Wanted::all());
        prop_assert_eq!(content(&again), content(&table));
        // No row is there twice, and what was read can be written again.
        prop_assert_eq!(again.rows.len(), content(&table).len());
        prop_assert_eq!(content(&read(&again, &Wanted::all())), content(&table));
    }

    #[test]
    fn a_part_is_what_filtering_gives(samples in samples(), wanted in wanted()) {
        let table = table(&samples);
        let read = read(&table, &wanted);
        prop_assert_eq!(content(&read), filtered(&table, &wanted));
        prop_assert_eq!(read.rows.len(), filtered(&table, &wanted).len());
    }

    #[test]
    fn sums_and_spans_are_those_of_the_samples(samples in samples()) {
        let table = table(&samples);
        let files = encode(id(), &table, None).expect("a table that can be stored");
        prop_assert_eq!(files.rows, table.rows.len() as u64);
        let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for row in &table.rows {
            let service = table.labels(row.origin).get("service").copied().unwrap_or_default();
            let sum = sums.entry(service.to_owned()).or_default();
            *sum = (sum.0 + row.samples, sum.1 + row.nanos);
        }
        let services = files.services.iter();
        let services: BTreeMap<_, _> =
            services.map(|sum| (sum.service.clone(), (sum.samples, sum.nanos))).collect();
        prop_assert_eq!(services, sums);
        prop_assert!(files.services.is_sorted_by(|a, b| a.service < b.service));
        prop_assert!(files.spans.is_sorted_by(|a, b| a.1 < b.0));
        let covers = |row: &Row| {
            let (start, end) = (row.window.start_unix_nanos, row.window.end_unix_nanos);
            files.spans.iter().filter(|span| span.0 <= start && end <= span.1).count() == 1
        };
        prop_assert!(table.rows.iter().all(covers));
    }
}

#[test]
fn deep_stacks_are_read() {
    let table = deep();
    assert_eq!(content(&read(&table, &Wanted::all())), content(&table));
}

#[test]
fn an_empty_table_is_a_pair_of_files() {
    let table = TableBuilder::new().finish();
    assert_eq!(read(&table, &Wanted::all()).rows, []);
    let files = encode(id(), &table, None).expect("nothing can be stored");
    assert_eq!((files.rows, files.services.len(), files.spans.len()), (0, 0, 0));
}

/// Services with enough rows to have row groups of their own: one is read without the others, and group
/// after group.
#[test]
fn row_groups_are_of_services() {
    use fleetprof_proto::{
        batch::{BatchBuilder, Window},
        ids::ObjectKind,
        v1::{Accounting, UnresolvedReason},
    };
    let mut table = TableBuilder::new();
    for minute in 0..4 {
        let mut batch = BatchBuilder::new();
        let object = batch.object(ObjectKind::File, None, "/bin/a");
        for service in ["a", "b", "c"] {
            let origin = batch.origin([("service", service)]);
            for offset in 0..if service == "b" { 40_000 } else { 5_000 } {
                let frame = batch.frame(object, offset, UnresolvedReason::NoBuildId);
                let stack = batch.stack([frame]);
                batch.add(origin, stack, 0, 1, 1);
            }
        }
        let start = NOON + minute * 60_000_000_000;
        let window = Window { start_unix_nanos: start, end_unix_nanos: start + 60_000_000_000 };
        table.add_batch(&batch.finish(window, [], Accounting::default()));
    }
    let table = table.finish();
    let files = encode(id(), &table, None).expect("a table that can be stored");
    let groups = |wanted: &Wanted| {
        let reader = Reader::new(files.samples.clone(), Some(files.stacks.clone()), wanted);
        reader.expect("what was written").groups()
    };
    // 20,000 rows of a; 131,072 and 28,928 of b; 20,000 of c.
    assert_eq!(groups(&Wanted::all()), 4);
    let b = Wanted::of_service("b");
    assert_eq!(groups(&b), 2);
    assert_eq!(groups(&Wanted::of_service("c")), 1);
    let first_minute = Some((NOON, NOON + 60_000_000_000));
    assert_eq!(groups(&Wanted { range: first_minute, ..b.clone() }), 1);

    let mut reader = Reader::new(files.samples.clone(), Some(files.stacks.clone()), &b)
        .expect("what was written");
    let mut builder = TableBuilder::new();
    assert_eq!(reader.read_group(&mut builder).expect("a row group"), Some(131_072));
    assert_eq!(reader.read_group(&mut builder).expect("a row group"), Some(28_928));
    assert_eq!(reader.read_group(&mut builder).expect("the end"), None);
    let read = builder.finish();
    assert_eq!(content(&read), filtered(&table, &b));
    // Only what is wanted was taken from the stacks.
    assert_eq!(read.code.stack_count(), 40_001);
    let middle = |row: &Row| midpoint(row.window) < NOON + 60_000_000_000;
    assert_eq!(read.rows.iter().filter(|row| middle(row)).count(), 40_000);
}

#[test]
fn what_has_no_place_is_refused() {
    let mut table = deep();
    table.rows[0].samples = 1 << 63;
    assert!(matches!(encode(id(), &table, None), Err(FormatError::Unstorable { .. })));
    let mut table = deep();
    table.rows[0].window.end_unix_nanos = table.rows[0].window.start_unix_nanos;
    assert!(matches!(encode(id(), &table, None), Err(FormatError::Unstorable { .. })));
}

/// Check that samples of stacks that the other file does not have are no samples without stacks.
#[test]
fn stacks_that_are_not_there_are_noticed() {
    use fleetprof_proto::{
        batch::{BatchBuilder, Window},
        ids::ObjectKind,
        v1,
    };
    let files = |stacks: u64| {
        let mut batch = BatchBuilder::new();
        let object = batch.object(ObjectKind::File, None, "/bin/a");
        let origin = batch.origin([("service", "a")]);
        for offset in 0..stacks {
            let frame = batch.frame(object, offset, v1::UnresolvedReason::NoBuildId);
            let stack = batch.stack([frame]);
            batch.add(origin, stack, 0, 1, 1);
        }
        let window = Window { start_unix_nanos: NOON, end_unix_nanos: NOON + 1_000_000 };
        let mut table = TableBuilder::new();
        table.add_batch(&batch.finish(window, [], v1::Accounting::default()));
        encode(id(), &table.finish(), None).expect("a table that can be stored")
    };
    let (more, fewer) = (files(5), files(4));
    for (windows, stacks) in
        [(true, Stacks::Whole), (false, Stacks::Whole), (false, Stacks::Frames)]
    {
        let wanted = Wanted { windows, stacks, ..Wanted::all() };
        let read = decode(more.samples.clone(), Some(fewer.stacks.clone()), &wanted);
        let damage = read.expect_err("a stack is not there").to_string();
        assert!(damage.contains("stack 5 does not exist"), "{wanted:?}: {damage}");
        let read = decode(fewer.samples.clone(), Some(more.stacks.clone()), &wanted);
        assert!(read.is_ok(), "{wanted:?}");
    }
}

#[test]
fn files_of_two_pairs_are_refused() {
    let one = encode(id(), &deep(), None).expect("a table that can be stored");
    let other = encode(FileId::random(), &deep(), None).expect("a table that can be stored");
    let read = decode(one.samples.clone(), Some(other.stacks), &Wanted::all());
    assert!(matches!(read, Err(FormatError::Damaged { file: "stacks", .. })), "{read:?}");
    let read = decode(one.samples, None, &Wanted::all());
    assert!(matches!(read, Err(FormatError::NoStacks)), "{read:?}");
}
