use std::sync::Arc;

use fleetprof_proto::{
    batch::{BatchBuilder, Window},
    ids::{BuildId, BuildIdKind, ObjectKind},
    symbol::{Line, Reason},
    v1::{Accounting, UnresolvedReason},
};

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
    let found = quality(&batch, &symbols);
    let shown: Vec<_> =
        found.iter().map(|it| (it.version.as_str(), it.frames, it.named, it.with_lines)).collect();
    assert_eq!(shown, [("1", 31, 21, 11), ("2", 5, 5, 5)]);
    let reasons: Vec<_> =
        found[0].unresolved.iter().map(|it| (it.name.as_str(), it.value)).collect();
    assert_eq!((reasons, found[1].unresolved.len()), (vec![("not_covered", 10)], 0));
}
