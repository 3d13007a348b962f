//! What is said about servers that are no collectors, and about a collector that goes away: real
//! connections, and every way of hanging up.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

use crate::run::fleetprof;

/// Runs of each case: whoever hangs up first must make no difference.
const ROUNDS: usize = 5;
const QUESTIONS: [&[&str]; 2] = [&["status"], &["pprof", "checkout", "-o", "-"]];
const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// An empty SETTINGS frame, the first thing that a server says in HTTP/2.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A server that treats every connection in one way; gives its URL. Its thread ends with the test.
fn server(treat: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || listener.incoming().for_each(|stream| treat(stream.expect("accepted"))));
    url
}

/// What every run says about the server behind a URL.
fn check(what: &str, url: &str, expected: &str) {
    for _ in 0..ROUNDS {
        for words in QUESTIONS {
            let run = fleetprof(url, words);
            let text = run.failure(1);
            assert!(text.starts_with(&format!("error: {expected}")), "{what}: {text}");
        }
    }
}

fn check_foreign(what: &str, cause: &str, treat: impl Fn(TcpStream) + Send + 'static) {
    let url = server(treat);
    check(what, &url, &format!("{url} answers, but not as a fleetprof collector: {cause}\nset"));
}

/// Takes what the client sends until it hangs up.
fn listen(mut stream: TcpStream) {
    // How the client leaves is its own affair.
    let _ = stream.read_to_end(&mut Vec::new());
}

fn preface(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).expect("a preface");
}

fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
    drop(stream);
}

/// Check that a server that hangs up without a word is no collector, whenever and however it does.
#[test]
fn silent_servers_are_no_collectors() {
    let cause = "it hangs up without a word";
    check_foreign("closed at accept", cause, drop);
    check_foreign("reset at accept", cause, reset);
    check_foreign("closed after the preface", cause, |mut stream| {
        preface(&mut stream);
        drop(stream);
    });
    check_foreign("reset after the preface", cause, |mut stream| {
        preface(&mut stream);
        reset(stream);
    });
}

/// Check that a server of another protocol is no collector, whether it waits for us or not.
#[test]
fn servers_of_other_protocols_are_no_collectors() {
    let cause = "it does not speak HTTP/2";
    for garbage in [&b"SSH-2.0-Server\r\n"[..], b"\x15\x03\x01\0\x02\x02\x0a", &[0; 200], b"?"] {
        check_foreign("garbage, then closed", cause, move |mut stream| {
            stream.write_all(garbage).expect("sent");
        });
        check_foreign("garbage after the preface, then closed", cause, move |mut stream| {
            preface(&mut stream);
            stream.write_all(garbage).expect("sent");
        });
    }
    check_foreign("garbage, then patience", cause, |mut stream| {
        stream.write_all(&[0x5a; 1000]).expect("sent");
        listen(stream);
    });
}

/// Check that a web server is told from a collector, polite or not.
#[test]
fn web_servers_are_no_collectors() {
    let cause = "it speaks HTTP/1 only";
    check_foreign("a polite web server", cause, |mut stream| {
        preface(&mut stream);
        stream.write_all(BAD_REQUEST).expect("answered");
        listen(stream);
    });
    check_foreign("a hasty web server", cause, |mut stream| {
        stream.write_all(BAD_REQUEST).expect("answered");
    });
    check_foreign("a curt web server", cause, |mut stream| {
        preface(&mut stream);
        stream.write_all(BAD_REQUEST).expect("answered");
    });
}

/// Check that a collector that goes away is a collector.
#[test]
fn a_collector_that_goes_away_is_lost() {
    let check_lost = |what: &str, treat: fn(TcpStream)| {
        let url = server(treat);
        check(what, &url, &format!("lost the collector at {url} during its answer: "));
    };
    check_lost("closed after its greeting", |mut stream| {
        stream.write_all(SETTINGS).expect("greeted");
    });
    check_lost("closed after the preface", |mut stream| {
        stream.write_all(SETTINGS).expect("greeted");
        preface(&mut stream);
    });
    check_lost("a greeting in pieces", |mut stream| {
        stream.set_nodelay(true).expect("an option");
        for byte in SETTINGS {
            stream.write_all(&[*byte]).expect("greeted");
        }
        preface(&mut stream);
    });
}
