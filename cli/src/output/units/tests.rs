use proptest::prelude::*;

use super::*;

/// Check that separators stand between thousands and nowhere else.
#[test]
fn counts_separate_thousands() {
    for (value, text) in
        [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (100_000, "100,000")]
    {
        assert_eq!(count(value), text);
    }
    assert_eq!(counted(1, "batch", "batches"), "1 batch");
    assert_eq!(counted(0, "batch", "batches"), "0 batches");
}

/// Check that each magnitude of time gets its unit, and that nothing rounds up into the next.
#[test]
fn durations_keep_about_three_digits() {
    for (nanos, text) in [
        (0, "0 s"),
        (999, "999 ns"),
        (52_631, "52 µs"),
        (999_999_999, "999 ms"),
        (1_234_567_890, "1.23 s"),
        (9_999_999_999, "9.99 s"),
        (59_990_000_000, "59.9 s"),
        (60_000_000_000, "1m 00s"),
        (3_599_999_999_999, "59m 59s"),
        (3_600_000_000_000, "1h 00m"),
        (90_000_000_000_000, "1d 01h"),
        (u64::MAX, "213503d 23h"),
    ] {
        assert_eq!(duration(nanos), text);
    }
}

/// Check that cores are readable for an idle service and for a whole fleet.
#[test]
fn cores_scale_their_decimals() {
    assert_eq!(cores(0.0123), "0.012");
    assert_eq!(cores(12.3456), "12.346");
    assert_eq!(cores(1234.56), "1234.6");
    assert_eq!(cores(f64::NAN), "-");
    assert_eq!(cores(cores_of(5, 0)), "0.000");
    assert_eq!(cores(cores_of(3, 2)), "1.500");
}

/// Check that a share of nothing is not a number of percent.
#[test]
fn percent_of_nothing_is_a_dash() {
    assert_eq!(percent(1, 0), "-");
    assert_eq!(percent(1, 3), "33.3%");
    assert_eq!(percent(u64::MAX, u64::MAX), "100.0%");
}

/// Check the units of sizes at their borders.
#[test]
fn sizes_have_binary_units() {
    for (value, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_500_000, "1.4 MiB"),
        (1 << 30, "1.0 GiB"),
    ] {
        assert_eq!(bytes(value), text);
    }
    assert_eq!(bytes(u64::MAX), "16384.0 PiB");
}

/// Check that instants are cut to the second, before the epoch too.
#[test]
fn instants_are_shown_to_the_second() {
    assert_eq!(instant(1_795_341_600_999_999_999), "2026-11-22T10:00:00Z");
    assert_eq!(instant(-1), "1969-12-31T23:59:59Z");
}

/// Check that a collector whose clock is ahead does not show negative ages.
#[test]
fn ages_survive_clocks_that_disagree() {
    assert_eq!(ago(0, 5_000_000_000), "5.00 s ago");
    assert_eq!(ago(5_000_000_000, 0), "now");
    assert_eq!(ago(i64::MIN, i64::MAX), "now");
}

proptest! {
    /// Check that no value makes a formatter panic and that the digits of a count survive.
    #[test]
    fn every_number_has_a_text(value in any::<u64>(), time in any::<i64>(), share in any::<f64>()) {
        prop_assert_eq!(count(value).replace(',', ""), value.to_string());
        let _ = (duration(value), bytes(value), instant(time), ago(time, 0), cores(share));
    }
}
