use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectKind},
    symbol::{Reason, Symbol},
    v1::{self, UnresolvedReason},
};

const WINDOW: Window = Window { start_unix_nanos: 1_000, end_unix_nanos: 2_000 };

fn gnu(byte: u8) -> BuildId {
    BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid")
}

/// Two services that share `main -> work`, one with a deeper leaf.
fn sample_batch(host: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, Some(&gnu(1)), "/bin/app");
    let main = builder.frame(object, 0x10, UnresolvedReason::Unspecified);
    let work = builder.frame(object, 0x20, UnresolvedReason::Unspecified);
    let lost = builder.frame(ObjectIndex::UNKNOWN, 0xdead, UnresolvedReason::NoMapping);
    let shallow = builder.stack([main, work]);
    let deep = builder.stack([main, work, lost]);
    let a = builder.origin([("service", "a"), ("comm", "t1")]);
    let b = builder.origin([("service", "b")]);
    builder.add(a, shallow, 0, 3, 30);
    builder.add(a, shallow, 0, 1, 10);
    builder.add(a, deep, 2, 1, 10);
    builder.add(b, deep, 0, 5, 50);
    builder.finish(WINDOW, [("host", host)], v1::Accounting { sealed: 10, ..Default::default() })
}

fn id() -> BatchId {
    BatchId { instance: InstanceId::random(), sequence: 7 }
}

/// (labels, frames innermost first) → (count, nanos), whatever the tables' order.
type Content = BTreeMap<(Vec<(String, String)>, Vec<(String, u64)>), (u64, u64)>;

fn content(batch: &Batch) -> Content {
    let mut content = Content::new();
    for row in batch.samples() {
        let mut labels: Vec<_> = batch
            .labels()
            .chain(batch.origin_labels(row.origin))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        labels.sort();
        let frames = batch
            .stack_frames(row.stack)
            .map(|f| (batch.frame(f).path.to_owned(), batch.frame(f).offset))
            .collect();
        let sum = content.entry((labels, frames)).or_default();
        *sum = (sum.0 + row.count, sum.1 + row.nanos);
    }
    content
}

fn all_labels(labels: &BTreeMap<&str, &str>) -> Option<Vec<(String, String)>> {
    Some(labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
}

/// Check that equal (origin, stack, result) are one row and that stacks share their common root.
#[test]
fn builder_interns_by_full_equality() {
    let batch = sample_batch("h");
    assert_eq!(batch.samples().count(), 3);
    assert_eq!(batch.sample_total(), 10);
    assert_eq!(batch.stack_count(), 4, "empty, main, main→work, main→work→lost");
    assert_eq!(batch.frame(3).fallback_name(), "0xdead");
    assert_eq!(batch.frame(1).fallback_name(), "app+0x10");
    assert_eq!(batch.object_ids().count(), 1);
    let unknown = |reason| Err(Symbol::Unknown(reason));
    assert_eq!(batch.frame(1).locate().ok(), batch.object_ids().next());
    assert_eq!(batch.frame(3).locate(), unknown(Reason::NoMapping));
}

/// Check that what is sealed is what is opened.
#[test]
fn sealed_batches_open_to_the_same() {
    let (id, batch) = (id(), sample_batch("h"));
    let sealed = seal(id, &batch).expect("sealed");
    assert_eq!(sealed.samples, 10);
    let (opened_id, opened) = open(&sealed, Limits::default()).expect("opens");
    assert_eq!((opened_id, sealed.format), (id, FORMAT));
    assert_eq!(content(&opened), content(&batch));
    let plain = downgrade(&sealed, Limits::default()).expect("can be changed");
    assert_eq!((plain.format, plain.samples), (OLDEST_FORMAT, 10));
    assert_eq!(open(&plain, Limits::default()).expect("opens"), (id, opened));
}

/// Check each way in which an envelope can lie.
#[test]
fn damaged_envelopes_are_refused() {
    let good = seal(id(), &sample_batch("h")).expect("sealed");
    let refused = |change: &dyn Fn(&mut v1::SealedBatch)| {
        let mut sealed = good.clone();
        change(&mut sealed);
        open(&sealed, Limits::default()).expect_err("must be refused").to_string()
    };
    assert!(refused(&|s| s.instance.push(0)).contains("instance id of 17 bytes"));
    assert!(refused(&|s| s.sequence = 0).contains("sequence 0"));
    assert!(refused(&|s| s.format = FORMAT + 1).contains("upgrade"));
    assert!(refused(&|s| s.crc32c ^= 1).contains("CRC-32C"));
    assert!(refused(&|s| s.raw_size += 1).contains("announced"));
    assert!(refused(&|s| s.raw_size -= 1).contains("announced"));
    assert!(refused(&|s| s.raw_size = u64::MAX).contains("over the limit"));
    assert!(refused(&|s| s.samples = 11).contains("11"));
    assert!(refused(&|s| s.payload = vec![0; (16 << 20) + 1].into()).contains("over the limit"));
}

/// Check that a small payload that decompresses to gigabytes costs no more than it announces.
#[test]
fn decompression_bombs_are_refused() {
    let bomb = zstd::bulk::compress(&vec![0_u8; 64 << 20], 1).expect("compresses");
    let mut sealed = seal(id(), &sample_batch("h")).expect("sealed");
    sealed.crc32c = crc32c::crc32c(&bomb);
    sealed.payload = bomb.into();
    assert!(matches!(open(&sealed, Limits::default()), Err(OpenError::Payload(_))));
}

/// Check that every kind of bad index is found, with a message that names its table.
#[test]
fn inconsistent_tables_are_refused() {
    let refused = |change: &dyn Fn(&mut v1::Batch)| {
        let mut wire = sample_batch("h").wire().clone();
        change(&mut wire);
        Batch::validate(wire).expect_err("must be refused").to_string()
    };
    assert!(refused(&|b| b.end_unix_nanos = 1_000).contains("window"));
    assert!(refused(&|b| b.strings[0] = "x".into()).contains("strings"));
    assert!(refused(&|b| b.strings.clear()).contains("strings"));
    assert!(refused(&|b| b.labels[0].value = 999).contains("labels"));
    assert!(refused(&|b| b.labels[0].name = 0).contains("label name"));
    assert!(refused(&|b| b.objects[1].path = 999).contains("objects"));
    assert!(refused(&|b| b.objects[1].kind = 99).contains("object kind"));
    assert!(refused(&|b| b.objects.clear()).contains("objects"));
    assert!(refused(&|b| b.frames.as_mut().unwrap().object[1] = 9).contains("frames"));
    assert!(refused(&|b| b.frames.as_mut().unwrap().offset.truncate(1)).contains("frames"));
    assert!(refused(&|b| b.stacks.as_mut().unwrap().frame[1] = 9).contains("stacks"));
    assert!(refused(&|b| b.stacks.as_mut().unwrap().parent_distance[1] = 2).contains("stacks"));
    assert!(refused(&|b| b.stacks.as_mut().unwrap().parent_distance[2] = 0).contains("stacks"));
    assert!(refused(&|b| b.samples.as_mut().unwrap().stack[0] = 9).contains("samples"));
    assert!(refused(&|b| b.samples.as_mut().unwrap().origin[0] = 9).contains("samples"));
    assert!(refused(&|b| b.samples.as_mut().unwrap().count[0] = 0).contains("0 samples"));
    assert!(refused(&|b| b.samples.as_mut().unwrap().nanos[0] = u64::MAX).contains("overflow"));
    assert!(refused(&|b| b.stacks = None).contains("stacks"));
}

/// Check that merging keeps sums, joins equal code and honours the selection.
#[test]
fn merging_adds_up_and_filters() {
    let mut merger = Merger::new();
    for host in ["h1", "h2", "h1"] {
        merger.add(&sample_batch(host), |labels| {
            (labels["service"] == "a").then(|| vec![("host".into(), labels["host"].into())])
        });
    }
    assert_eq!((merger.batches(), merger.samples()), (3, 15));
    let merged = merger.finish();
    let hosts: BTreeMap<_, u64> =
        content(&merged).into_iter().fold(BTreeMap::new(), |mut sums, ((labels, _), value)| {
            *sums.entry(labels[0].1.clone()).or_default() += value.0;
            sums
        });
    assert_eq!(hosts, BTreeMap::from([("h1".to_owned(), 10), ("h2".to_owned(), 5)]));
    assert_eq!(merged.frame_count(), 4, "code is shared, not repeated per batch");
    assert!(Batch::validate(merged.wire().clone()).is_ok());
}

/// Check that a stack of a million frames is merged without recursion.
#[test]
fn merging_survives_very_deep_stacks() {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, Some(&gnu(1)), "/bin/deep");
    let frames: Vec<_> = (0..1_000_000)
        .map(|offset| builder.frame(object, offset, UnresolvedReason::Unspecified))
        .collect();
    let stack = builder.stack(frames);
    let origin = builder.origin([("service", "s")]);
    builder.add(origin, stack, 0, 1, 1);
    let batch = builder.finish(WINDOW, [], v1::Accounting::default());
    let mut merger = Merger::new();
    merger.add(&batch, all_labels);
    assert_eq!(merger.finish().stack_count(), 1_000_001);
}

mod names;

type Row = (u8, Vec<(u8, u16)>, u8, u8);

fn build(rows: &[Row]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (service, frames, result, count) in rows {
        let origin = builder.origin([("service", format!("s{service}").as_str())]);
        let frames: Vec<_> = frames
            .iter()
            .map(|(file, offset)| {
                let object =
                    builder.object(ObjectKind::File, Some(&gnu(*file)), &format!("/f{file}"));
                builder.frame(object, (*offset).into(), UnresolvedReason::Unspecified)
            })
            .collect();
        let stack = builder.stack(frames);
        let count = u64::from(*count) + 1;
        builder.add(origin, stack, (*result).into(), count, count * 10);
    }
    builder.finish(WINDOW, [("host", "h")], v1::Accounting::default())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let frame = (0..3_u8, 0..5_u16);
    let row = (0..3_u8, prop::collection::vec(frame, 0..6), 0..3_u8, any::<u8>());
    prop::collection::vec(row, 0..30)
}

proptest! {
    /// Check that any batch survives sealing, and that merging it with itself doubles it.
    #[test]
    fn batches_round_trip_and_merge(rows in rows()) {
        let batch = build(&rows);
        prop_assert!(Batch::validate(batch.wire().clone()).is_ok());
        let sealed = seal(id(), &batch).expect("sealed");
        let (_, opened) = open(&sealed, Limits::default()).expect("opens");
        prop_assert_eq!(content(&opened), content(&batch));
        let mut merger = Merger::new();
        merger.add(&batch, all_labels);
        merger.add(&opened, all_labels);
        let doubled = content(&batch).into_iter().map(|(k, v)| (k, (v.0 * 2, v.1 * 2))).collect::<Content>();
        prop_assert_eq!(content(&merger.finish()), doubled);
    }

    /// Check that all stacks translated at once are those translated one by one.
    #[test]
    fn stacks_are_translated_to_the_same_rows(known in rows(), rows in rows()) {
        let mut builder = BatchBuilder::new();
        Translation::new(&build(&known)).all(&mut builder);
        let batch = build(&rows);
        let all = Translation::new(&batch).all(&mut builder);
        let before = builder.rows();
        let mut translation = Translation::new(&batch);
        for (row, stack) in all.iter().enumerate() {
            prop_assert_eq!(translation.stack(&mut builder, row), *stack);
        }
        prop_assert_eq!((all.len(), builder.rows()), (batch.stack_count(), before));
    }

    /// Check that no bytes make validation or a walk over the result panic.
    #[test]
    fn mutated_batches_never_panic(rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut raw = build(&rows).wire().encode_to_vec();
        let at = at.index(raw.len());
        raw[at] = byte;
        if let Ok(wire) = v1::Batch::decode(raw.as_slice())
            && let Ok(batch) = Batch::validate(wire)
        {
            let _ = content(&batch);
            let mut merger = Merger::new();
            merger.add(&batch, all_labels);
            let _ = merger.finish();
        }
    }
}
