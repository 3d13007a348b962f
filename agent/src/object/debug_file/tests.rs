use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use fleetprof_proto::ids::{ObjectId, ObjectKind};
use fleetprof_unwind::{Limits, build};

use super::*;
use crate::object::{
    Registry, RegistryConfig,
    testing::{WAITER, compile},
};

/// Its own unwind information is in `.debug_frame` only, which `strip` takes away.
const FLAGS: &[&str] = &["-g", "-O2", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables"];
const PID: u32 = 7;

/// The root of a process, with a stripped program in it.
struct Root {
    folder: tempfile::TempDir,
    program: PathBuf,
    debug: PathBuf,
    registry: Registry,
    id: ObjectId,
}

impl Root {
    fn with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let home = root.join("opt/app");
        fs::create_dir_all(&home).unwrap();
        let built = compile(folder.path(), "program", WAITER, &[FLAGS, flags].concat());
        let debug = folder.path().join("program.debug");
        let program = home.join("program");
        tool(Command::new("objcopy").arg("--only-keep-debug").arg(&built).arg(&debug));
        let link = format!("--add-gnu-debuglink={}", debug.display());
        tool(Command::new("objcopy").args(["--strip-all", &link]).arg(&built).arg(&program));

        let proc_root = folder.path().join("proc");
        fs::create_dir_all(proc_root.join(PID.to_string())).unwrap();
        symlink(&root, proc_root.join(PID.to_string()).join("root")).unwrap();
        let registry = Registry::new(&RegistryConfig { proc_root, ..RegistryConfig::default() });
        let build_id = elf_identity::build_id(File::open(&program).unwrap()).unwrap();
        let id = ObjectId { kind: ObjectKind::File, build_id };
        let path: Arc<[u8]> = Arc::from(&b"/opt/app/program"[..]);
        let place = Place { pid: PID, parent: None, start: 0, end: 0, path, file: None };
        registry.remember(id.clone(), place);
        Self { folder, program, debug, registry, id }
    }

    /// A path as the process sees it.
    fn path(&self, path: &str) -> PathBuf {
        let path = self.folder.path().join("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn find(&self) -> Option<File> {
        self.registry.open_debug_file(&self.id, &File::open(&self.program).unwrap())
    }

    fn finds(&self, path: &Path) -> bool {
        self.find().is_some_and(|found| {
            found.metadata().unwrap().ino() == fs::metadata(path).unwrap().ino()
        })
    }
}

fn tool(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn debug_files_are_found_where_debuggers_look() {
    let root = Root::with(&["-Wl,--build-id=sha1"]);
    assert!(root.find().is_none());
    let hex: String = root.id.build_id.value().iter().map(|byte| format!("{byte:02x}")).collect();
    let by_id = format!("usr/lib/debug/.build-id/{}/{}.debug", &hex[..2], &hex[2..]);
    let by_link = [
        "opt/app/program.debug",
        "opt/app/.debug/program.debug",
        "usr/lib/debug/opt/app/program.debug",
    ];
    for place in by_link.into_iter().chain([by_id.as_str()]) {
        let path = root.path(place);
        fs::copy(&root.debug, &path).unwrap();
        assert!(root.finds(&path), "{place}");
        fs::remove_file(path).unwrap();
    }
}

/// Check that of a file without a build ID every byte counts.
#[test]
fn the_check_sum_decides_where_there_is_no_build_id() {
    let root = Root::with(&["-Wl,--build-id=none"]);
    let path = root.path("opt/app/program.debug");
    fs::copy(&root.debug, &path).unwrap();
    assert!(root.finds(&path));
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
    assert!(root.find().is_none());
}

/// Check that what another program's file, the binary itself, a pipe or a file elsewhere on the host
/// has is not believed.
#[test]
fn what_is_no_debug_file_of_the_binary_is_refused() {
    let root = Root::with(&["-Wl,--build-id=sha1"]);
    let path = root.path("opt/app/program.debug");
    let other = Root::with(&["-Wl,--build-id=sha1", "-DOTHER", "-O1"]);
    fs::copy(&other.debug, &path).unwrap();
    assert_ne!(other.id, root.id);
    assert!(root.find().is_none());

    fs::remove_file(&path).unwrap();
    fs::hard_link(&root.program, &path).unwrap();
    assert!(root.find().is_none());

    fs::remove_file(&path).unwrap();
    tool(Command::new("mkfifo").arg(&path));
    assert!(root.find().is_none());

    fs::remove_file(&path).unwrap();
    symlink(&root.debug, &path).unwrap();
    assert!(root.find().is_none(), "the link leads out of the process's root");
}

#[test]
fn the_debug_file_describes_the_code() {
    let root = Root::with(&["-Wl,--build-id=sha1", "-shared", "-fPIC"]);
    fs::copy(&root.debug, root.path("opt/app/program.debug")).unwrap();
    let binary = File::open(&root.program).unwrap();
    let alone = build(&binary, None, &Limits::default()).unwrap();
    let debug = root.find().unwrap();
    let both = build(&binary, Some(&debug), &Limits::default()).unwrap();
    assert!(alone.stats().functions < both.stats().functions);
    assert!(alone.stats().unknown_bytes > both.stats().unknown_bytes);
}
