//! What each failure says and which exit status it leaves.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::fd::OwnedFd,
    process::Stdio,
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tonic::Status;

use crate::{
    collector::{Answers, MockCollector},
    fixtures,
    run::{Ran, command, fleetprof, ran},
};

const EVERY_QUESTION: [&[&str]; 6] = [
    &["services"],
    &["labels"],
    &["top"],
    &["series"],
    &["status"],
    &["pprof", "checkout", "-o", "-"],
];

/// A socket that has a port of its own.
fn bound_socket() -> (OwnedFd, String, SocketAddrV4) {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address: SocketAddrV4 = getsockname(&fd).expect("bound").try_into().expect("IPv4");
    (fd, format!("http://{address}"), address)
}

fn fails_with(failure: Status, words: &[&str]) -> Ran {
    let collector = MockCollector::start(Answers { failure: Some(failure), ..fixtures::answers() });
    fleetprof(&collector.url(), words)
}

/// Check that a collector that is not there is named, with the cause and what to do.
#[test]
fn an_absent_collector_is_named() {
    // Bound but not listening: the port is ours and refuses.
    let (_socket, url, _) = bound_socket();
    for words in EVERY_QUESTION {
        let run = fleetprof(&url, words);
        assert_eq!(
            run.failure(1),
            format!(
                "error: cannot reach the collector at {url}: Connection refused (os error 111)\n\
                 is it running? set --collector or FLEETPROF_COLLECTOR to its address\n"
            )
        );
    }
}

/// Check that a name that does not exist is a cause of its own.
#[test]
fn an_unknown_host_is_named() {
    let run = fleetprof("http://no-such-host.invalid:7171", &["status"]);
    let text = run.failure(1);
    assert!(text.contains("http://no-such-host.invalid:7171"), "{text}");
    assert!(text.contains("is it running?"), "{text}");
}

/// Check that a host that swallows packets does not hold us for longer than asked.
#[test]
fn the_connection_is_not_awaited_for_ever() {
    let (socket, url, address) = bound_socket();
    // One connection fills a queue of length 0; the kernel ignores further ones.
    listen(&socket, 0).expect("listening");
    let _fills_the_queue = TcpStream::connect(address).expect("queued");
    let run = fleetprof(&url, &["--connect-timeout", "200ms", "status"]);
    assert!(run.failure(1).contains("no connection within 200ms"), "{}", run.stderr);
}

/// Check that a collector that does not answer is not awaited for longer than asked.
#[test]
fn an_answer_is_not_awaited_for_ever() {
    let collector = MockCollector::start(Answers { hold: true, ..fixtures::answers() });
    for words in EVERY_QUESTION {
        let run = fleetprof(&collector.url(), &[&["--timeout", "200ms"], words].concat());
        assert!(run.failure(1).contains("within 200ms\nask for less"), "{}", run.stderr);
    }
}

/// Check that another gRPC server is told from a collector.
#[test]
fn another_grpc_server_is_not_a_collector() {
    let other = MockCollector::without_services();
    for words in EVERY_QUESTION {
        let run = fleetprof(&other.url(), words);
        assert!(run.failure(1).contains("not as a fleetprof collector"), "{}", run.stderr);
    }
}

/// Check that the exit status tells a wrong question from a collector in trouble.
#[test]
fn refusals_and_troubles_differ() {
    let run = fails_with(Status::invalid_argument("the step is too small"), &["series"]);
    assert_eq!(
        run.failure(2),
        "error: the collector refuses the question: the step is too small\n"
    );
    let run = fails_with(Status::unavailable("starting"), &["top"]);
    assert!(run.failure(1).contains("cannot answer for now: starting"), "{}", run.stderr);
    let run = fails_with(Status::internal("disk\u{1b}[2J"), &["services"]);
    assert!(run.failure(1).contains("failed: disk�[2J (Internal)"), "{}", run.stderr);
}

/// Check that a service that is not there is a failure in the collector's words, and nothing else.
#[test]
fn an_unknown_service_is_a_failure() {
    for words in [&["top", "chekout"][..], &["series", "chekout"], &["pprof", "chekout", "-o", "-"]]
    {
        let run = fails_with(Status::not_found("no service \"chekout\"; there is checkout"), words);
        assert_eq!(run.failure(1), "error: no service \"chekout\"; there is checkout\n");
    }
}

/// Check that slips of the fingers are caught before anybody is asked.
#[test]
fn a_wrong_command_line_asks_nobody() {
    let collector = MockCollector::start(fixtures::answers());
    for (words, expected) in [
        (&["top", "--from", "now", "--to", "-15m"][..], "the range is reversed"),
        (&["top", "--from", "-1h", "--to", "-1h"], "the range is empty"),
        (&["top", "--from", "15m"], "write -15m"),
        (&["top", "--from", "2026-11-22 10:00"], "has no time zone"),
        (&["top", "{service=checkout}"], "position 10"),
        (&["pprof", "checkout", "{", "-o", "-"], "selector"),
        (&["services", "{host=~\"(\"}"], "regular expression"),
        (&["labels", "host", "web"], "selector"),
        (&["series", "--step", "0s"], "zero"),
        (&["pprof", "checkout"], "--output <FILE>"),
        (&["top", "--collector", "collector:7171"], "write http://collector:7171"),
        (&["flamegraph"], "unrecognized subcommand"),
    ] {
        let run = fleetprof(&collector.url(), words);
        assert!(run.failure(2).contains(expected), "{words:?}: {}", run.stderr);
    }
    assert_eq!(collector.asked(), []);
}

/// Check that a full disk behind standard output is an error.
#[test]
fn unwritable_standard_output_is_an_error() {
    let collector = MockCollector::start(fixtures::answers());
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = command(Some(&collector.url()), &["services"]).stdout(full).output();
    let run = ran(output.expect("the binary runs"));
    assert!(run.failure(1).contains("cannot write to standard output: No space"), "{}", run.stderr);
}

/// Check that `| head` ends a command quietly.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let collector = MockCollector::start(Answers { hold: true, ..fixtures::answers() });
    for words in [&["services"][..], &["pprof", "-o", "-"]] {
        let mut child = command(Some(&collector.url()), words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        collector.next_asked();
        drop(child.stdout.take());
        collector.release();
        let run = ran(child.wait_with_output().expect("it ends"));
        // Another test's child may hold the pipe for a moment, between its fork and its exec: then
        // the write succeeds, and the line about what was shown follows.
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(!run.stderr.contains("error") && !run.stderr.contains("pipe"), "{}", run.stderr);
    }
}
