use super::*;

fn sent(named: &[&str], there: &[&str]) -> Vec<(String, What)> {
    let named: Vec<PathBuf> = named.iter().map(PathBuf::from).collect();
    let exists = |path: &Path| there.iter().any(|there| Path::new(there) == path);
    let files = to_send(&named, exists).into_iter();
    files.map(|file| (file.path.to_string_lossy().into_owned(), file.what)).collect()
}

fn object(path: &str) -> (String, What) {
    (path.to_owned(), What::Object)
}

fn units(path: &str, binary: &str) -> (String, What) {
    (path.to_owned(), What::UnitsOf(binary.into()))
}

#[test]
fn a_package_goes_with_the_binary_of_its_name() {
    let there = ["d/app", "d/app.dwp", "d/lib.so.1"];
    assert_eq!(sent(&["d/app.dwp"], &there), [units("d/app.dwp", "d/app")]);
    let both = [object("d/app"), units("d/app.dwp", "d/app")];
    assert_eq!(sent(&["d/app"], &there), both, "it is found beside its binary");
    assert_eq!(sent(&["d/app", "d/app.dwp"], &there), both, "each is sent once");
    assert_eq!(sent(&["d/lib.so.1"], &there), [object("d/lib.so.1")]);
}

#[test]
fn a_package_elsewhere_needs_its_binary_to_be_named() {
    let there = ["bin/app", "units/app.dwp"];
    let expected = [units("units/app.dwp", "bin/app"), object("bin/app")];
    assert_eq!(sent(&["units/app.dwp", "bin/app"], &there), expected);
    let alone = [("units/app.dwp".to_owned(), What::UnitsWithout("units/app".into()))];
    assert_eq!(sent(&["units/app.dwp"], &there), alone);
}

/// Check that the id is the one that the code has, and what has none.
#[test]
fn the_id_is_read_from_the_binary() {
    let own = std::env::current_exe().expect("known");
    assert_eq!(id_of(&own).expect("an ELF file").kind, ObjectKind::File);
    assert!(matches!(id_of(Path::new("/nonexistent")), Err(BuildIdError::Io(_))));
    let text = tempfile::NamedTempFile::new().expect("made");
    assert!(matches!(id_of(text.path()), Err(BuildIdError::NotElf)));
}
