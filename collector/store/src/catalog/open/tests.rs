use super::*;

#[test]
fn a_password_is_in_no_message() {
    for (url, shown) in [
        ("postgres://me:s3cret@db:5432/fleet?password=s3cret", "postgres://me@db:5432/fleet"),
        ("postgres://me:s3c@ret@db/fleet", "postgres://me@db/fleet"),
        ("postgres://db/fleet#s3cret", "postgres://db/fleet"),
        ("sqlite:/var/lib/a?b", "sqlite:/var/lib/a?b"),
    ] {
        assert_eq!(without_password(url), shown);
        assert_eq!(&*Target::parse(url).expect("parses").name, shown);
    }
    let Err(error) = Target::parse("mysql://me:s3cret@db/x") else { panic!("accepted") };
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(error.to_string().contains("mysql://me@db/x"), "{error}");
}

#[test]
fn a_url_that_names_no_catalog_is_refused() {
    for url in ["", "sqlite:", "sqlite://", "sqlite::memory:", "/var/lib/x.db", "postgres:db"] {
        let Err(error) = Target::parse(url) else { panic!("{url:?} is accepted") };
        assert!(error.to_string().contains("sqlite:PATH"), "{error}");
    }
}
