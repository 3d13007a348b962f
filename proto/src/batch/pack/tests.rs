use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    batch::{Batch, BatchBuilder, ObjectIndex, SourceName, StackIndex, Window},
    ids::ObjectKind,
};

const WINDOW: Window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };

/// A row of samples with all that it refers to: origin, stack, result, count, nanoseconds.
type Row = (String, Vec<String>, u32, u64, u64);

/// Whatever the order of the tables.
fn rows(batch: &Batch) -> Vec<Row> {
    let mut rows: Vec<Row> = batch
        .samples()
        .map(|row| {
            let origin = format!("{:?}", batch.origin_labels(row.origin).collect::<Vec<_>>());
            let frames = batch.stack_frames(row.stack);
            let frames = frames.map(|frame| format!("{:?}", batch.frame(frame))).collect();
            (origin, frames, row.result, row.count, row.nanos)
        })
        .collect();
    rows.sort();
    rows
}

fn there_and_back(batch: &Batch) -> Batch {
    let unpacked = unpack(pack(batch.wire())).expect("a tree");
    Batch::validate(unpacked).expect("is valid")
}

/// Frames of two objects and of none, with offsets at both ends of what there is, and names.
#[derive(Clone, Debug)]
enum Frame {
    Placed(u8, u64),
    Named(u8, u32),
}

fn frame() -> impl Strategy<Value = Frame> {
    let offset = prop_oneof![0..9_u64, any::<u64>(), Just(u64::MAX)];
    prop_oneof![
        (0..3_u8, offset).prop_map(|(object, offset)| Frame::Placed(object, offset)),
        (0..3_u8, 0..3_u32).prop_map(|(function, line)| Frame::Named(function, line)),
    ]
}

type Sample = (u8, Vec<Frame>, u32, u64, u64);

fn sample() -> impl Strategy<Value = Sample> {
    let nanos = prop_oneof![Just(10), 0..1_000_u64, 0..u64::MAX >> 8];
    (0..3_u8, prop::collection::vec(frame(), 0..7), 0..3_u32, 1..5_u64, nanos)
}

fn build(samples: &[Sample]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (service, frames, result, count, nanos) in samples {
        let origin = builder.origin([("service", format!("s{service}").as_str())]);
        let stack = frames.iter().fold(StackIndex::EMPTY, |parent, frame| {
            let frame = match frame {
                Frame::Placed(0, offset) => {
                    builder.frame(ObjectIndex::UNKNOWN, *offset, v1::UnresolvedReason::NoMapping)
                }
                Frame::Placed(object, offset) => {
                    let path = format!("/bin/{object}");
                    let object = builder.object(ObjectKind::File, None, &path);
                    builder.frame(object, *offset, v1::UnresolvedReason::NoBuildId)
                }
                Frame::Named(function, line) => {
                    let object = builder.object(ObjectKind::Anonymous, None, "[jit]");
                    let function = format!("f{function}");
                    let name = SourceName { function: &function, file: Some("a.js"), line: *line };
                    builder.named_frame(object, name)
                }
            };
            builder.child(parent, frame)
        });
        builder.add(origin, stack, *result, *count, *nanos);
    }
    builder.finish(WINDOW, [("host", "h")], v1::Accounting::default())
}

proptest! {
    /// Check that nothing is lost, and that what is in order stays as it is.
    #[test]
    fn what_was_packed_is_unpacked(samples in prop::collection::vec(sample(), 0..30)) {
        let batch = build(&samples);
        let ordered = there_and_back(&batch);
        prop_assert_eq!(rows(&ordered), rows(&batch));
        let twice = there_and_back(&ordered);
        prop_assert_eq!(twice.wire(), ordered.wire());
    }

    /// Check that no bytes make unpacking panic, and that what comes out can be validated.
    #[test]
    fn damaged_tables_never_panic(
        samples in prop::collection::vec(sample(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut raw = pack(build(&samples).wire()).encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if let Ok(Ok(wire)) = v1::Batch::decode(raw.as_slice()).map(unpack)
            && let Ok(batch) = Batch::validate(wire)
        {
            let _rows = rows(&batch);
        }
    }
}

/// Check the documented form, column by column, on tables small enough to be read.
#[test]
fn columns_are_as_documented() {
    let mut builder = BatchBuilder::new();
    let [one, other] =
        ["/bin/a", "/bin/b"].map(|path| builder.object(ObjectKind::File, None, path));
    let mut frame = |object, offset| builder.frame(object, offset, v1::UnresolvedReason::NoBuildId);
    let (b, late, early) = (frame(other, 50), frame(one, 400), frame(one, 300));
    let deep = builder.stack([early, late, b]);
    let beside = builder.stack([early, b]);
    let origin = builder.origin([("service", "s")]);
    builder.add(origin, deep, 0, 1, 10);
    builder.add(origin, beside, 0, 3, 29);
    let batch = builder.finish(WINDOW, [], v1::Accounting::default());
    let packed = pack(batch.wire());
    let frames = packed.frames.expect("frames");
    // None, a+300, a+400, b+50; twice the difference, minus one where it is negative.
    assert_eq!((&*frames.object, &*frames.offset), (&[0, 2, 0, 2][..], &[0, 600, 200, 100][..]));
    // The root; early, late and b below it, each a step down; one step up from late, b again.
    let stacks = packed.stacks.expect("stacks");
    assert_eq!(
        (&*stacks.parent_distance, &*stacks.frame),
        (&[0, 0, 0, 0, 2][..], &[0, 2, 2, 2, 2][..])
    );
    let samples = packed.samples.expect("samples");
    assert_eq!((&*samples.stack, &*samples.nanos), (&[3, 2][..], &[10, 1][..]));
}

/// Check that a stack that would stand above the root is refused, with the row.
#[test]
fn nothing_is_above_the_root() {
    let mut packed = pack(build(&[(0, vec![Frame::Placed(1, 1)], 0, 1, 1)]).wire());
    packed.stacks.as_mut().expect("stacks").parent_distance[1] = 1;
    let error = unpack(packed).expect_err("refused").to_string();
    assert_eq!(error, "table stacks, row 1: steps up 1 does not exist");
}

/// Check that a stack of a million frames is written and read without recursion.
#[test]
fn very_deep_stacks_are_no_danger() {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, None, "/bin/deep");
    let stack = (0..1_000_000).fold(StackIndex::EMPTY, |parent, offset| {
        let frame = builder.frame(object, offset % 7, v1::UnresolvedReason::NoBuildId);
        builder.child(parent, frame)
    });
    let origin = builder.origin([("service", "s")]);
    builder.add(origin, stack, 0, 1, 1);
    let batch = builder.finish(WINDOW, [], v1::Accounting::default());
    let again = there_and_back(&batch);
    assert_eq!(again.stack_frames(again.stack_count() - 1).count(), 1_000_000);
}
