use std::sync::Arc;

use fleetprof_proto::{
    batch::{BatchBuilder, FrameIndex, StackIndex, Window},
    ids::ObjectKind,
    symbol::{Line, Reason},
};

use super::*;

const WINDOW: Window = Window { start_unix_nanos: 0, end_unix_nanos: 10 };

fn line(name: &str) -> Line {
    let name: Arc<str> = name.into();
    Line { system_name: name.clone(), name, file: None, line: 1, column: 0 }
}

/// A batch with stacks of frames numbered from 1 (outermost first) and their nanoseconds.
fn batch(stacks: &[(&[u64], u64)]) -> Batch {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, None, "/lib/libx.so");
    // In order, so that frame n has offset n and row n.
    let reason = v1::UnresolvedReason::NoBuildId;
    let frames: Vec<FrameIndex> = (1..=9).map(|n| builder.frame(object, n, reason)).collect();
    let origin = builder.origin([("service", "s")]);
    for (stack, nanos) in stacks {
        let frames = stack.iter().map(|n| frames[usize::try_from(*n).expect("small") - 1]);
        let stack = if stack.is_empty() { StackIndex::EMPTY } else { builder.stack(frames) };
        builder.add(origin, stack, 0, 1, *nanos);
    }
    builder.finish(WINDOW, [], v1::Accounting::default())
}

fn rows(batch: &Batch, symbols: &[Symbol]) -> Vec<(String, u64, u64)> {
    let mut rows: Vec<_> = usage(batch, symbols)
        .into_iter()
        .map(wire)
        .map(|row| (row.function, row.self_nanos, row.total_nanos))
        .collect();
    rows.sort();
    rows
}

/// Check that a recursive function counts once in total, however its frames are spread, and that self
/// times add up to everything.
#[test]
fn recursion_counts_once_in_total() {
    let batch = batch(&[(&[1, 2, 3, 2], 10), (&[1, 2], 5), (&[1], 1)]);
    let name = |name: &str| Symbol::Named(vec![line(name)]);
    // Frames 1 and 3 are two places of one function.
    let symbols = [Symbol::Unknown(Reason::NoObject), name("f"), name("g"), name("f")];
    let rows = rows(&batch, &symbols);
    assert_eq!(rows, [("f".to_owned(), 1, 16), ("g".to_owned(), 15, 15)]);
}

/// Check that inlined functions are functions: the innermost has the self time.
#[test]
fn inlined_functions_count() {
    let batch = batch(&[(&[1, 2], 10)]);
    let symbols = [
        Symbol::Unknown(Reason::NoObject),
        Symbol::Named(vec![line("main")]),
        Symbol::Named(vec![line("tiny"), line("inner"), line("outer")]),
    ];
    let expected = [("inner", 0, 10), ("main", 0, 10), ("outer", 0, 10), ("tiny", 10, 10)];
    assert_eq!(rows(&batch, &symbols), expected.map(|(n, s, t)| (n.to_owned(), s, t)));
}

/// Check that code without a name and samples without a stack are shown as such.
#[test]
fn nothing_disappears() {
    let batch = batch(&[(&[1, 2], 10), (&[], 3)]);
    let symbols = [Symbol::Unknown(Reason::NoObject), Symbol::Named(Vec::new())];
    let expected = [("[no stack]", 3, 3), ("libx.so+0x1", 0, 10), ("libx.so+0x2", 10, 10)];
    assert_eq!(rows(&batch, &symbols), expected.map(|(n, s, t)| (n.to_owned(), s, t)));
}

/// Check that an address says why it has no name, and a function does not.
#[test]
fn addresses_say_why_they_have_no_name() {
    let batch = batch(&[(&[1, 2], 10)]);
    let reserved = Symbol::Unknown(Reason::NoObject);
    let symbols = [reserved, Symbol::Named(vec![line("f")]), Symbol::Unknown(Reason::NotReady)];
    let mut rows: Vec<_> = usage(&batch, &symbols)
        .into_iter()
        .map(wire)
        .map(|row| (row.function, row.unnamed_reason))
        .collect();
    rows.sort();
    let expected = [("f", ""), ("libx.so+0x2", "not_ready")];
    assert_eq!(rows, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
}

/// Check that the innermost frame alone decides what has no name, and that samples without frames are no
/// addresses.
#[test]
fn unnamed_code_is_summed_up_by_reason() {
    let batch = batch(&[(&[1, 2], 1), (&[2, 1], 10), (&[3], 5), (&[3, 1], 20), (&[], 100)]);
    let symbols = [
        Symbol::Unknown(Reason::NoMapping),
        Symbol::Unknown(Reason::NotCovered),
        Symbol::Named(Vec::new()),
        Symbol::Unknown(Reason::NotReady),
    ];
    let mut totals = Totals::default();
    usage(&batch, &symbols).iter().for_each(|(key, amounts)| totals.count(key.clone(), *amounts));
    assert_eq!(totals.nanos(), 136);
    let unnamed: Vec<_> =
        totals.unnamed().into_iter().map(|it| (it.reason, it.self_nanos)).collect();
    assert_eq!(unnamed, [("not_covered".to_owned(), 30), ("not_ready".to_owned(), 5)]);
}
