use super::*;

const NOW: i64 = 1_800_000_000_000_000_000;

fn parse(parameters: &[(&str, &str)]) -> Result<Plan, QueryError> {
    let parameters = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    plan("checkout", parameters, NOW)
}

/// Check that the range has defaults, and that everything else is a label.
#[test]
fn parameters_are_a_range_and_labels() {
    let minutes = |n: i64| NOW - n * 60_000_000_000;
    let default = parse(&[]).expect("valid");
    assert_eq!(default.range, TimeRange::new(minutes(15), NOW).expect("a range"));
    assert_eq!(default.selector.to_string(), r#"{service="checkout"}"#);
    let plan = parse(&[("from", "-1h"), ("to", "-5m"), ("pod", "a\"b")]).expect("valid");
    assert_eq!(plan.range, TimeRange::new(minutes(60), minutes(5)).expect("a range"));
    assert_eq!(plan.selector.to_string(), r#"{service="checkout", pod="a\"b"}"#);
    assert_eq!(parse(&[("seconds", "900")]), Ok(default));
}

/// Check that no character of a service name can leave the file name.
#[test]
fn file_names_are_plain() {
    let plan = parse(&[]).expect("valid");
    assert_eq!(file_name("a/b\"; c\n", &plan), "a_b___c_-2027-01-15T080000.pb.gz");
}
