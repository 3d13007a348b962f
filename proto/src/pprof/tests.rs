use std::{io::Read as _, sync::Arc};

use flate2::read::GzDecoder;
use pprof::protos::{Message as _, Profile};

use super::*;
use crate::{
    batch::{BatchBuilder, SourceName, Window},
    ids::{BuildId, BuildIdKind, ObjectKind},
    symbol::Reason,
    v1::{self, UnresolvedReason},
};

fn line(name: &str, system_name: &str, file: Option<&str>, line: u32) -> Line {
    let file = file.map(Arc::from);
    Line { name: name.into(), system_name: system_name.into(), file, line, column: 0 }
}

/// main → work (with `inner` inlined) → an unnamed kernel frame.
fn fixture() -> (Batch, Vec<Symbol>) {
    let mut builder = BatchBuilder::new();
    let build_id = BuildId::new(BuildIdKind::Gnu, &[0xab; 20]).expect("valid");
    let app = builder.object(ObjectKind::File, Some(&build_id), "/bin/app");
    let kernel = builder.object(ObjectKind::Kernel, Some(&build_id), "[kernel.kallsyms]");
    let main = builder.frame(app, 0x1010, UnresolvedReason::Unspecified);
    let work = builder.frame(app, 0x2020, UnresolvedReason::Unspecified);
    let entry = builder.frame(kernel, 0x30, UnresolvedReason::Unspecified);
    let stack = builder.stack([main, work, entry]);
    let origin = builder.origin([("service", "shop"), ("comm", "worker")]);
    builder.add(origin, stack, 0, 3, 30_000_000);
    builder.add(origin, stack, 1, 1, 10_000_000);
    let window = Window { start_unix_nanos: 5_000, end_unix_nanos: 9_000 };
    let batch = builder.finish(window, [("host", "h1")], v1::Accounting::default());
    let symbols = vec![
        Symbol::Unknown(Reason::NoMapping),
        Symbol::Named(vec![line("main", "main", Some("main.c"), 10)]),
        Symbol::Named(vec![
            line("inner", "_ZL5innerv", Some("work.cc"), 20),
            line("work", "_Z4workv", Some("work.cc"), 30),
        ]),
        Symbol::Unknown(Reason::NotCovered),
    ];
    (batch, symbols)
}

fn decode() -> Profile {
    let (batch, symbols) = fixture();
    let bytes = gzip(&encode(&batch, &symbols, &["hello".into()])).expect("compresses");
    let mut raw = Vec::new();
    GzDecoder::new(bytes.as_slice()).read_to_end(&mut raw).expect("is gzip");
    Profile::decode(raw.as_slice()).expect("is a profile")
}

fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).expect("not negative")]
}

/// Check sample types, period, time and comments.
#[test]
fn header_follows_the_contract() {
    let profile = decode();
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|ty| format!("{}/{}", text(&profile, ty.ty), text(&profile, ty.unit)))
        .collect();
    assert_eq!(types, ["samples/count", "cpu/nanoseconds"]);
    assert_eq!(text(&profile, profile.default_sample_type), "cpu");
    let period_type = profile.period_type.as_ref().expect("set");
    assert_eq!(text(&profile, period_type.ty), "cpu");
    assert_eq!(text(&profile, period_type.unit), "nanoseconds");
    assert_eq!(profile.period, 10_000_000);
    assert_eq!((profile.time_nanos, profile.duration_nanos), (5_000, 4_000));
    assert_eq!(profile.comment.len(), 1);
    assert_eq!(profile.string_table[0], "");
}

/// Check that results are joined, order is innermost first, and labels are kept.
#[test]
fn samples_are_innermost_first_with_labels() {
    let profile = decode();
    assert_eq!(profile.sample.len(), 1);
    let sample = &profile.sample[0];
    assert_eq!(sample.value, [4, 40_000_000]);
    let lines: Vec<usize> = sample
        .location_id
        .iter()
        .map(|id| profile.location.iter().find(|l| l.id == *id).expect("exists").line.len())
        .collect();
    assert_eq!(lines, [0, 2, 1]);
    let labels: Vec<_> = sample
        .label
        .iter()
        .map(|label| (text(&profile, label.key), text(&profile, label.str)))
        .collect();
    assert_eq!(labels, [("host", "h1"), ("comm", "worker"), ("service", "shop")]);
}

/// Check that addresses lead back to (build ID, offset) and flags say what is known.
#[test]
fn mappings_keep_build_ids_and_offsets() {
    let profile = decode();
    for location in &profile.location {
        let mapping = profile.mapping.iter().find(|m| m.id == location.mapping_id).expect("exists");
        assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
        assert_eq!(text(&profile, mapping.build_id), "ab".repeat(20));
    }
    let app = profile.mapping.iter().find(|m| text(&profile, m.filename) == "/bin/app");
    let app = app.expect("exists");
    assert!(
        app.has_functions && app.has_line_numbers && app.has_filenames && app.has_inline_frames
    );
    let kernel = profile.mapping.iter().find(|m| text(&profile, m.filename) == "[kernel.kallsyms]");
    assert!(!kernel.expect("exists").has_functions);
    let mut offsets: Vec<_> = profile.location.iter().map(|l| l.address % MAPPING_STRIDE).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [0x30, 0x1010, 0x2020]);
}

/// Check that inlined lines come innermost first, with raw names beside the readable ones.
#[test]
fn inlined_lines_keep_their_order_and_raw_names() {
    let profile = decode();
    let location = profile.location.iter().find(|l| l.line.len() == 2).expect("inlined");
    let names: Vec<_> = location
        .line
        .iter()
        .map(|line| {
            let function =
                profile.function.iter().find(|f| f.id == line.function_id).expect("exists");
            (text(&profile, function.name), text(&profile, function.system_name), line.line)
        })
        .collect();
    assert_eq!(names, [("inner", "_ZL5innerv", 20), ("work", "_Z4workv", 30)]);
}

/// Check that a profile without samples is valid rather than a division by zero.
#[test]
fn an_empty_batch_is_an_empty_profile() {
    let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
    let batch = BatchBuilder::new().finish(window, [], v1::Accounting::default());
    let profile = Profile::decode(encode(&batch, &[], &[]).as_slice()).expect("decodes");
    assert_eq!((profile.sample.len(), profile.period), (0, 0));
    assert_eq!(profile.sample_type.len(), 2);
}

/// Check that sums which do not fit stay at the largest value: hosts decide what is summed up.
#[test]
fn sums_do_not_overflow() {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, None, "/bin/app");
    let frame = builder.frame(object, 0x10, UnresolvedReason::Unspecified);
    let (stack, origin) = (builder.stack([frame]), builder.origin([("service", "shop")]));
    // They differ in the sampler's result only: one sample of the profile.
    for result in [0, 1] {
        builder.add(origin, stack, result, u64::MAX, u64::MAX);
    }
    let window = Window { start_unix_nanos: 5_000, end_unix_nanos: 9_000 };
    let batch = builder.finish(window, [], v1::Accounting::default());
    let symbols = vec![Symbol::Unknown(Reason::NoMapping); batch.frame_count()];
    let bytes = encode(&batch, &symbols, &[]);
    let profile = Profile::decode(bytes.as_slice()).expect("is a profile");
    assert_eq!(profile.sample.len(), 1);
    assert_eq!(profile.sample[0].value, [i64::MAX, i64::MAX]);
    assert_eq!(profile.period, 1);
}

/// Check that what its host named has its name, file and line, and is told apart by its address.
#[test]
fn names_of_the_host_have_addresses_of_their_own() {
    let mut builder = BatchBuilder::new();
    let jit = builder.object(ObjectKind::Anonymous, None, "[jit]");
    let frames = ["f", "g"].map(|function| {
        builder.named_frame(jit, SourceName { function, file: Some("x.js"), line: 12 })
    });
    let stack = builder.stack(frames);
    let origin = builder.origin([("service", "shop")]);
    builder.add(origin, stack, 0, 1, 1);
    let window = Window { start_unix_nanos: 5_000, end_unix_nanos: 9_000 };
    let batch = builder.finish(window, [], v1::Accounting::default());
    let symbols: Vec<_> = (0..batch.frame_count())
        .map(|frame| batch.frame(frame).locate().expect_err("nothing to look up"))
        .collect();
    let profile = Profile::decode(encode(&batch, &symbols, &[]).as_slice()).expect("a profile");
    let functions =
        profile.function.iter().map(|f| (text(&profile, f.name), text(&profile, f.filename)));
    assert_eq!(functions.collect::<Vec<_>>(), [("g", "x.js"), ("f", "x.js")]);
    assert!(profile.location.iter().all(|location| location.line[0].line == 12));
    assert_eq!(profile.mapping.len(), 1);
    let range = profile.mapping[0].memory_start..profile.mapping[0].memory_limit;
    let addresses: Vec<_> = profile.location.iter().map(|location| location.address).collect();
    assert!(
        addresses.iter().all(|address| range.contains(address)),
        "{addresses:x?} in {range:x?}"
    );
    assert_ne!(addresses[0], addresses[1]);
    assert_eq!(text(&profile, profile.mapping[0].filename), "[jit]");
    assert!(profile.mapping[0].has_functions && profile.mapping[0].has_line_numbers);
}
