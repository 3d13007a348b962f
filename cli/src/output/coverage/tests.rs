use super::*;

fn counter(name: &str, value: u64) -> CounterByName {
    CounterByName { name: name.to_owned(), value }
}

fn coverage() -> Coverage {
    Coverage {
        batches: 1,
        samples: 1234,
        first_unix_nanos: 1_795_341_600_000_000_000,
        last_unix_nanos: 1_795_341_610_000_000_000,
        ..Coverage::default()
    }
}

/// Check that an answer without loss says only what it is made from.
#[test]
fn a_whole_answer_names_its_samples_and_times() {
    assert_eq!(
        summary(&coverage()),
        "1,234 samples in 1 batch, from 2026-11-22T10:00:00Z to 2026-11-22T10:00:10Z"
    );
    assert_eq!(damage(&coverage()), None);
}

/// Check that gaps in the data are no time over which CPU time is spread, where the collector says so.
#[test]
fn cores_are_of_the_time_covered() {
    assert_eq!(covered_nanos(&coverage()), 10_000_000_000);
    assert_eq!(covered_nanos(&Coverage { covered_nanos: 4, ..coverage() }), 4);
}

/// Check that no samples means no times: 1970 would be a lie.
#[test]
fn an_empty_answer_has_no_times() {
    assert_eq!(summary(&Coverage::default()), "0 samples in 0 batches");
}

/// Check that nothing is said of batches where samples were found in files that do not know of them.
#[test]
fn files_of_services_have_no_batches() {
    let line = summary(&Coverage { batches: 0, ..coverage() });
    assert!(!line.contains("batch"), "{line}");
    assert!(summary(&coverage()).contains("batch"), "{line}");
}

/// Check that loss is shown by reason, largest first, and that zeros are not loss.
#[test]
fn loss_is_shown_by_reason() {
    let dropped = vec![counter("none", 0), counter("a", 2), counter("b", 1000)];
    let line = summary(&Coverage { dropped, ..coverage() });
    assert!(line.ends_with("since their agents started: 1,002 (b 1,000, a 2)"), "{line}");
    assert!(
        !summary(&Coverage { dropped: vec![counter("x", 0)], ..coverage() }).contains("dropped")
    );
}

/// Check that numbers that do not fit are not a panic.
#[test]
fn impossible_sums_saturate() {
    assert_eq!(sum(&[counter("a", u64::MAX), counter("b", 1)]), u64::MAX);
}

/// Check that damage is named, cleaned, and not without end.
#[test]
fn damage_is_named_up_to_a_limit() {
    let damaged = ["a\u{1b}", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let text = damage(&Coverage { damaged, ..coverage() }).expect("damaged");
    assert_eq!(text, "the answer is incomplete, not readable: a�, b, c and 2 more");
}
