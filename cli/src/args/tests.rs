use clap::CommandFactory as _;

use super::*;

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["fleetprof"], words].concat())
}

/// Check that clap accepts its own definition: names, defaults, conflicts.
#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// Check that values that begin with a hyphen are values.
#[test]
fn relative_times_need_no_equals_sign() {
    let cli = parse(&["services", "--from", "-1h", "--to", "-30m"]).expect("valid");
    let Command::Services(args) = cli.command else { panic!("not services") };
    let range = args.range.resolve(3_600_000_000_000).expect("a range");
    assert_eq!((range.start_unix_nanos(), range.end_unix_nanos()), (0, 1_800_000_000_000));
}

/// Check that a script is not given a cut list unless it asks for one.
#[test]
fn only_tables_are_cut_by_default() {
    for (words, limit) in [
        (&["top"][..], DEFAULT_ROWS),
        (&["top", "-o", "json"], 0),
        (&["top", "-o", "json", "--limit", "3"], 3),
        (&["top", "--limit", "0"], 0),
    ] {
        let Command::Top(args) = parse(words).expect("valid").command else { panic!("not top") };
        assert_eq!(args.limit(), limit, "{words:?}");
    }
}

/// Check that global options stand before and after the command.
#[test]
fn the_collector_can_be_named_anywhere() {
    for words in
        [&["--collector", "http://c:1", "status"], &["status", "--collector", "http://c:1"]]
    {
        assert_eq!(parse(words).expect("valid").connection.collector.to_string(), "http://c:1");
    }
}

/// Check that what cannot be meant is a usage error.
#[test]
fn impossible_options_are_refused() {
    for (words, expected) in [
        (&["series", "--step", "0s"][..], "zero"),
        (&["series", "--step", "soon"], "write for example"),
        (&["series", "--step", "300years"], "292 years"),
        (&["status", "--timeout", "0s"], "zero"),
        (&["top", "--sort", "name"], "self"),
        (&["top", "--limit", "-1"], "unexpected argument"),
        (&["services", "-o", "yaml"], "json"),
        (&["pprof", "checkout"], "--output <FILE>"),
        (&["flamegraph"], "unrecognized subcommand"),
        (&[], "Usage"),
    ] {
        let text = parse(words).expect_err("refused").to_string();
        assert!(text.contains(expected), "{words:?}: {text}");
    }
}
