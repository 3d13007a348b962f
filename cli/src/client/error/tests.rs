use super::*;

fn url() -> CollectorUrl {
    "http://c:7171".parse().expect("a URL")
}

fn text_of(status: &Status) -> String {
    ClientError::from_status(&url(), Greeting::Http2, status).to_string()
}

/// Check that each status of a peer leads to the remedy that helps.
#[test]
fn statuses_lead_to_remedies() {
    for (status, expected) in [
        (Status::unimplemented("no such method"), "not as a fleetprof collector: no such method"),
        (Status::invalid_argument("bad step"), "refuses the question: bad step"),
        (Status::unavailable("starting"), "for now: starting\ntry again later"),
        (Status::resource_exhausted("use a wider step"), "declines: use a wider step"),
        (Status::deadline_exceeded("ask for less"), "declines: ask for less"),
        (Status::not_found("no service \"x\""), "no service \"x\""),
        (Status::internal("disk"), "failed: disk (Internal)\nits log says more"),
        (Status::unknown(""), "it gives no reason"),
    ] {
        let text = text_of(&status);
        assert!(text.contains(expected), "{text}");
    }
}

/// Check that only a wrong question counts as wrong usage.
#[test]
fn only_refusals_are_usage_errors() {
    let is_usage = |status| ClientError::from_status(&url(), Greeting::Http2, &status).is_usage();
    assert!(is_usage(Status::invalid_argument("x")));
    assert!(!is_usage(Status::internal("x")));
    assert!(!is_usage(Status::not_found("x")));
}

/// Check that a hostile peer can neither repaint the terminal nor fill it.
#[test]
fn messages_are_cleaned_and_cut() {
    let text = text_of(&Status::internal(format!("a\u{1b}[2J\nb{}", "x".repeat(1 << 20))));
    assert!(text.contains("a�[2J\nb"), "{text:?}");
    assert!(text.len() < 3_000);
}
