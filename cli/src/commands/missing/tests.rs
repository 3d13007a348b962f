use super::*;

/// Check that the hint names the range and what was looked for, and cannot repaint a terminal.
#[test]
fn the_hint_names_what_was_looked_for() {
    let query = |selector: &str| Query {
        start_unix_nanos: 1_795_341_600_000_000_000,
        end_unix_nanos: 1_795_341_660_000_000_000,
        selector: selector.to_owned(),
    };
    let range = " from 2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z\n";
    for (selector, expected) in [
        ("", "no samples are there"),
        ("{}", "no samples are there"),
        ("{a=\"b\"}", "no samples match {a=\"b\"}"),
        ("{a=\"\u{1b}\"}", "no samples match {a=\"�\"}"),
    ] {
        assert!(hint(&query(selector)).starts_with(&format!("{expected}{range}")), "{selector:?}");
    }
}
