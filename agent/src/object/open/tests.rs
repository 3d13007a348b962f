use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, symlink},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use fleetprof_proto::ids::{BuildId, elf_identity::build_id as identify};

use super::*;
use crate::object::testing::{Running, WAITER, compile, file_id, place_of, readelf_build_id};

const PROC: &str = "/proc";

/// A procfs that shows of one process only its root, as to an agent without `CAP_SYS_ADMIN`.
fn proc_with_root_only(pid: u32) -> tempfile::TempDir {
    let proc_root = tempfile::tempdir().unwrap();
    let process = proc_root.path().join(pid.to_string());
    fs::create_dir(&process).unwrap();
    symlink(format!("/proc/{pid}/root"), process.join("root")).unwrap();
    proc_root
}

/// Check that the file opened is the one that is mapped.
#[test]
fn a_mapped_file_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &[]);
    let running = Running::ready(&mut Command::new(&program));
    let place = place_of(running.pid(), "/waiter");

    let (file, version) = place.open(Path::new(PROC)).unwrap();
    assert_eq!(file.metadata().unwrap().ino(), fs::metadata(&program).unwrap().ino());
    assert_eq!(version.size(), fs::metadata(&program).unwrap().len());

    let restricted = proc_with_root_only(running.pid());
    let (_, by_path) = place.open(restricted.path()).unwrap();
    assert_eq!(by_path, version);
}

/// Check that a binary is read that was deleted while it runs, or replaced by another one.
#[test]
fn deleted_and_replaced_files_are_read_by_their_mapping() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let build_id = readelf_build_id(&program);
    let running = Running::ready(&mut Command::new(&program));
    let restricted = proc_with_root_only(running.pid());

    fs::remove_file(&program).unwrap();
    let place = place_of(running.pid(), "/waiter");
    let (file, _) = place.open(Path::new(PROC)).unwrap();
    assert_eq!(identify(&file).unwrap(), build_id);
    assert!(matches!(place.open(restricted.path()), Err(OpenError::Unreachable { .. })));

    fs::write(&program, "another file").unwrap();
    let (file, _) = place.open(Path::new(PROC)).unwrap();
    assert_eq!(identify(&file).unwrap(), build_id);
    assert!(matches!(place.open(restricted.path()), Err(OpenError::Replaced)));
}

/// Starts a program that exists only in the mount namespace of its process.
fn hidden_program(directory: &Path) -> (Running, BuildId) {
    let program = compile(directory, "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let hidden = directory.join("hidden");
    fs::create_dir(&hidden).unwrap();
    let script = "mount -t tmpfs none \"$1\" && cp \"$0\" \"$1/inside\" && exec \"$1/inside\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&program).arg(&hidden);
    let running = Running::ready(&mut command);
    assert!(!hidden.join("inside").exists());
    (running, readelf_build_id(&program))
}

/// Check a process whose binary exists only in its own mount namespace, both ways.
#[test]
fn files_of_other_mount_namespaces_are_opened() {
    let directory = tempfile::tempdir().unwrap();
    let (running, build_id) = hidden_program(directory.path());
    let place = place_of(running.pid(), "/inside");
    let (file, _) = place.open(Path::new(PROC)).unwrap();
    assert_eq!(identify(&file).unwrap(), build_id);
    let restricted = proc_with_root_only(running.pid());
    let (file, _) = place.open(restricted.path()).unwrap();
    assert_eq!(identify(&file).unwrap(), build_id);
}

/// Check a program on an overlay, as containers have it: the device that `maps` shows is not the one
/// the file says it is on.
#[test]
fn files_of_overlays_are_opened() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let mount = directory.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let script = "mount -t tmpfs none \"$1\" && cd \"$1\" && mkdir lower upper work merged && \
        cp \"$0\" lower/inside && \
        mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged && \
        exec \"$1/merged/inside\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&program).arg(&mount);
    let running = Running::ready(&mut command);
    let place = place_of(running.pid(), "/inside");
    let restricted = proc_with_root_only(running.pid());
    for proc_root in [Path::new(PROC), restricted.path()] {
        let (file, _) = place.open(proc_root).unwrap();
        assert_eq!(identify(&file).unwrap(), readelf_build_id(&program));
    }
}

/// Check that a file is found where the parent lives when its own process is gone.
#[test]
fn the_parents_root_serves_for_a_process_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (running, build_id) = hidden_program(directory.path());
    let mut place = place_of(running.pid(), "/inside");
    place.pid = u32::MAX;
    assert!(matches!(place.open(Path::new(PROC)), Err(OpenError::Unreachable { .. })));
    place.parent = Some(running.pid());
    let (file, _) = place.open(Path::new(PROC)).unwrap();
    assert_eq!(identify(&file).unwrap(), build_id);
}

/// Check that pipes and devices are refused without waiting: nobody writes into this one.
#[test]
fn pipes_and_devices_are_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/zero"), directory.path()] {
        let place = Place {
            pid: std::process::id(),
            parent: None,
            start: 0x1000,
            end: 0x2000,
            path: path.as_os_str().as_bytes().into(),
            file: Some(file_id(path)),
        };
        assert!(matches!(place.open(Path::new(PROC)), Err(OpenError::NotAFile)), "{path:?}");
    }
}

/// Check that no name leads out of a process's root.
#[test]
fn names_stay_below_the_root() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("secret"), "inside").unwrap();
    symlink("/secret", root.path().join("absolute")).unwrap();
    symlink("/etc/passwd", root.path().join("out")).unwrap();
    for path in ["/secret", "/absolute", "/../../secret", "/../absolute"] {
        let found = look_below(root.path(), path.as_bytes()).ok().unwrap();
        let mut text = String::new();
        Found::open(&found, false).ok().unwrap().file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside", "{path}");
    }
    for path in ["/out", "/../../etc/passwd", "relative", ""] {
        assert!(look_below(root.path(), path.as_bytes()).is_err(), "{path}");
    }
}

/// Check that names with `..` are found while files are renamed elsewhere, which makes the kernel
/// give up lookups.
#[test]
fn renames_elsewhere_do_not_disturb_a_lookup() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b/c/d")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let (one, other) = (root.path().join("one"), root.path().join("other"));
    fs::write(&one, "").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&one, &other).unwrap();
                fs::rename(&other, &one).unwrap();
            }
        });
        let failed = (0..20_000)
            .filter(|_| look_below(root.path(), b"/a/b/c/d/../../../../file").is_err())
            .count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
}
