use proptest::prelude::*;

use super::*;

/// 2026-11-22T10:00:00Z.
const NOW: i64 = 1_795_341_600 * NANOS_PER_SECOND;

fn seconds_ago(text: &str) -> Option<i64> {
    parse_instant(text, NOW).ok().map(|instant| (NOW - instant) / NANOS_PER_SECOND)
}

fn message(from: &str, to: &str) -> String {
    TimeRange::parse(from, to, NOW).expect_err("not a range").to_string()
}

/// Check that every relative form means what it says.
#[test]
fn relative_instants_count_back_from_now() {
    for (text, ago) in [
        ("now", 0),
        ("-0s", 0),
        ("-90s", 90),
        ("-15m", 900),
        ("now-15m", 900),
        (" -15m ", 900),
        ("-1h30m", 5_400),
        ("-7d", 604_800),
        ("-1w1d1h1m1s", 694_861),
    ] {
        assert_eq!(seconds_ago(text), Some(ago), "{text}");
    }
}

/// Check that the absolute forms agree with each other.
#[test]
fn absolute_instants_are_read_in_their_zone() {
    for text in [
        "2026-11-22T10:00:00Z",
        "2026-11-22t10:00:00z",
        "2026-11-22 10:00:00Z",
        "2026-11-22T10:00Z",
        "2026-11-22T11:00:00+01:00",
        "2026-11-22T04:30:00-05:30",
        "1795341600",
        "1795341600.0",
    ] {
        assert_eq!(parse_instant(text, 0), Ok(NOW), "{text}");
    }
    assert_eq!(parse_instant("1795341600.25", 0), Ok(NOW + 250_000_000));
    assert_eq!(parse_instant("0.000000001", 0), Ok(1));
    assert_eq!(parse_instant("2026-11-22T10:00:00.000000007Z", 0), Ok(NOW + 7));
}

/// Check that each kind of wrong text gets the error that helps with it.
#[test]
fn wrong_text_is_refused_with_its_remedy() {
    for (text, expected) in [
        ("", "the time is empty"),
        ("   ", "the time is empty"),
        ("15m", "write -15m for that long ago"),
        ("-15", "is not a duration"),
        ("-", "is not a duration"),
        ("now-", "is not a duration"),
        ("-1m30m", "largest first"),
        ("-30m1h", "largest first"),
        ("-1.5h", "whole numbers"),
        ("-5y", "units w, d, h, m, s"),
        ("--5m", "is not a duration"),
        ("nowhere", "is not a time"),
        ("now+5m", "is not a time"),
        ("yesterday", "is not a time"),
        ("1.2.3", "is not a time"),
        ("1.", "is not a time"),
        (".5", "is not a time"),
        ("1.0000000001", "is not a time"),
        ("2026-11-22 10:00", "has no time zone"),
        ("2026-11-22T10:00:00", "has no time zone"),
        ("2026-11-22", "has no time zone"),
        ("2026-13-22T10:00:00Z", "is not a time"),
        ("1795341600000", "divide by 1000"),
        ("99999999999999999999", "outside the years 1677 to 2262"),
        ("9999-01-01T00:00:00Z", "outside the years 1677 to 2262"),
        ("-999999d", "outside the years 1677 to 2262"),
        ("-99999999999999999999d", "outside the years 1677 to 2262"),
        ("-9223372036854775807w9223372036854775807s", "outside the years 1677 to 2262"),
    ] {
        let error = parse_instant(text, NOW).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// Check that a huge text is neither read nor repeated.
#[test]
fn long_text_is_refused_without_being_repeated() {
    let error = parse_instant(&"9".repeat(1 << 20), NOW).expect_err("too long").to_string();
    assert!(error.len() < 200, "{error}");
}

/// Check that a good range has the two ends that were typed.
#[test]
fn a_range_has_its_two_ends() {
    let range = TimeRange::parse("-15m", "now", NOW).expect("a range");
    assert_eq!(range.start_unix_nanos(), NOW - 900 * NANOS_PER_SECOND);
    assert_eq!(range.end_unix_nanos(), NOW);
    assert_eq!(range.nanos(), 900 * NANOS_PER_SECOND.unsigned_abs());
    assert_eq!(range.to_string(), "2026-11-22T09:45:00Z to 2026-11-22T10:00:00Z");
}

/// Check that the whole of time is a range: its length does not overflow.
#[test]
fn the_longest_range_has_a_length() {
    assert_eq!(TimeRange::new(i64::MIN, i64::MAX).map(TimeRange::nanos), Ok(u64::MAX));
}

/// Check that the error of a reversed range names both ends, as typed and as understood.
#[test]
fn reversed_and_empty_ranges_name_their_ends() {
    assert_eq!(
        message("now", "-15m"),
        "the range is reversed: it starts at 2026-11-22T10:00:00Z (\"now\"), after its end at \
         2026-11-22T09:45:00Z (\"-15m\"); swap the two"
    );
    assert_eq!(
        message("-60s", "-1m"),
        "the range is empty: it starts and ends at 2026-11-22T09:59:00Z (\"-60s\")"
    );
    assert_eq!(
        TimeRange::new(NOW, 0).expect_err("reversed").to_string(),
        "the range is reversed: it starts at 2026-11-22T10:00:00Z, after its end at \
         1970-01-01T00:00:00Z; swap the two"
    );
}

proptest! {
    /// Check that no text at all makes it panic, at any present instant.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}", now in any::<i64>()) {
        let _ = parse_instant(&text, now);
    }

    /// Check the same with text made of the pieces that instants consist of.
    #[test]
    fn near_misses_are_read_or_refused(
        text in "(now)?[-+]?([0-9]{0,20}[wdhmsZT:. -]){0,6}",
        now in any::<i64>(),
    ) {
        let _ = TimeRange::parse(&text, "now", now);
    }

    /// Check that what is written is read back, to the nanosecond.
    #[test]
    fn written_instants_are_read_back(instant in any::<i64>()) {
        prop_assert_eq!(parse_instant(&format_instant(instant), 0), Ok(instant));
    }

    /// Check that durations add up, whatever units are left out.
    #[test]
    fn durations_add_up(weeks in 0..99_i64, days in 0..99_i64, minutes in 0..9999_i64) {
        let text = format!("now-{weeks}w{days}d{minutes}m");
        prop_assert_eq!(seconds_ago(&text), Some((weeks * 7 + days) * 86_400 + minutes * 60));
    }

    /// Check that exactly the ordered pairs are ranges.
    #[test]
    fn only_ordered_ends_are_a_range(start in any::<i64>(), end in any::<i64>()) {
        let range = TimeRange::new(start, end);
        prop_assert_eq!(range.is_ok(), start < end);
        if let Ok(range) = range {
            prop_assert_eq!((range.start_unix_nanos(), range.end_unix_nanos()), (start, end));
        }
    }
}
