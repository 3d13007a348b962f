use std::{fs, path::Path};

use fleetprof_proto::ids::elf_identity::build_id;
use fleetprof_symbolizer::{Conversion, Converter};

use super::*;

/// The bytes as they are uploaded, and how many of them are not zeros that were made here.
fn outlined(path: &Path) -> (Vec<u8>, u64) {
    let size = fs::metadata(path).unwrap().len();
    let mut outlined = Outlined::new(File::open(path).unwrap(), size);
    let kept = outlined.kept.iter().map(|range| range.end - range.start).sum();
    let mut bytes = Vec::new();
    outlined.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, size);
    (bytes, kept)
}

fn table(object: &Path, table: &Path) -> Vec<u8> {
    let conversion = Conversion {
        object: object.to_owned(),
        debug: None,
        shared: None,
        package: None,
        table: table.to_owned(),
        max_unpacked_bytes: 1 << 30,
        time: std::time::Duration::from_secs(300),
        symbols_only: false,
    };
    Converter::in_process().convert(&conversion).unwrap();
    fs::read(table).unwrap()
}

fn check(path: &Path, most: f64) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("outline");
    let (bytes, kept) = outlined(path);
    fs::write(&copy, &bytes).unwrap();
    let share = kept as f64 / bytes.len() as f64;
    println!("{}: {:.1} % of {} bytes", path.display(), 100.0 * share, bytes.len());
    let id = |path: &Path| build_id(File::open(path).unwrap()).unwrap();
    assert_eq!(id(&copy), id(path));
    let tables = [path, &copy].map(|object| table(object, &dir.path().join("table")));
    assert!(tables[0] == tables[1], "{} has other symbols", path.display());
    assert!(share <= most, "{share}");
}

/// Check on programs of this host that nothing is left out which the symbol table is made of, and that
/// most of a stripped program is.
#[test]
fn the_symbol_table_of_an_outline_is_that_of_the_file() {
    check(Path::new("/bin/bash"), 0.5);
    check(Path::new("/proc/self/exe"), 1.0);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6")).unwrap();
    check(Path::new(libc), 0.5);
}

/// Check the same of Go's programs, whose data describe inlined calls.
#[test]
fn the_symbol_table_of_an_outlined_go_program_is_that_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("main.go");
    fs::write(&source, "package main\nimport \"fmt\"\nfunc main() { fmt.Println(1) }\n").unwrap();
    for (name, flags) in [("fixed", &["-ldflags=-s -w"][..]), ("pie", &["-buildmode=pie"])] {
        let path = dir.path().join(name);
        let mut go = std::process::Command::new("go");
        go.env("GOTOOLCHAIN", "local").env("GO111MODULE", "off").arg("build").args(flags);
        assert!(go.arg("-o").arg(&path).arg(&source).status().unwrap().success());
        check(&path, 0.9);
    }
}

/// Check that what is no program, or lies about itself, is sent as it is or within its size.
#[test]
fn damaged_files_are_read_within_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged");
    fs::write(&path, "no program").unwrap();
    assert_eq!(outlined(&path), (b"no program".to_vec(), 10));
    fs::write(&path, "").unwrap();
    assert_eq!(outlined(&path), (Vec::new(), 0));
    let mut bytes = fs::read("/bin/bash").unwrap();
    // Where its sections are said to be: in the header, and in their own table.
    let table = u64::from_le_bytes(*bytes[40..].first_chunk().unwrap()) as usize;
    for at in (table + 24..bytes.len()).step_by(64) {
        bytes[at..(at + 8).min(table + 64 * 30)].fill(0xf0);
        fs::write(&path, &bytes).unwrap();
        outlined(&path);
    }
    bytes[40..48].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(outlined(&path).0, bytes);
}
