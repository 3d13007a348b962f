//! Tables with all that can be in one, and what is the same in two of them.

use std::collections::BTreeMap;

use fleetprof_proto::{
    batch::{Batch, BatchBuilder, FrameIndex, FrameRef, SourceName, StackIndex, Window},
    ids::{BuildId, BuildIdKind, ObjectKind},
    v1::{self, UnresolvedReason as Reason},
};
use fleetprof_store::{Table, TableBuilder, stored_window};
use proptest::{collection::vec, option, prelude::*};

/// How many frames there are to choose from.
pub(crate) const FRAMES: usize = 16;

/// 2026-11-27 12:00, Unix nanoseconds.
pub(crate) const NOON: i64 = 1_795_780_800_000_000_000;

/// A sample before it is in a batch.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) service: usize,
    pub(crate) version: Option<usize>,
    pub(crate) host: Option<usize>,
    /// A label without a column of its own.
    pub(crate) team: Option<usize>,
    pub(crate) region: Option<usize>,
    pub(crate) window: usize,
    /// Frames, outermost first.
    pub(crate) stack: Vec<usize>,
    pub(crate) result: u32,
    pub(crate) count: u64,
    pub(crate) nanos: u64,
}

const SERVICES: [&str; 4] = ["", "api", "worker", "wörker-2"];
const WINDOWS: [(i64, i64); 5] = [
    (0, 10_000_000_000),
    (0, 9_999_999_999),
    (10_000_000_000, 20_000_000_001),
    (20_000_000_001, 20_000_000_002),
    (3_600_000_000_000, 3_610_000_000_000),
];

/// Samples of several services whose stacks share their outer frames.
pub(crate) fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let stack = (any::<prop::sample::Index>(), 0..6_usize, vec(0..FRAMES, 0..6));
    let sample = (
        (0..SERVICES.len(), option::of(0..3_usize), option::of(0..3_usize)),
        (option::of(0..3_usize), option::of(0..2_usize), 0..WINDOWS.len()),
        any::<prop::sample::Index>(),
        prop_oneof![Just(0_u32), 0..5_u32, Just(u32::MAX)],
        prop_oneof![1..100_u64, Just(u64::from(u32::MAX) * 1000)],
        prop_oneof![0..100_000_000_u64, Just(1 << 55)],
    );
    (vec(stack, 1..12), vec(sample, 0..60)).prop_map(|(stacks, samples)| {
        let mut paths: Vec<Vec<usize>> = vec![Vec::new()];
        for (before, shared, rest) in stacks {
            let before = before.get(&paths);
            let shared = before.iter().take(shared).copied();
            let path = shared.chain(rest).collect();
            paths.push(path);
        }
        let sample =
            |(labels, more, stack, result, count, nanos): (_, _, prop::sample::Index, _, _, _)| {
                let ((service, version, host), (team, region, window)) = (labels, more);
                let stack = stack.get(&paths).clone();
                Sample { service, version, host, team, region, window, stack, result, count, nanos }
            };
        samples.into_iter().map(sample).collect()
    })
}

/// The samples as a table.
pub(crate) fn table(samples: &[Sample]) -> Table {
    let mut table = TableBuilder::new();
    for (number, (start, end)) in WINDOWS.iter().enumerate() {
        let mut batch = BatchBuilder::new();
        let frames = frames(&mut batch);
        for sample in samples.iter().filter(|sample| sample.window == number) {
            let texts = [
                ("service", Some(SERVICES[sample.service].to_owned())),
                ("version", sample.version.map(|version| format!("1.{version}"))),
                ("host", sample.host.map(|host| format!("host-{host}"))),
                ("team", sample.team.map(|team| format!("team {team}"))),
                ("region", sample.region.map(|region| format!("region\n{region}"))),
            ];
            let labels = texts.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?)));
            let origin = batch.origin(labels);
            let stack = batch.stack(sample.stack.iter().map(|frame| frames[*frame]));
            batch.add(origin, stack, sample.result, sample.count, sample.nanos);
        }
        let window = Window { start_unix_nanos: NOON + start, end_unix_nanos: NOON + end };
        table.add_batch(&batch.finish(window, [], v1::Accounting::default()));
    }
    table.finish()
}

/// Every sort of frame.
pub(crate) fn frames(batch: &mut BatchBuilder) -> Vec<FrameIndex> {
    let id = |kind, value: &[u8]| Some(BuildId::new(kind, value).expect("a valid build ID"));
    let gnu = id(BuildIdKind::Gnu, &[0xde, 0xad, 0xbe, 0xef]);
    let go = id(BuildIdKind::Go, b"a/b\\c\"d'e\n\xff\0-_");
    let htl = id(BuildIdKind::Htl, &[0; 16]);
    let program = batch.object(ObjectKind::File, gnu.as_ref(), "/usr/bin/program");
    let go = batch.object(ObjectKind::File, go.as_ref(), "/srv/go program");
    let unnamed = batch.object(ObjectKind::File, htl.as_ref(), "");
    let deleted = batch.object(ObjectKind::File, None, "/tmp/gone (deleted)");
    let kernel = batch.object(ObjectKind::Kernel, gnu.as_ref(), "[kernel.kallsyms]");
    let module = batch.object(ObjectKind::KernelModule, None, "nf_tables");
    let vdso = batch.object(ObjectKind::Vdso, gnu.as_ref(), "[vdso]");
    let anonymous = batch.object(ObjectKind::Anonymous, None, "//anon");
    let unknown = fleetprof_proto::batch::ObjectIndex::UNKNOWN;
    let name = |function, file, line| SourceName { function, file, line };
    vec![
        batch.frame(program, 0x1000, Reason::Unspecified),
        batch.frame(program, 0x1010, Reason::Unspecified),
        batch.frame(program, 0, Reason::Unspecified),
        batch.frame(go, u64::MAX, Reason::Unspecified),
        batch.frame(unnamed, 1 << 63, Reason::Unspecified),
        batch.frame(deleted, 0x20, Reason::NoBuildId),
        batch.frame(kernel, 0x30, Reason::Unspecified),
        batch.frame(module, 0x40, Reason::NoBuildId),
        batch.frame(vdso, 0x50, Reason::Unspecified),
        batch.frame(anonymous, 0x7f00_0000_0000, Reason::Unspecified),
        batch.frame(unknown, 0xffff_ffff_8100_0000, Reason::NoKernelSymbols),
        batch.frame(unknown, 0x60, Reason::ProcessGone),
        batch.frame(unknown, 0x60, Reason::NoMapping),
        batch.named_frame(anonymous, name("eval", Some("/srv/a b.py"), 17)),
        batch.named_frame(anonymous, name("eval", None, 0)),
        batch.named_frame(program, name("ünïcode.<lambda>", Some("x.py"), u32::MAX)),
    ]
}

/// A stack of 3,000 frames that do not repeat, and 50 that leave it on the way.
pub(crate) fn deep() -> Table {
    let mut batch = BatchBuilder::new();
    let object = batch.object(ObjectKind::File, None, "/deep");
    let origin = batch.origin([("service", "deep")]);
    let mut stack = StackIndex::EMPTY;
    for depth in 0..3_000 {
        let frame = batch.frame(object, depth, Reason::NoBuildId);
        stack = batch.child(stack, frame);
        if depth % 60 == 0 {
            let leaf = batch.frame(object, 10_000 + depth, Reason::NoBuildId);
            let leaf = batch.child(stack, leaf);
            batch.add(origin, leaf, 0, depth + 1, 7);
        }
    }
    batch.add(origin, stack, 0, 1, 7);
    let window = Window { start_unix_nanos: NOON, end_unix_nanos: NOON + 1_000 };
    let mut table = TableBuilder::new();
    table.add_batch(&batch.finish(window, [], v1::Accounting::default()));
    table.finish()
}

/// A frame without the numbers of its batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Frame {
    kind: ObjectKind,
    build_id: Option<BuildId>,
    path: String,
    offset: u64,
    reason: i32,
    name: Option<(String, Option<String>, u32)>,
}

/// What makes samples the same: labels, window, result, stack with the outermost frame first.
pub(crate) type Key = (Vec<(String, String)>, (i64, i64), u32, Vec<Frame>);

/// What is in a table, whatever its numbers.
pub(crate) fn content(table: &Table) -> BTreeMap<Key, (u64, u64)> {
    let mut content: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for row in &table.rows {
        let labels = table.labels(row.origin).into_iter();
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let window = stored_window(row.window).expect("a window of this age");
        let window = (window.start_unix_nanos, window.end_unix_nanos);
        let key = (labels, window, row.result, stack(&table.code, row.stack as usize));
        let sum = content.entry(key).or_default();
        *sum = (sum.0 + row.samples, sum.1 + row.nanos);
    }
    content
}

fn stack(code: &Batch, stack: usize) -> Vec<Frame> {
    let mut frames: Vec<_> =
        code.stack_frames(stack).map(|frame| Frame::new(&code.frame(frame))).collect();
    frames.reverse();
    frames
}

// === impl Frame ===

impl Frame {
    fn new(frame: &FrameRef<'_>) -> Self {
        Self {
            kind: frame.kind,
            build_id: frame.build_id.cloned(),
            path: frame.path.to_owned(),
            offset: frame.offset,
            reason: frame.reason.into(),
            name: frame
                .name
                .map(|name| (name.function.to_owned(), name.file.map(str::to_owned), name.line)),
        }
    }
}
