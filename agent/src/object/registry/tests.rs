use std::{fs, io::Read as _, process::Command};

use fleetprof_proto::ids::{BuildIdKind, elf_identity};

use super::*;
use crate::object::testing::{self, Running, WAITER, compile, file_id, place_of, readelf_build_id};

/// Check that a file is identified once for all processes, and again when it has changed.
#[test]
fn a_file_is_read_once_until_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let expected = Identified::As(readelf_build_id(&program));
    let registry = testing::registry();
    let first = Running::ready(&mut Command::new(&program));
    let second = Running::ready(&mut Command::new(&program));
    assert_eq!(registry.identify(&place_of(first.pid(), "/waiter")), expected);
    assert_eq!(registry.identify(&place_of(second.pid(), "/waiter")), expected);
    assert_eq!(registry.counts().files, 1);

    let other = WAITER.replace("ready", "READY");
    let replaced = compile(directory.path(), "other", &other, &["-Wl,--build-id=sha1"]);
    fs::rename(&replaced, &program).unwrap();
    let mut third = Running::start(&mut Command::new(&program));
    assert_eq!(third.line(), "READY");
    let found = registry.identify(&place_of(third.pid(), "/waiter"));
    assert_eq!(found, Identified::As(readelf_build_id(&program)));
    assert_ne!(found, expected);
    assert_eq!(registry.counts().files, 2);
}

/// Check that a file is known by what the kernel said of it when its process is gone.
#[test]
fn a_gone_process_leaves_what_others_showed() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let registry = testing::registry();
    let running = Running::ready(&mut Command::new(&program));
    let mut place = place_of(running.pid(), "/waiter");
    place.file = Some(FileId { generation: 7, ..file_id(&program) });
    let expected = Identified::As(readelf_build_id(&program));
    assert_eq!(registry.identify(&place), expected);

    running.stop();
    fs::remove_file(&program).unwrap();
    assert_eq!(registry.identify(&place), expected);
    place.file = Some(FileId { generation: 8, ..place.file.unwrap() });
    assert_eq!(registry.identify(&place), Identified::Never);
}

/// Check that what is uploaded is what was mapped, though its name is gone.
#[test]
fn a_deleted_binary_is_uploaded() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let content = fs::read(&program).unwrap();
    let running = Running::ready(&mut Command::new(&program));
    fs::remove_file(&program).unwrap();
    let registry = testing::registry();
    let place = place_of(running.pid(), "/waiter");
    let Identified::As(build_id) = registry.identify(&place) else { panic!("not identified") };
    let id = ObjectId { kind: ObjectKind::File, build_id };
    assert!(matches!(registry.open_for_upload(&id), Err(UploadError::Unknown(_))));

    registry.remember(id.clone(), place);
    let mut source = registry.open_for_upload(&id).unwrap();
    let mut uploaded = Vec::new();
    source.read_to_end(&mut uploaded).unwrap();
    assert_eq!((source.format(), source.size()), (ObjectFormat::Elf, content.len() as u64));
    assert!(source.path().ends_with("/waiter"));
    assert_eq!(uploaded, content);

    running.stop();
    assert!(matches!(registry.open_for_upload(&id), Err(UploadError::Gone(_))));
}

/// Check that a file which took another's name is not uploaded in its place.
#[test]
fn another_file_of_the_same_name_is_not_uploaded() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let registry = testing::registry();
    let running = Running::ready(&mut Command::new(&program));
    let place = place_of(running.pid(), "/waiter");
    let Identified::As(build_id) = registry.identify(&place) else { panic!("not identified") };
    let id = ObjectId { kind: ObjectKind::File, build_id };
    registry.remember(id.clone(), place);
    running.stop();
    // Still there by name, so still to be had.
    registry.open_for_upload(&id).unwrap();
    let other = WAITER.replace("ready", "other");
    let replacement = compile(directory.path(), "other", &other, &["-Wl,--build-id=sha1"]);
    fs::rename(replacement, &program).unwrap();
    assert!(matches!(registry.open_for_upload(&id), Err(UploadError::Gone(_))));
}

/// Check the vDSO: identified and uploaded from memory.
#[test]
fn the_vdso_is_identified_and_uploaded() {
    let registry = testing::registry();
    let Identified::As(build_id) = registry.identify_own_vdso() else { panic!("no vDSO") };
    assert_eq!(build_id.kind(), BuildIdKind::Gnu);
    let by_maps = registry.identify_vdso(&place_of(std::process::id(), "[vdso]"));
    assert_eq!(by_maps, Identified::As(build_id.clone()));

    let id = ObjectId { kind: ObjectKind::Vdso, build_id: build_id.clone() };
    let mut bytes = Vec::new();
    registry.open_for_upload(&id).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(elf_identity::build_id(Cursor::new(&bytes)).unwrap(), build_id);
}

/// Check that one object keeps a few places, and that equal descriptions are one object.
#[test]
fn places_are_bounded_and_objects_shared() {
    let registry = testing::registry();
    let build_id = BuildId::new(BuildIdKind::Gnu, &[1; 20]).unwrap();
    let id = ObjectId { kind: ObjectKind::File, build_id: build_id.clone() };
    let path = registry.path(b"/usr/lib/x.so");
    for pid in 1..1000 {
        let path = Arc::clone(&path);
        let place = Place { pid, parent: None, start: 1, end: 2, path, file: None };
        registry.remember(id.clone(), place);
    }
    assert_eq!(registry.lock().places.get(&id).unwrap().len(), PLACES_PER_OBJECT);
    let one = registry.code_object(ObjectKind::File, Some(build_id.clone()), &path);
    let two = registry.code_object(ObjectKind::File, Some(build_id), &path);
    assert_eq!(one.serial(), two.serial());
}
