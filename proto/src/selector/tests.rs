use proptest::prelude::*;

use super::*;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector = Selector::parse(selector).expect("parses");
    selector.matches(|name| labels.iter().find(|(n, _)| *n == name).map(|(_, value)| *value))
}

fn error(selector: &str) -> String {
    Selector::parse(selector).expect_err("is refused").to_string()
}

/// Check that all four operators compare as Prometheus does, absent labels counting as empty.
#[test]
fn operators_compare() {
    let labels = [("service", "checkout"), ("version", "v2.1")];
    for (selector, expected) in [
        ("", true),
        ("{}", true),
        (r#"{service="checkout"}"#, true),
        (r#"service="checkout""#, true),
        (r#"{service="check"}"#, false),
        (r#"{service!="checkout"}"#, false),
        (r#"{service="checkout", version=~"v2.*"}"#, true),
        (r#"{service="checkout", version=~"v2.*",}"#, true),
        (r#"{version=~"2.*"}"#, false),
        (r#"{version=~"v2"}"#, false),
        (r#"{version!~"v3.*"}"#, true),
        (r#"{version=~"v3.*|v2.*"}"#, true),
        (r#"{pod=""}"#, true),
        (r#"{pod!=""}"#, false),
        (r#"{pod=~".+"}"#, false),
        (r#"{ service = 'checkout' , version =~ `v2\.\d` }"#, true),
        (r#"{"service"="checkout"}"#, true),
    ] {
        assert_eq!(matches(selector, &labels), expected, "{selector}");
    }
}

/// Check that an alternation stays inside the anchors and `.` matches line breaks.
#[test]
fn regexes_are_anchored_as_a_whole() {
    assert!(!matches(r#"{a=~"x|y"}"#, &[("a", "xz")]));
    assert!(!matches(r#"{a=~"x|y"}"#, &[("a", "zy")]));
    assert!(matches(r#"{a=~"x.y"}"#, &[("a", "x\ny")]));
}

/// Check that escapes are read as Go does.
#[test]
fn escapes_are_read() {
    let value =
        |text: &str| Selector::parse(text).expect("parses").matchers()[0].value().to_owned();
    assert_eq!(value(r#"a="\"\\\n\t\x41\102\u00e9\U0001f600""#), "\"\\\n\tAB\u{e9}\u{1f600}");
    assert_eq!(value(r#"a='it\'s "x"'"#), "it's \"x\"");
    assert_eq!(value(r"a=`\d`"), r"\d");
    assert_eq!(value(r#"a="\xc3\xa9""#), "\u{e9}");
}

/// Check that errors say what was expected and where.
#[test]
fn errors_name_the_position() {
    assert_eq!(
        error("{service=checkout}"),
        "selector, position 10: expected a value in quotes, found `checkout`"
    );
    assert_eq!(
        error(r#"{service="a" version="b"}"#),
        "selector, position 14: expected `,` or `}`, found `version`"
    );
    assert_eq!(
        error(r#"{service="a""#),
        "selector, position 13: expected `,` or `}`, found the end"
    );
    assert_eq!(
        error(r#"{é="a"}"#),
        "selector, position 2: expected a label name or `}`, found 'é'"
    );
    assert_eq!(
        error(r#"{a="x"} b"#),
        "selector, position 9: expected the end after `}`, found `b`"
    );
    assert_eq!(error(r#"a=="b""#), "selector, position 3: expected a value in quotes, found `=`");
    assert_eq!(error(r#"a="b"#), "selector, position 3: this quote is not closed");
    assert!(error(r#"a="\q""#).starts_with("selector, position 4: unknown escape"));
    assert!(error(r#"a="\xff""#).contains("valid UTF-8"));
    assert!(error(r#"a="\777""#).contains("\\377"));
    assert_eq!(error(r#"""="x""#), "selector: a label name is empty");
}

/// Check that an expression cannot leave its group, and that limits hold.
#[test]
fn hostile_expressions_are_refused() {
    assert!(error(r#"a=~"x)|(y""#).contains("unopened group"), "{}", error(r#"a=~"x)|(y""#));
    assert!(error(r#"a=~"((a{100}){100}){100}""#).contains("size limit"));
    assert_eq!(
        Selector::parse(&" ".repeat(MAX_SELECTOR_BYTES + 1)),
        Err(SelectorError::TooLong(MAX_SELECTOR_BYTES + 1))
    );
    let many = r#"a="b","#.repeat(MAX_MATCHERS + 1);
    assert_eq!(Selector::parse(&many), Err(SelectorError::TooMany));
}

/// Check that the value a service must equal is found, and only an equality counts.
#[test]
fn required_values_come_from_equalities() {
    let selector = Selector::parse(r#"{service=~"a", service="b"}"#).expect("parses");
    assert_eq!(selector.required("service"), Some("b"));
    assert_eq!(selector.required("host"), None);
    assert_eq!(Selector::service("x y\"").to_string(), r#"{service="x y\""}"#);
}

fn op() -> impl Strategy<Value = MatchOp> {
    prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Matches,
        MatchOp::NotMatches,
    ])
}

proptest! {
    /// Check that what is printed parses to the same selector, whatever characters it holds.
    #[test]
    fn text_round_trips(rows in prop::collection::vec((".{1,12}", op(), any::<String>()), 0..6)) {
        let mut selector = Selector::default();
        for (name, op, value) in rows {
            // As a literal, so that any text is a valid expression.
            let value = match op {
                MatchOp::Equal | MatchOp::NotEqual => value,
                MatchOp::Matches | MatchOp::NotMatches => regex::escape(&value),
            };
            let matcher = Matcher::new(name, op, value).expect("valid");
            selector.push(matcher).expect("few");
        }
        let text = selector.to_string();
        prop_assert_eq!(Selector::parse(&text), Ok(selector), "{}", text);
    }

    /// Check that no text makes the parser panic.
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), cut in r#"[{}a-z="'`~!,\\ 0-7xuU]{0,40}"#) {
        let _ = Selector::parse(&text);
        let _ = Selector::parse(&cut);
    }
}
