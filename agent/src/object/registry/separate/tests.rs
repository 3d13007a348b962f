use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use fleetprof_proto::ids::ObjectKind;

use super::*;
use crate::object::{
    RegistryConfig,
    testing::{WAITER, compile},
};

const PID: u32 = 7;

/// The root of a process: a program, its debug file, and a file that both share with others.
struct Root {
    folder: tempfile::TempDir,
    registry: Registry,
    id: ObjectId,
    shared_id: BuildId,
}

impl Root {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join("root").join(path);
        fs::create_dir_all(at("opt/app")).unwrap();
        fs::create_dir_all(at("usr/lib/debug/.dwz")).unwrap();
        let flags = ["-g", "-Wl,--build-id=sha1"];
        let shared = compile(folder.path(), "shared", WAITER, &["-g", "-O1", flags[1]]);
        let shared_id = elf_identity::build_id(File::open(&shared).unwrap()).unwrap();
        fs::copy(&shared, at("usr/lib/debug/.dwz/all.debug")).unwrap();

        let built = compile(folder.path(), "program", WAITER, &flags);
        let link = folder.path().join("link");
        let path = b"../../usr/lib/debug/.dwz/all.debug\0";
        fs::write(&link, [&path[..], shared_id.value()].concat()).unwrap();
        let add = format!("--add-section=.gnu_debugaltlink={}", link.display());
        tool(Command::new("objcopy").arg(add).arg(&built).arg(at("opt/app/program")));

        let proc_root = folder.path().join("proc");
        fs::create_dir_all(proc_root.join(PID.to_string())).unwrap();
        symlink(folder.path().join("root"), proc_root.join(PID.to_string()).join("root")).unwrap();
        let registry = Registry::new(&RegistryConfig { proc_root, ..RegistryConfig::default() });
        let build_id = elf_identity::build_id(File::open(&built).unwrap()).unwrap();
        let id = ObjectId { kind: ObjectKind::File, build_id };
        let path: Arc<[u8]> = Arc::from(&b"/opt/app/program"[..]);
        let place = Place { pid: PID, parent: None, start: 0, end: 0, path, file: None };
        registry.remember(id.clone(), place);
        Self { folder, registry, id, shared_id }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    fn find(&self) -> Companions {
        let binary = File::open(self.at("opt/app/program")).unwrap();
        self.registry.find_companions(&self.id, &binary)
    }
}

fn tool(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn what_is_shared_is_found_by_its_path_and_its_build_id() {
    let root = Root::new();
    let found = root.find();
    assert!(found.debug.is_none() && found.packages.is_empty());
    let ids: Vec<_> = found.shared.iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [&root.shared_id]);

    let shared = root.at("usr/lib/debug/.dwz/all.debug");
    let by_id = debug_file::path_of(&root.shared_id).unwrap();
    let by_id = root.at(std::str::from_utf8(&by_id[1..]).unwrap());
    fs::create_dir_all(by_id.parent().unwrap()).unwrap();
    fs::rename(&shared, &by_id).unwrap();
    assert_eq!(root.find().shared.len(), 1);

    // Another file in its place, or a way out of the process's root.
    fs::copy(root.at("opt/app/program"), &by_id).unwrap();
    assert!(root.find().shared.is_empty());
    fs::remove_file(&by_id).unwrap();
    symlink(root.folder.path().join("shared"), &by_id).unwrap();
    assert!(root.find().shared.is_empty());
}

#[test]
fn split_units_are_found_beside_the_binary() {
    let root = Root::new();
    let package = root.at("opt/app/program.dwp");
    fs::copy(root.at("opt/app/program"), &package).unwrap();
    assert!(root.find().packages.is_empty(), "it is none");
    let index = root.folder.path().join("index");
    fs::write(&index, "x").unwrap();
    let add = format!("--add-section=.debug_cu_index={}", index.display());
    tool(Command::new("objcopy").arg(add).arg(&package));
    let found = root.find().packages;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].metadata().unwrap().ino(), fs::metadata(&package).unwrap().ino());
}
