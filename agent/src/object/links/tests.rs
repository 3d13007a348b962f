use std::{fs, path::Path, process::Command};

use super::*;
use crate::object::testing::{WAITER, compile};

/// Writes `content` into a program as a section of this name.
fn with_section(folder: &Path, name: &str, content: &[u8]) -> File {
    let program = compile(folder, "program", WAITER, &["-Wl,--build-id=sha1"]);
    let file = folder.join("content");
    fs::write(&file, content).unwrap();
    let add = format!("--add-section={name}={}", file.display());
    assert!(Command::new("objcopy").arg(add).arg(&program).status().unwrap().success());
    File::open(program).unwrap()
}

#[test]
fn a_link_names_a_file_and_its_build_id() {
    let folder = tempfile::tempdir().unwrap();
    let link =
        |content: &[u8]| AltLink::of(&with_section(folder.path(), ".gnu_debugaltlink", content));
    let expected = AltLink {
        path: b"../.dwz/all.debug".to_vec(),
        build_id: BuildId::new(BuildIdKind::Gnu, &[7; 20]).unwrap(),
    };
    let good = [&b"../.dwz/all.debug\0"[..], &[7; 20]].concat();
    assert_eq!(link(&good), Some(expected));
    for bad in [&b"\0abcdefghijklmnopqrst"[..], b"no end", b"no id\0", &[b'x'; 10_000]] {
        assert_eq!(link(bad), None);
    }
    assert_eq!(AltLink::read(&b"no program"[..]), None);
    assert!(AltLink::of(&with_section(folder.path(), ".other", &good)).is_none());
}

#[test]
fn packages_are_known_by_their_index_and_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let other = with_section(folder.path(), ".other", b"x");
    assert!(!is_package_of(&other, &other));
    let package = with_section(folder.path(), ".debug_cu_index", b"x");
    assert!(is_package_of(&package, &package));
}
