use clap::CommandFactory as _;

use super::*;

/// Check that the command line is consistent, and that without arguments it is the default
/// configuration.
#[test]
fn defaults_are_those_of_the_configuration() {
    Args::command().debug_assert();
    let args = Args::try_parse_from(["fleetprof-collector"]).expect("parses");
    assert_eq!(args.config(), Config::default());
}

/// Check sizes with and without units, and that what is no size is refused.
#[test]
fn sizes_are_read() {
    assert_eq!(parse_size("16MiB"), Ok(16 << 20));
    assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
    assert_eq!(parse_size("512"), Ok(512));
    for bad in ["", "MiB", "-1", "1.5GiB", "3 parsec", "0", "99999999999TiB"] {
        assert!(parse_size(bad).is_err(), "{bad}");
    }
}

/// Check that servers can be written as people and as distributions do, in order, and what is none.
#[test]
fn servers_are_read() {
    let of = |args: &[&str]| {
        let args = Args::try_parse_from([&["fleetprof-collector"], args].concat());
        args.map(|args| {
            let servers = args.config().debuginfod.servers;
            servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        })
    };
    let both = "http://a/ https://b:8002/debug";
    for args in [
        &["--debuginfod", "http://a,https://b:8002/debug"][..],
        &["--debuginfod", "http://a", "--debuginfod", "https://b:8002/debug"],
        &["--debuginfod", " ima:enforcing http://a  https://b:8002/debug ima:ignore "],
    ] {
        assert_eq!(of(args).expect("parses"), both, "{args:?}");
    }
    assert_eq!(of(&["--debuginfod", ""]).expect("parses"), "", "as if it were not there");
    for bad in ["a", "a:8002", "ftp://a", "http://", "http://a?x=1", "http://a,b"] {
        let error = of(&["--debuginfod", bad]).expect_err(bad).to_string();
        assert!(error.contains("expected a URL such as"), "{error}");
    }
}
