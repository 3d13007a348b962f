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
