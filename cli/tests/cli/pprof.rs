//! The file that `fleetprof pprof` leaves, or does not.

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Stdio,
    thread,
};

use fleetprof_proto::v1::ProfileChunk;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;
use tonic::Status;

use crate::{
    collector::{Answers, MockCollector},
    fixtures,
    run::{Ran, command, fleetprof, ran},
};

fn pprof(collector: &MockCollector, output: &Path) -> Ran {
    fleetprof(&collector.url(), &["pprof", "checkout", "-o", output.to_str().expect("UTF-8")])
}

fn files(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).expect("readable");
    entries.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Check that the chunks are joined in order and that the next command is there to be pasted.
#[test]
fn the_chunks_become_one_file() {
    let collector = MockCollector::start(fixtures::answers());
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("check out.pb.gz");
    let run = pprof(&collector, &path);
    assert_eq!(run.text(), "");
    assert_eq!(fs::read(&path).expect("written"), b"first second");
    assert_eq!(files(&directory), ["check out.pb.gz"]);
    let quoted = format!("'{}'", path.display());
    assert!(run.stderr.starts_with(&format!("wrote {quoted}: 12 B\n1,000 samples in")));
    let next = format!("look at it with: go tool pprof -http=: {quoted}\n");
    assert!(run.stderr.ends_with(&next), "{}", run.stderr);
    // As any other file of this user, not private as temporary files are.
    let plain = directory.path().join("plain");
    File::create(&plain).expect("created");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

/// Check that a chunk far above gRPC's usual 4 MiB arrives.
#[test]
fn large_chunks_arrive() {
    let chunk: Vec<u8> = (0..9_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
    let chunks = fixtures::profile(&[&chunk, &chunk]);
    let collector = MockCollector::start(Answers { chunks, ..fixtures::answers() });
    let run = fleetprof(&collector.url(), &["pprof", "-o", "-"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout == [chunk.as_slice(), &chunk].concat(), "{} bytes", run.stdout.len());
}

/// Check that a failure in the middle leaves the old file as it was, and no half of a new one.
#[test]
fn a_broken_answer_leaves_no_half_file() {
    let lost = Answers {
        profile_failure: Some(Status::unavailable("shutting down")),
        ..fixtures::answers()
    };
    // A stream that ends well, but without its last part.
    let chunk = ProfileChunk { pprof_gz: b"half".to_vec(), coverage: None };
    let cut = Answers { chunks: vec![chunk], ..fixtures::answers() };
    for (answers, expected) in [(lost, "shutting down"), (cut, "ended before its last part")] {
        let collector = MockCollector::start(answers);
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("old.pb.gz");
        fs::write(&path, "old").expect("written");
        let run = pprof(&collector, &path);
        assert!(run.failure(1).contains(expected), "{}", run.stderr);
        assert_eq!(fs::read(&path).expect("still there"), b"old");
        assert_eq!(files(&directory), ["old.pb.gz"]);
    }
}

/// Check that a profile of nothing is an error and no file.
#[test]
fn a_profile_of_nothing_is_an_error() {
    let collector = MockCollector::start(fixtures::nothing());
    let directory = TempDir::new().expect("a directory");
    let run = pprof(&collector, &directory.path().join("x.pb.gz"));
    assert!(run.failure(1).starts_with(r#"error: no samples match {service="checkout"} from "#));
    assert!(run.stderr.ends_with("no file was written\n"), "{}", run.stderr);
    assert_eq!(files(&directory), [""; 0]);
}

/// Check that a place that cannot be written to is found before the collector works for nothing.
#[test]
fn unwritable_places_are_found_before_asking() {
    let collector = MockCollector::start(fixtures::answers());
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("file"), "").expect("written");
    for (path, expected) in [
        (directory.path().to_owned(), "it is a directory"),
        (directory.path().join("no/x.pb.gz"), "No such file or directory (os error 2)\n"),
        (directory.path().join("file/x.pb.gz"), "Not a directory"),
    ] {
        let run = pprof(&collector, &path);
        let text = run.failure(1);
        assert!(text.contains(expected), "{text}");
        assert!(text.starts_with(&format!("error: cannot write {}: ", path.display())), "{text}");
        assert!(text.ends_with("choose another place with -o FILE\n"), "{text}");
    }
    assert_eq!(collector.asked(), []);
}

/// Check that a symbolic link stays one, and that the file it leads to is replaced.
#[test]
fn links_are_followed() {
    let collector = MockCollector::start(fixtures::answers());
    let directory = TempDir::new().expect("a directory");
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    fs::write(&file, "old").expect("written");
    symlink(&file, &link).expect("linked");
    let before = file.metadata().expect("there").ino();
    pprof(&collector, &link).text();
    assert!(link.symlink_metadata().expect("there").is_symlink());
    assert_eq!(fs::read(&file).expect("readable"), b"first second");
    assert_ne!(file.metadata().expect("there").ino(), before, "replaced, not overwritten");
}

/// Check that a pipe (and so a device) is written into, not replaced by a file.
#[test]
fn pipes_are_written_into() {
    let collector = MockCollector::start(fixtures::answers());
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
    let reader = thread::spawn({
        let path = path.clone();
        move || fs::read(path).expect("readable")
    });
    pprof(&collector, &path).text();
    assert_eq!(reader.join().expect("read"), b"first second");
    assert!(path.symlink_metadata().expect("there").file_type().is_fifo());
}

/// Check that a signal takes the unfinished file away and is reported as shells report it.
#[test]
fn signals_leave_no_half_file() {
    let collector = MockCollector::start(Answers { hold: true, ..fixtures::answers() });
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("x.pb.gz");
        let words = ["pprof", "-o", path.to_str().expect("UTF-8")];
        let child = command(Some(&collector.url()), &words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        collector.next_asked();
        assert_eq!(files(&directory).len(), 1, "the unfinished file is there");
        kill_process(Pid::from_child(&child), signal).expect("it lives");
        let run = ran(child.wait_with_output().expect("it ends"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(code), ""));
        assert_eq!(files(&directory), [""; 0]);
    }
}
