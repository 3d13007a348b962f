//! Files that go with several objects, and what objects lack.

use std::{fs, process::Command};

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectId, ObjectKind};
use fleetprof_symbolizer::identity::{SymbolLevel, identify_path};
use tempfile::TempDir;

use super::*;

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

/// Check that an object whose debug information needs parts of another file is converted without them,
/// again when they come, and that a restart in between forgets neither; that such a file alone has not
/// failed and waits for nothing.
#[test]
fn a_shared_file_that_comes_later_renews_the_tables() {
    let dir = TempDir::new().expect("dir");
    let tool = |name: &str, args: &[&str]| {
        let status = Command::new(name).args(args).current_dir(dir.path()).status();
        assert!(status.expect("installed").success(), "{name} {args:?}");
    };
    fs::write(dir.path().join("a.c"), "struct s { int a; }; int main(void) { return 0; }\n")
        .expect("written");
    for (name, what) in [("a", "-O0"), ("b", "-O1")] {
        tool("gcc", &["-g", what, "-Wl,--build-id", "a.c", "-o", name]);
    }
    tool("dwz", &["-m", "shared", "a", "b"]);
    let objects = dir.path().join("objects");
    fs::create_dir(&objects).expect("created");
    let open = || Catalog::open(&objects, 1 << 30).expect("opens");
    let adopt = |catalog: &Catalog, name: &str, format| {
        let copy = dir.path().join("copy");
        fs::copy(dir.path().join(name), &copy).expect("copied");
        let identity = identify_path(&copy).expect("an object");
        let id = ObjectId { kind: ObjectKind::File, build_id: identity.build_id().clone() };
        let reserved = catalog.reserve(1000).expect("fits");
        assert!(catalog.adopt(&id, format, &copy, &reserved, Replace::Never).expect("kept"));
        id
    };
    let new_table = |catalog: &Catalog, id| {
        let path = dir.path().join("table");
        fs::write(&path, "table").expect("written");
        catalog.adopt_table(&catalog.waits(id).expect("waits"), &path, 5).expect("kept")
    };
    let catalog = open();
    let a = adopt(&catalog, "a", Format::Elf);
    assert_eq!(catalog.waits(&a).expect("waits").shared, None);
    assert!(new_table(&catalog, &a) && catalog.waits(&a).is_none());

    let catalog = open();
    assert!(catalog.waits(&a).is_none(), "its table is as good as it can be");
    let shared = adopt(&catalog, "shared", Format::Debug);
    let renewed = |catalog: &Catalog| {
        let jobs = catalog.waiting_for(&shared);
        let paths: Vec<_> = jobs.iter().map(|job| (job.id.clone(), job.shared.clone())).collect();
        assert_eq!(paths, [(a.clone(), Some(objects.join(format!("{shared}.debug"))))]);
    };
    renewed(&catalog);
    let catalog = open();
    renewed(&catalog);
    assert!(new_table(&catalog, &a) && open().waits(&a).is_none());
    let status = catalog.status();
    assert_eq!((status.stored, status.waiting, status.failed), (1, 0, 0));

    let b = adopt(&catalog, "b", Format::Elf);
    assert!(catalog.waits(&b).expect("waits").shared.is_some(), "it is there already");
}

/// Check that a package of split units goes with its object in either order, counts for the quota, and
/// is found after a restart.
#[test]
fn split_units_go_with_their_object() {
    let dir = TempDir::new().expect("dir");
    let adopt = |catalog: &Catalog, format| {
        let path = dir.path().join("new");
        fs::write(&path, "file").expect("written");
        let reserved = catalog.reserve(4).expect("fits");
        catalog.adopt(&object(1), format, &path, &reserved, Replace::Never).expect("kept")
    };
    let objects = dir.path().join("objects");
    fs::create_dir(&objects).expect("created");
    let catalog = Catalog::open(&objects, 1000).expect("opens");
    assert!(adopt(&catalog, Format::Split) && catalog.waits(&object(1)).is_none());
    assert!(adopt(&catalog, Format::Elf) && !adopt(&catalog, Format::Split));
    let catalog = Catalog::open(&objects, 1000).expect("opens");
    let package = catalog.waits(&object(1)).expect("waits").package;
    assert_eq!(package, Some(objects.join(format!("{}.dwp", object(1)))));
    assert_eq!(catalog.status().bytes, 8);
}

/// Check that only what profiles have code of lacks anything, and that a file which cannot be read says
/// nothing.
#[test]
fn what_is_hit_and_has_no_debug_information_lacks_it() {
    let dir = TempDir::new().expect("dir");
    let path = |byte, kept| dir.path().join(format!("{}.{kept}", object(byte)));
    fs::write(path(1, "elf"), "file").expect("written");
    fs::write(path(2, "elf"), "file").expect("written");
    fs::write(path(2, "shares"), format!("{}\n", object(9))).expect("written");
    // An executable with debug information, this test.
    fs::copy(std::env::current_exe().expect("runs"), path(3, "elf")).expect("copied");
    let catalog = Catalog::open(dir.path(), 1 << 40).expect("opens");
    assert_eq!(catalog.lacks(), []);
    assert!(catalog.is_hit(&object(2)) && !catalog.is_hit(&object(4)));
    let lacks = [Lack::DebugInfo(object(2)), Lack::Shared(object(9))];
    assert_eq!(catalog.lacks(), lacks);
    assert_eq!(catalog.level(&object(2)), SymbolLevel::Dynamic);
    assert_eq!(catalog.lacks(), lacks);
    assert!(catalog.is_hit(&object(3)));
    assert_eq!(catalog.lacks().len(), 3, "nobody has looked into it");
    assert_eq!(catalog.level(&object(3)), SymbolLevel::DebugInfo);
    assert_eq!(catalog.lacks(), lacks);
}
