//! What an agent cannot work with.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::Duration,
};

use fleetprof_tests::{
    agent::{Agent, Options},
    binaries,
    machine::{free_port, machine},
    process, wait,
};

use crate::fixture::{SOON, other_server};

/// How long a command may take to say what is wrong.
const BOUND: Duration = Duration::from_secs(60);

/// The agent's binary where every user may run it.
fn public_agent(dir: &tempfile::TempDir) -> PathBuf {
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    let path = dir.path().join("fleetprof-agent");
    fs::copy(binaries::path("fleetprof-agent"), &path).expect("a copy of the agent");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
    path
}

// Check the agent without privileges.
#[test]
fn an_agent_that_is_not_root_says_what_it_needs() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let agent = public_agent(&dir);
    let spool = dir.path().join("spool");
    let run = [
        "run",
        "--collector",
        "http://127.0.0.1:1",
        "--metrics-listen",
        "127.0.0.1:0",
        "--spool-dir",
    ];
    let record = ["record", "--duration", "1s", "--output", "/tmp/never-written.pb.gz"];
    let run: Vec<_> = run.into_iter().chain(spool.to_str()).collect();
    let unprivileged = |arguments: &[&str]| {
        let mut command = process::command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        process::run(command.arg(&agent).args(arguments), BOUND)
    };
    for arguments in [&run[..], &record[..]] {
        let said = unprivileged(arguments).complaint(arguments[0], &["root|privilege|CAP_"]);
        assert!(
            ["sudo", "run as root", "as root", "CAP_"].iter().any(|remedy| said.contains(remedy)),
            "{said}"
        );
    }
    assert!(!PathBuf::from("/tmp/never-written.pb.gz").exists());
    // It works without privileges, and says which are missing.
    let doctor = unprivileged(&["doctor"]);
    let said = doctor.text();
    assert_eq!(doctor.status.code(), Some(1), "{said}\n{}", doctor.stderr);
    for word in ["missing", "CAP_BPF", "does not work on this host"] {
        assert!(said.contains(word), "doctor does not speak of {word}:\n{said}");
    }
}

// Check a kernel that does not say what it is made of.
#[test]
fn a_kernel_without_btf_is_named_by_agent_and_doctor() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = dir.path().join("out.pb.gz");
    let agent = binaries::path("fleetprof-agent");
    let hidden = |arguments: &str| {
        let mut command = process::command("unshare");
        let script = format!("mount -t tmpfs none /sys/kernel/btf && exec \"$0\" {arguments}");
        command.args(["--mount", "sh", "-c", &script]).arg(&agent).arg(&output);
        process::run(&mut command, BOUND)
    };
    hidden("record --duration 1s --output \"$1\"").complaint("record", &["btf", "kernel"]);
    assert!(!output.exists(), "a failed recording leaves no file");
    let run = "run --collector http://127.0.0.1:1 --metrics-listen 127.0.0.1:0 --spool-bytes 0";
    hidden(run).complaint("run", &["btf", "kernel"]);
    let doctor = hidden("doctor");
    let said = doctor.text() + &doctor.stderr;
    assert!(said.to_lowercase().contains("btf"), "{said}");
    assert!(!doctor.status.success(), "doctor finds a host without BTF well:\n{said}");
}

// Check that doctor has no complaint about the host that the other tests run on.
#[test]
fn doctor_finds_this_host_well() {
    let _machine = machine();
    let mut command = process::command(binaries::path("fleetprof-agent"));
    let said = process::run(command.arg("doctor"), BOUND).success("doctor").to_lowercase();
    for word in ["kernel", "btf", "tracefs", "perf_event"] {
        assert!(said.contains(word), "doctor does not speak of {word}:\n{said}");
    }
}

/// Waits until the agent's log mentions one of the words; it must go on running.
fn says(agent: &mut Agent, words: &[&str]) {
    let found = wait::within(SOON, || {
        agent.process().check_alive();
        let log = agent.process().log().to_lowercase();
        words.iter().any(|word| log.contains(word)).then_some(())
    });
    assert!(found.is_some(), "the log mentions none of {words:?}:\n{}", agent.process().log());
}

// Check an agent whose collector is not there: it says so, goes on, and keeps its books.
#[test]
fn an_unreachable_collector_is_named_and_waited_for() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://127.0.0.1:{}", free_port());
    let mut agent = Agent::start(&Options::new(&url, dir.path()));
    says(&mut agent, &["refused", "cannot reach", "unreachable", "cannot connect"]);
    assert!(agent.process().log().contains(&url), "the log does not name {url}");
    agent.ledger();
    agent.stop();
}

// Check an agent whose collector is another server.
#[test]
fn a_wrong_collector_is_named_and_waited_for() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let port = other_server();
    let mut agent = Agent::start(&Options::new(&format!("http://127.0.0.1:{port}"), dir.path()));
    says(&mut agent, &["did not answer in grpc", "not a fleetprof collector"]);
    says(&mut agent, &["--collector"]);
    agent.ledger();
    agent.stop();
}

// Check addresses that cannot be right.
#[test]
fn addresses_that_cannot_be_right_are_refused_at_once() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    for url in ["not a url", "ftp://127.0.0.1:1", ""] {
        let mut command = Options::new(url, dir.path()).command(free_port());
        process::run(&mut command, BOUND).complaint(url, &["collector"]);
    }
}

// Check a port that somebody else has.
#[test]
fn a_metrics_port_in_use_is_named() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let mut command = Options::new("http://127.0.0.1:1", dir.path()).command(port);
    let finished = process::run(&mut command, BOUND);
    finished.complaint("run", &["in use", &port.to_string(), "--metrics-listen"]);
}

// Check a recording that cannot be written.
#[test]
fn a_recording_that_cannot_be_written_fails_before_it_samples() {
    let _machine = machine();
    let mut command = process::command(binaries::path("fleetprof-agent"));
    command.args(["record", "--duration", "300s", "--output", "/nonexistent/dir/out.pb.gz"]);
    process::run(&mut command, BOUND)
        .complaint("record", &["/nonexistent/dir", "no such file|not exist"]);
}

// Check a process that is not there.
#[test]
fn a_process_that_does_not_exist_is_named() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = process::command(binaries::path("fleetprof-agent"));
    command.args(["record", "--duration", "300s", "--pid", "4194303", "--output"]);
    command.arg(dir.path().join("out.pb.gz"));
    process::run(&mut command, BOUND)
        .complaint("record", &["4194303", "no such process|no process|not exist|not running"]);
}
