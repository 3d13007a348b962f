use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use fleetprof_abi::ResultCode;
use fleetprof_proto::{
    batch::SourceName,
    ids::{BuildId, BuildIdKind, ObjectKind},
    v1::UnresolvedReason,
};

use super::*;
use crate::{jit::FrameSource, object::CodeObject};

const SECOND: u64 = 1_000_000_000;
const WINDOW: u64 = 10 * SECOND;
const START: u64 = 1000 * SECOND;
const UNIX: i64 = 1_700_000_000_000_000_000;

/// Clocks that are set by hand.
#[derive(Clone)]
struct Time {
    boottime: Arc<AtomicU64>,
    offset: Arc<AtomicI64>,
}

impl Time {
    fn new() -> Self {
        let offset = UNIX - i64::try_from(START).unwrap();
        Self { boottime: Arc::new(AtomicU64::new(START)), offset: Arc::new(AtomicI64::new(offset)) }
    }

    fn set(&self, boottime_ns: u64) {
        self.boottime.store(boottime_ns, Relaxed);
    }

    fn aggregator(&self, max_rows: usize) -> Aggregator {
        let config = AggregatorConfig { window: Duration::from_nanos(WINDOW), max_rows };
        let time = self.clone();
        Aggregator::with_clock(&config, move || {
            let boottime_ns = time.boottime.load(Relaxed);
            let unix_ns = i64::try_from(boottime_ns).unwrap() + time.offset.load(Relaxed);
            Clocks { boottime_ns, unix_ns }
        })
    }
}

fn process(pid: u32) -> Arc<ProcessInfo> {
    Arc::new(ProcessInfo {
        image: ImageId::for_test(pid.into()),
        pid,
        start_ns: 1,
        parent: None,
        comm: format!("process-{pid}"),
        exe: None,
        kernel_thread: false,
        cgroup_id: 0,
        cgroup: None,
        environ: Arc::from([]),
        gone: false,
    })
}

fn frame(object: &Arc<CodeObject>, offset: u64) -> NormalizedFrame {
    let reason = UnresolvedReason::Unspecified;
    NormalizedFrame { object: Some(Arc::clone(object)), offset, reason, source: None }
}

fn object(byte: u8, path: &str) -> Arc<CodeObject> {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).unwrap();
    Arc::new(CodeObject::new(ObjectKind::File, Some(build_id), path.into()))
}

fn sample<'a>(
    process: &Arc<ProcessInfo>,
    time_ns: u64,
    frames: &'a [NormalizedFrame],
) -> NormalizedSample<'a> {
    let mut comm = [0; COMM_LEN];
    comm[..6].copy_from_slice(b"worker");
    let process = Arc::clone(process);
    NormalizedSample { process, comm, time_ns, weight_ns: 50, result: ResultCode::Complete, frames }
}

fn service(process: &ProcessInfo) -> Vec<(&'static str, String)> {
    vec![(labels::SERVICE, process.comm.clone())]
}

fn batch(window: ClosedWindow) -> Batch {
    let batch = window.finish([("host", "h1")], v1::Accounting::default());
    Batch::validate(batch.wire().clone()).unwrap()
}

/// Check that equal samples are one row with their counts and weights, and different ones are not.
#[test]
fn equal_samples_are_counted() {
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    let (x, y) = (object(1, "/x"), object(2, "/y"));
    let (deep, other) = ([frame(&x, 1), frame(&y, 2)], [frame(&x, 1), frame(&y, 3)]);
    let one = process(1);
    for frames in [&deep[..], &deep, &other, &deep[..1], &[]] {
        assert!(aggregator.add(&sample(&one, START + 5, frames), service).is_none());
    }
    assert!(aggregator.add(&sample(&process(2), START + 5, &deep), service).is_none());
    assert_eq!(aggregator.samples(), 6);

    let window = aggregator.close(START + WINDOW).unwrap();
    assert_eq!((window.samples(), aggregator.samples()), (6, 0));
    let batch = batch(window);
    let mut rows: Vec<_> = batch.samples().map(|row| (row.count, row.nanos)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [(1, 50), (1, 50), (1, 50), (1, 50), (2, 100)]);
    let labels: Vec<Vec<String>> = (0..batch.origin_count())
        .map(|origin| batch.origin_labels(origin).map(|(n, v)| format!("{n}={v}")).collect())
        .collect();
    let expected =
        [1, 2].map(|pid| vec!["comm=worker".to_owned(), format!("service=process-{pid}")]);
    assert_eq!(labels, expected);
    assert_eq!(batch.labels().collect::<Vec<_>>(), [("host", "h1")]);
    assert_eq!(batch.object_ids().count(), 2);
}

/// Check that labels are asked for once per process and window, and equal labels are one origin.
#[test]
fn labels_are_asked_once() {
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    let mut asked = 0;
    let (one, two) = (process(1), process(2));
    for process in [&one, &two, &one, &two] {
        let window = aggregator.add(&sample(process, START, &[]), |_| {
            asked += 1;
            [("service", "same")]
        });
        assert!(window.is_none());
    }
    assert_eq!(asked, 2);
    let batch = batch(aggregator.flush().unwrap());
    assert_eq!(batch.origin_count(), 1);
    assert_eq!(batch.sample_total(), 4);
}

/// Check that a sample belongs to the window of its time, in whatever order samples come.
#[test]
fn samples_belong_to_the_window_of_their_time() {
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    let one = process(1);
    for at in [START + 1, START + WINDOW + 1, START + 2, START + WINDOW, START + 4 * WINDOW] {
        assert!(aggregator.add(&sample(&one, at, &[]), service).is_none());
    }
    assert!(aggregator.close(START + WINDOW - 1).is_none());
    time.set(START + 5 * WINDOW);
    let mut windows = Vec::new();
    while let Some(window) = aggregator.close(START + 5 * WINDOW) {
        let span = window.span();
        windows.push((span.start_unix_nanos - UNIX, span.end_unix_nanos - UNIX, window.samples()));
    }
    let w = i64::try_from(WINDOW).unwrap();
    assert_eq!(windows, [(0, w, 2), (w, 2 * w, 2), (4 * w, 5 * w, 1)]);
    assert!(aggregator.flush().is_none());
}

/// Check that a sample which comes after its window was closed is counted in the next.
#[test]
fn stragglers_are_not_lost() {
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    let one = process(1);
    assert!(aggregator.add(&sample(&one, START + 1, &[]), service).is_none());
    assert_eq!(aggregator.close(START + WINDOW).unwrap().samples(), 1);
    assert!(aggregator.add(&sample(&one, START + 2, &[]), service).is_none());
    let late = aggregator.close(START + 2 * WINDOW).unwrap();
    assert_eq!(late.samples(), 1);
    assert_eq!(late.span().start_unix_nanos, UNIX + i64::try_from(WINDOW).unwrap());
    // Before the agent started, as clocks of CPUs differ by a little.
    assert!(time.aggregator(1000).add(&sample(&one, START - 1, &[]), service).is_none());
}

/// Check that a window with too many rows is closed early, and that nothing is lost or overlaps.
#[test]
fn a_full_window_is_closed_early() {
    let time = Time::new();
    let mut aggregator = time.aggregator(500);
    let (one, x) = (process(1), object(1, "/x"));
    let mut windows = Vec::new();
    let mut most_rows = 0;
    for n in 0..2000 {
        let at = START + n * SECOND / 1000;
        time.set(at);
        let frames = [frame(&x, n), frame(&x, n + 10_000)];
        windows.extend(aggregator.add(&sample(&one, at, &frames), service));
        most_rows = most_rows.max(aggregator.rows());
    }
    windows.extend(std::iter::from_fn(|| aggregator.flush()));
    assert!(windows.len() > 5 && most_rows <= 500);
    assert_eq!(windows.iter().map(ClosedWindow::samples).sum::<u64>(), 2000);
    for pair in windows.windows(2) {
        assert_eq!(pair[0].span().end_unix_nanos, pair[1].span().start_unix_nanos);
    }
    for window in windows {
        batch(window);
    }
}

/// What a window of ten seconds with one sample says about its time, and the clock at its end.
fn next_window(aggregator: &mut Aggregator, time: &Time, set_ns: i64) -> (Window, i64) {
    let start = time.boottime.load(Relaxed);
    assert!(aggregator.add(&sample(&process(1), start + 1, &[]), service).is_none());
    time.set(start + WINDOW);
    let offset = time.offset.fetch_add(set_ns, Relaxed) + set_ns;
    let window = aggregator.close(start + WINDOW).unwrap();
    let span = window.span();
    batch(window);
    (span, i64::try_from(start + WINDOW).unwrap() + offset)
}

/// Check that windows have the time of a clock that was set, back or forth, by seconds, hours or days,
/// and that none is longer or shorter than it was.
#[test]
fn windows_follow_a_clock_that_is_set() {
    let second = i64::try_from(SECOND).unwrap();
    let hour = 3600 * second;
    for jump in [-hour, hour, 48 * hour, -48 * hour, 2 * second, -2 * second] {
        let time = Time::new();
        let mut aggregator = time.aggregator(1000);
        for set in [0, jump, 0, 0] {
            let (span, clock) = next_window(&mut aggregator, &time, set);
            assert!((span.end_unix_nanos - clock).abs() <= second, "{span:?} at {clock}");
            assert_eq!(span.end_unix_nanos - span.start_unix_nanos, 10 * second, "set by {jump}");
        }
    }
}

/// Check that windows meet while the clock is only corrected a little, however often.
#[test]
fn small_corrections_leave_no_gaps() {
    let second = i64::try_from(SECOND).unwrap();
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    let (mut previous_end, mut meetings) = (UNIX, 0);
    for _ in 0..100 {
        let (span, clock) = next_window(&mut aggregator, &time, second / 50);
        assert!((span.end_unix_nanos - clock).abs() <= second, "{span:?} at {clock}");
        meetings += u32::from(span.start_unix_nanos == previous_end);
        previous_end = span.end_unix_nanos;
    }
    // 100 corrections of 20 ms are two seconds: one of them was the one too many.
    assert_eq!(meetings, 99);
}

/// Check that an unfinished window is handed out with the time it really covers.
#[test]
fn a_flushed_window_ends_now() {
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    assert!(aggregator.flush().is_none());
    assert!(aggregator.add(&sample(&process(1), START + 1, &[]), service).is_none());
    time.set(START + 3 * SECOND);
    let span = aggregator.flush().unwrap().span();
    assert_eq!(span.end_unix_nanos - span.start_unix_nanos, 3_000_000_000);
}

/// Check that a frame that its process's runtime named is that name in the batch, once, wherever the
/// code lies, and that the same name at another line is another frame.
#[test]
fn frames_with_a_name_are_one_frame_for_each_name_and_line() {
    let time = Time::new();
    let mut aggregator = time.aggregator(1000);
    let jit = Arc::new(CodeObject::new(ObjectKind::Anonymous, None, "[jit]".into()));
    let named = |line| {
        let source = FrameSource {
            function: "int Foo.bar(int)".into(),
            file: Some("Foo.java".into()),
            line,
        };
        NormalizedFrame { source: Some(Arc::new(source)), ..frame(&jit, 0) }
    };
    for line in [7, 7, 8] {
        let frames = [frame(&object(1, "/x"), 1), named(line)];
        assert!(aggregator.add(&sample(&process(1), START + 5, &frames), service).is_none());
    }
    let batch = batch(aggregator.close(START + WINDOW).unwrap());
    let names: Vec<_> = (1..batch.frame_count()).map(|row| batch.frame(row).name).collect();
    let name = |line| SourceName { function: "int Foo.bar(int)", file: Some("Foo.java"), line };
    assert_eq!(names, [None, Some(name(7)), Some(name(8))]);
    assert_eq!(batch.samples().map(|row| row.count).max(), Some(2));
}
