use super::*;

/// Check that the addresses people use are taken and shown without decoration.
#[test]
fn addresses_are_accepted() {
    for (text, shown) in [
        ("http://127.0.0.1:7171", "http://127.0.0.1:7171"),
        ("http://collector:7171/", "http://collector:7171"),
        (" http://[::1]:7171 ", "http://[::1]:7171"),
        ("HTTP://collector", "http://collector"),
    ] {
        assert_eq!(text.parse::<CollectorUrl>().expect(text).to_string(), shown);
    }
}

/// Check that each mistake is named.
#[test]
fn mistakes_are_named() {
    for (text, error) in [
        ("", UrlError::Empty),
        ("  ", UrlError::Empty),
        ("http://", UrlError::Malformed),
        ("http://a b", UrlError::Malformed),
        ("/var/run/x", UrlError::Malformed),
        ("http://:7171", UrlError::Malformed),
        ("http://h:99999", UrlError::Malformed),
        ("http://h:", UrlError::Malformed),
        ("localhost", UrlError::NoScheme("localhost".to_owned())),
        ("localhost:7171", UrlError::NoScheme("localhost:7171".to_owned())),
        ("https://h", UrlError::Tls),
        ("ftp://h", UrlError::Scheme("ftp".to_owned())),
        ("http://u:p@h", UrlError::Credentials),
        ("http://h:7171/pprof/x", UrlError::Path("h:7171".to_owned())),
        ("http://h?x=1", UrlError::Path("h".to_owned())),
    ] {
        assert_eq!(text.parse::<CollectorUrl>(), Err(error), "{text}");
    }
}
