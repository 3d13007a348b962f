use serde_json::{Value, json};

use super::*;

fn parsed(text: serde_json::Result<String>) -> Value {
    let text = text.expect("written");
    assert!(text.ends_with('\n'));
    serde_json::from_str(&text).expect("JSON")
}

/// Check the contract of `services -o json`.
#[test]
fn services_are_an_array_of_objects() {
    let usage = v1::ServiceUsage {
        service: "check\"out\u{1b}".to_owned(),
        samples: 10,
        cpu_nanos: 1_500_000_000,
        cores: 0.25,
    };
    assert_eq!(
        parsed(services(&[usage])),
        json!([{"service": "check\"out\u{1b}", "samples": 10, "cpu_seconds": 1.5, "cores": 0.25}])
    );
    assert_eq!(parsed(services(&[])), json!([]));
}

/// Check that a number that JSON cannot hold is `null`, not a broken document.
#[test]
fn cores_that_are_no_number_are_null() {
    let usage = v1::ServiceUsage { cores: f64::NAN, ..v1::ServiceUsage::default() };
    assert_eq!(parsed(services(&[usage]))[0]["cores"], Value::Null);
}

/// Check the contract of `top -o json`: whole nanoseconds, up to the largest.
#[test]
fn functions_carry_whole_nanoseconds() {
    let function = v1::FunctionUsage {
        function: "main".to_owned(),
        file: "main.rs".to_owned(),
        module: "/bin/x".to_owned(),
        self_nanos: 5,
        total_nanos: u64::MAX,
        unnamed_reason: String::new(),
    };
    let address = v1::FunctionUsage {
        function: "x+0x10".to_owned(),
        unnamed_reason: "no_object".to_owned(),
        ..v1::FunctionUsage::default()
    };
    assert_eq!(
        parsed(functions(&[function, address])),
        json!([
            {"function": "main", "file": "main.rs", "module": "/bin/x", "self": 5, "total": u64::MAX},
            {"function": "x+0x10", "file": "", "module": "", "self": 0, "total": 0, "unnamed_reason": "no_object"},
        ])
    );
}

/// Check that the values of a series stand beside the labels they were grouped by.
#[test]
fn series_name_their_labels() {
    let point = v1::Point {
        unix_nanos: 1_795_341_600_000_000_000,
        cpu_nanos: 5_000_000_000,
        samples: 95,
        self_nanos: 1_000_000_000,
    };
    let answer = v1::SeriesResponse {
        series: vec![v1::TimeSeries { values: vec!["a".to_owned()], points: vec![point] }],
        step_nanos: 10_000_000_000,
        coverage: None,
    };
    assert_eq!(
        parsed(series(&["host".to_owned()], &answer, false, |_| 0.5)),
        json!([{
            "labels": {"host": "a"},
            "step_seconds": 10.0,
            "points": [{"time": "2026-11-22T10:00:00Z", "cpu_seconds": 5.0, "cores": 0.5, "samples": 95}],
        }])
    );
}

/// Check that the points of a function say what it took in itself.
#[test]
fn a_function_has_time_in_itself() {
    let point = v1::Point { self_nanos: 1_500_000_000, ..v1::Point::default() };
    let series_of_it = vec![v1::TimeSeries { values: Vec::new(), points: vec![point] }];
    let answer = v1::SeriesResponse { series: series_of_it, ..v1::SeriesResponse::default() };
    let parsed = parsed(series(&[], &answer, true, |_| 0.5));
    assert_eq!(parsed[0]["points"][0]["self_seconds"], json!(1.5));
}

/// Check that an empty store has no times rather than 1970.
#[test]
fn status_of_an_empty_store_has_no_times() {
    let status = parsed(status("http://x", &v1::StatusResponse::default()));
    assert_eq!(status["store"]["first"], Value::Null);
    assert_eq!(status["agents"], json!([]));
    assert_eq!(status["collector"], "http://x");
}

/// Check that the accounting of an agent is there in full.
#[test]
fn status_shows_the_accounting_of_each_agent() {
    let dropped = vec![CounterByName { name: "ring_full".to_owned(), value: 3 }];
    let recovered_dropped = vec![CounterByName { name: "spool_full".to_owned(), value: 5 }];
    let accounting = Accounting {
        taken: 10,
        delivered: 6,
        pending: 1,
        dropped,
        recovered_dropped,
        ..Accounting::default()
    };
    let agent = v1::AgentStatus {
        host: "h".to_owned(),
        accounting: Some(accounting),
        stored_samples: 6,
        unaccounted_samples: Some(1),
        ..v1::AgentStatus::default()
    };
    let agents = vec![agent, v1::AgentStatus::default()];
    let status = parsed(status("u", &v1::StatusResponse { agents, ..Default::default() }));
    assert_eq!(status["agents"][0]["taken"], 10);
    assert_eq!(status["agents"][0]["dropped"], json!({"ring_full": 3}));
    assert_eq!(status["agents"][0]["recovered_dropped"], json!({"spool_full": 5}));
    assert_eq!(status["agents"][0]["stored"], 6);
    assert_eq!(status["agents"][0]["unaccounted"], 1);
    assert_eq!(status["agents"][1]["unaccounted"], Value::Null);
    assert_eq!(status["agents"][1]["taken"], 0);
}
