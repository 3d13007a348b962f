//! Frames that their host has a name for.

use super::*;

const FOO: SourceName<'static> =
    SourceName { function: "int Foo.bar(int)", file: Some("Foo.java"), line: 7 };
const BAZ: SourceName<'static> =
    SourceName { function: "LazyCompile:*baz /app/x.js:12:3", file: None, line: 0 };

/// One stack: `main` of a file, `FOO`, `BAZ`, and generated code without a name.
fn generated(host: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    let app = builder.object(ObjectKind::File, Some(&gnu(1)), "/bin/app");
    let jit = builder.object(ObjectKind::Anonymous, None, "[jit]");
    let anonymous = builder.object(ObjectKind::Anonymous, None, "//anon");
    let frames = [
        builder.frame(app, 0x10, UnresolvedReason::Unspecified),
        builder.named_frame(jit, FOO),
        builder.named_frame(jit, BAZ),
        builder.frame(anonymous, 0x30, UnresolvedReason::Unspecified),
    ];
    let stack = builder.stack(frames);
    let origin = builder.origin([("service", "a")]);
    builder.add(origin, stack, 0, 1, 10);
    builder.finish(WINDOW, [("host", host)], v1::Accounting::default())
}

fn names(batch: &Batch) -> Vec<Option<SourceName<'_>>> {
    let stack = batch.samples().next().expect("a sample").stack;
    batch.stack_frames(stack).map(|frame| batch.frame(frame).name).collect()
}

/// Check that names come out as they went in, sealed and opened between.
#[test]
fn names_of_the_host_travel_with_the_batch() {
    let batch = generated("h");
    assert_eq!(Batch::validate(batch.wire().clone()).as_ref(), Ok(&batch));
    let (_, opened) = open(&seal(id(), &batch).expect("sealed"), Limits::default()).expect("opens");
    assert_eq!(names(&opened), [None, Some(BAZ), Some(FOO), None]);
    let frame = opened.frame(2);
    assert_eq!(
        (frame.path, frame.offset, frame.fallback_name()),
        ("[jit]", 0, FOO.function.into())
    );
    let Err(Symbol::Named(lines)) = frame.locate() else { panic!("{:?}", frame.locate()) };
    assert_eq!(lines.len(), 1);
    assert_eq!((&*lines[0].name, &*lines[0].system_name), (FOO.function, FOO.function));
    assert_eq!((lines[0].file.as_deref(), lines[0].line), (FOO.file, FOO.line));
    assert_eq!(opened.frame(4).locate(), Err(Symbol::Unknown(Reason::Anonymous)));
}

/// Check that a batch without such frames is what it was before there were names: old and new
/// readers read the other's.
#[test]
fn batches_without_names_have_no_columns_for_them() {
    let wire = sample_batch("h").wire().clone();
    let frames = wire.frames.as_ref().expect("frames");
    assert_eq!((frames.function.len(), frames.file.len(), frames.line.len()), (0, 0, 0));
    let batch = Batch::validate(wire).expect("a batch of an older agent is valid");
    assert!((0..batch.frame_count()).all(|frame| batch.frame(frame).name.is_none()));
}

/// Check that the same function on many hosts is one frame, and that lines tell frames apart.
#[test]
fn the_same_generated_function_of_all_hosts_is_one_frame() {
    let mut merger = Merger::new();
    for host in 0..1_000 {
        merger.add(&generated(&format!("h{host}")), |_| Some(Vec::new()));
    }
    let merged = merger.finish();
    assert_eq!(merged.frame_count(), generated("h").frame_count());
    assert_eq!(names(&merged), [None, Some(BAZ), Some(FOO), None]);
    assert!(Batch::validate(merged.wire().clone()).is_ok());
    let mut builder = BatchBuilder::new();
    let jit = builder.object(ObjectKind::Anonymous, None, "[jit]");
    let first = builder.named_frame(jit, FOO);
    assert_ne!(builder.named_frame(jit, SourceName { line: 8, ..FOO }), first);
    assert_eq!(builder.named_frame(jit, FOO), first);
}

/// Check that a name without a character still is one: nothing becomes the reserved row.
#[test]
fn an_empty_name_is_shown_as_such() {
    let mut builder = BatchBuilder::new();
    let empty = SourceName { function: "", file: None, line: 0 };
    let frame = builder.named_frame(ObjectIndex::UNKNOWN, empty);
    let stack = builder.stack([frame]);
    let origin = builder.origin([("service", "a")]);
    builder.add(origin, stack, 0, 1, 10);
    let batch = builder.finish(WINDOW, [], v1::Accounting::default());
    assert!(Batch::validate(batch.wire().clone()).is_ok());
    assert_eq!(names(&batch), [Some(SourceName { function: NAMELESS, ..empty })]);
}

/// Check every way in which names can be wrong.
#[test]
fn inconsistent_names_are_refused() {
    let refused = |change: &dyn Fn(&mut v1::Frames)| {
        let mut wire = generated("h").wire().clone();
        change(wire.frames.as_mut().expect("frames"));
        Batch::validate(wire).expect_err("must be refused").to_string()
    };
    assert!(refused(&|f| f.function[2] = 99).contains("string 99"));
    assert!(refused(&|f| f.file[2] = 99).contains("string 99"));
    assert!(refused(&|f| f.function[2] = 0).contains("frame 2"), "a file without a function");
    assert!(refused(&|f| f.line[1] = 5).contains("frame 1"), "a line without a function");
    assert!(refused(&|f| f.offset[2] = 5).contains("frame 2"), "a name and an address");
    assert!(refused(&|f| f.reason[2] = 1).contains("frame 2"), "a name and a reason");
    assert!(refused(&|f| f.function[0] = 1).contains("reserved"));
    assert!(refused(&|f| f.line.clear()).contains("differ in length"));
    assert!(refused(&|f| f.function.clear()).contains("differ in length"));
    let mut wire = generated("h").wire().clone();
    let function = wire.frames.as_ref().expect("frames").function[2];
    wire.strings[function as usize].clear();
    assert!(Batch::validate(wire).expect_err("must be refused").to_string().contains("empty name"));
}
