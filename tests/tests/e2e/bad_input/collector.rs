//! What a collector cannot work with.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fleetprof_tests::{
    agent::Agent,
    cli,
    collector::{Collector, command},
    grpc::Grpc,
    machine::{free_port, machine},
    process::{self, Finished},
    programs::{Burning, Program},
    tmpfs::Tmpfs,
};

use crate::fixture::{Lab, deliver};

fn run(port: u16, data_dir: &Path) -> Finished {
    process::run(&mut command(port, data_dir), Duration::from_secs(60))
}

// Check a port that somebody else has.
#[test]
fn a_port_in_use_is_named() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    run(port, dir.path()).complaint("the collector", &["in use", &port.to_string(), "--listen"]);
}

// Check directories that cannot be written.
#[test]
fn an_unwritable_data_directory_is_named() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("a-file");
    fs::write(&file, "not a directory").expect("a file");
    run(free_port(), &file).complaint("a file as data directory", &["a-file", "--data-dir"]);
    let disk = Tmpfs::mount(&dir.path().join("read-only"), 1 << 20);
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(disk.path());
    assert!(remount.status().expect("mount runs").success());
    run(free_port(), disk.path())
        .complaint("a read-only data directory", &["read-only", "--data-dir"]);
}

// Check two collectors on one directory.
#[test]
fn a_data_directory_in_use_is_refused_and_the_first_unharmed() {
    let _machine = machine();
    let lab = Lab::new();
    let mut collector = lab.collector();
    let data = lab.path().join("data");
    run(free_port(), &data).complaint("a second collector", &["another|in use|locked", "data"]);
    collector.check_unharmed();
    collector.stop();
}

/// The file with the samples of a store, of several the largest.
fn samples_file(data: &Path) -> PathBuf {
    let all = below(data).into_iter();
    let samples = all.filter(|path| path.to_string_lossy().ends_with(".samples.parquet"));
    samples
        .max_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()))
        .expect("the store has samples")
}

/// Every file below a folder.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found
}

/// Fills a lab with some batches and ends everything cleanly; gives the number of samples.
fn filled() -> (Lab, u64) {
    let lab = Lab::new();
    let load = Burning::start(Program::C, 1);
    let collector = lab.collector();
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 600);
    agent.stop();
    drop(load);
    let samples = lab.books("").samples();
    collector.stop();
    (lab, samples)
}

/// A damaged store: either the collector refuses it with a clear message, or it serves what is left and
/// names what is not.
fn check_damaged(lab: &Lab, samples: u64) {
    let mut collector = Collector::launch(lab.port(), lab.path());
    let ready = fleetprof_tests::wait::within(Duration::from_secs(30), || {
        let ended = collector.process().ended().is_some();
        let ready = fleetprof_tests::http::status(lab.port(), "/readyz") == Some(200);
        (ended || ready).then_some(ready)
    });
    let log = collector.process().log();
    assert!(!log.contains("panicked at"), "{log}");
    match ready {
        Some(true) => {
            let grpc = Grpc::connect(lab.port());
            // When it is found, and each time it is asked after that.
            let answers = [(); 2].map(|()| {
                let top = grpc.top(lab.ever("")).expect("a damaged file breaks no query");
                top.coverage.expect("a coverage")
            });
            let store = grpc.status().store.expect("a store");
            assert!(!store.damaged.is_empty(), "nothing is named as damaged: {store:?}");
            assert!(store.samples < samples, "a damaged batch cannot be counted: {store:?}");
            for coverage in answers {
                assert!(!coverage.damaged.is_empty(), "an answer hides the damage: {coverage:?}");
                let known = coverage.damaged.iter().all(|what| store.damaged.contains(what));
                assert!(known, "{coverage:?} names other damage than {store:?}");
            }
            let status = cli::run(lab.port(), &["status"]);
            let said = format!("{}{}", status.text(), status.stderr);
            assert!(said.contains("cannot be read"), "the command line hides the damage:\n{said}");
            collector.check_unharmed();
            // And it still takes new batches.
            let mut agent = Agent::start(&lab.nameless());
            deliver(&mut agent, 100);
            agent.stop();
            collector.stop();
        }
        Some(false) => {
            assert!(log.contains("data"), "the collector ended without a clear message:\n{log}");
        }
        None => panic!("the collector neither serves nor ends:\n{log}"),
    }
}

// Check a flipped byte in the middle of what was stored.
#[test]
fn a_flipped_byte_in_the_store_is_named_and_breaks_no_query() {
    let _machine = machine();
    let (lab, samples) = filled();
    let file = samples_file(&lab.path().join("data"));
    let mut bytes = fs::read(&file).expect("a file of the store");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&file, bytes).expect("the file is ours");
    check_damaged(&lab, samples);
}

// Check a byte that is flipped under a running collector: the answer says what it does not include.
#[test]
fn an_answer_names_what_it_could_not_read() {
    let _machine = machine();
    let (lab, _) = filled();
    let mut collector = lab.collector();
    let file = samples_file(&lab.path().join("data"));
    let mut bytes = fs::read(&file).expect("a file of the store");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    // Into the same file, as a failing disk does it.
    let mut open = fs::File::options().write(true).open(&file).expect("the file is ours");
    open.write_all(&bytes).expect("the file is ours");
    let top = Grpc::connect(lab.port()).top(lab.ever("")).expect("a damaged file breaks no query");
    let coverage = top.coverage.expect("a coverage");
    assert!(!coverage.damaged.is_empty(), "an answer hides the damage: {coverage:?}");
    assert!(coverage.samples > 0, "what is not damaged is answered: {coverage:?}");
    collector.check_unharmed();
    collector.stop();
}

// Check garbage in place of what was stored.
#[test]
fn garbage_in_the_store_is_named_and_breaks_no_query() {
    let _machine = machine();
    let (lab, samples) = filled();
    let file = samples_file(&lab.path().join("data"));
    fs::write(&file, vec![0x5a; 10_000]).expect("the file is ours");
    check_damaged(&lab, samples);
}
