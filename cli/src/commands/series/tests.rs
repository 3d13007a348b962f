use fleetprof_proto::v1::Coverage;

use super::*;
use crate::output::table::Medium;

const SECOND: i64 = 1_000_000_000;

/// A series from (second, CPU seconds) pairs.
fn series(value: &str, points: &[(i64, u64)]) -> TimeSeries {
    let point = |(second, cpu): &(i64, u64)| Point {
        unix_nanos: second * SECOND,
        cpu_nanos: cpu * 1_000_000_000,
        samples: *cpu,
        self_nanos: cpu * 1_000_000,
    };
    TimeSeries { values: vec![value.to_owned()], points: points.iter().map(point).collect() }
}

fn answer(series: Vec<TimeSeries>) -> SeriesResponse {
    let coverage = Coverage { last_unix_nanos: 40 * SECOND, ..Coverage::default() };
    SeriesResponse { series, step_nanos: 10 * SECOND, coverage: Some(coverage) }
}

/// Check that series share one scale and one grid, and that a step without data is a gap.
#[test]
fn curves_share_their_scale_and_grid() {
    let answer = answer(vec![
        series("a", &[(0, 10), (10, 20), (20, 20), (30, 20)]),
        series("b", &[(0, 10), (30, 20)]),
    ]);
    let text = series_table(&["host".to_owned()], &answer).render(Medium::default());
    assert_eq!(
        text,
        "HOST  CORES   PEAK  CPU TIME  SAMPLES  CORES OVER TIME\n\
         a     1.750  2.000    1m 10s       70  ▅███\n\
         b     0.750  2.000    30.0 s       30  ▅  █\n"
    );
}

/// Check that a function's steps have its time in itself and with what it calls.
#[test]
fn a_function_has_two_times() {
    let answer = answer(vec![series("", &[(0, 10)])]);
    let text = points_table(&answer, true).render(Medium::default());
    assert!(text.starts_with("TIME"), "{text}");
    let words: Vec<&str> = text.lines().flat_map(str::split_whitespace).collect();
    assert_eq!(words[1..5], ["CORES", "SELF", "TOTAL", "SAMPLES"], "{text}");
    assert!(text.contains("10 ms  10.0 s"), "{text}");
}

/// Check that a limit keeps the series with the most CPU.
#[test]
fn a_limit_keeps_the_largest() {
    let mut all = vec![series("a", &[(0, 1)]), series("b", &[(0, 3)]), series("c", &[(0, 2)])];
    limit(&mut all, 2);
    assert_eq!(all.iter().map(|it| it.values[0].as_str()).collect::<Vec<_>>(), ["b", "c"]);
    limit(&mut all, 0);
    assert_eq!(all.len(), 2);
}

/// Check that an answer that makes no sense (no step, times at both ends of time) is survived.
#[test]
fn impossible_answers_are_survived() {
    let most = u64::MAX;
    let point = |unix_nanos| Point { unix_nanos, cpu_nanos: most, samples: most, self_nanos: most };
    let points = vec![point(i64::MIN), point(i64::MAX), point(0)];
    let answer = SeriesResponse {
        series: vec![TimeSeries { values: vec![], points }],
        step_nanos: -1,
        coverage: None,
    };
    let by = ["a".to_owned(), "b".to_owned()];
    for table in [points_table(&answer, true), series_table(&by, &answer)] {
        assert!(!table.render(Medium::default()).is_empty());
    }
}
