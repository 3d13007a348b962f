use super::*;

fn selector(first: Option<&str>, second: Option<&str>) -> String {
    Target::from_words(first, second).expect("valid").selector()
}

fn refusal(first: Option<&str>, second: Option<&str>) -> String {
    Target::from_words(first, second).expect_err("invalid").to_string()
}

/// Check that a service and a selector both hold.
#[test]
fn a_service_is_added_to_the_selector() {
    assert_eq!(selector(None, None), "{}");
    assert_eq!(selector(Some("checkout"), None), r#"{service="checkout"}"#);
    assert_eq!(selector(Some(r#"{version="v2"}"#), None), r#"{version="v2"}"#);
    assert_eq!(
        selector(Some("checkout"), Some(r#"{version=~"v2.*"}"#)),
        r#"{service="checkout", version=~"v2.*"}"#
    );
    assert_eq!(selector(Some("checkout"), Some("{}")), r#"{service="checkout"}"#);
}

/// Check that a name cannot become a part of the selector's syntax.
#[test]
fn service_names_are_escaped() {
    let name = "a\"b\\c\n, host=\"x";
    let read = Selector::parse(&selector(Some(name), None)).expect("valid");
    assert_eq!(read.matchers().len(), 1);
    assert_eq!(read.required("service"), Some(name));
}

/// Check that an error points at the place in what was typed, not in what is sent.
#[test]
fn syntax_errors_point_at_the_place() {
    let text = refusal(Some("checkout"), Some("{version}"));
    assert!(text.contains("position 9"), "{text}");
    assert!(text.contains("\n  {version}\n          ^\n"), "{text}");
}

/// Check that words in the wrong order or number are explained.
#[test]
fn wrong_words_are_refused() {
    assert!(refusal(Some("{}"), Some("checkout")).contains("[SERVICE] [SELECTOR]"));
    assert!(refusal(Some(""), None).contains("leave it out"));
    assert!(refusal(Some("checkout"), Some("checkout")).contains("position"));
    assert!(refusal(Some(r#"{host=~"("}"#), None).contains("regular expression"));
}
