//! Questions that have no answer.

use fleetprof_proto::v1;
use fleetprof_tests::{
    agent::Agent,
    cli,
    grpc::Grpc,
    http,
    machine::{free_port, machine},
};

use crate::fixture::{Lab, deliver, other_server};

// Check services, ranges and selectors that make no sense, in every way of asking.
#[test]
fn questions_without_an_answer_are_refused_and_do_no_harm() {
    let _machine = machine();
    let lab = Lab::new();
    let mut collector = lab.collector();
    let port = lab.port();
    // Something is there: what is asked for is missing, not everything.
    let mut agent = Agent::start(&lab.nameless());
    deliver(&mut agent, 1);
    agent.stop();
    let file = lab.path().join("out.pb.gz");
    let name = file.to_string_lossy().into_owned();
    let pprof =
        |arguments: &[&str]| cli::run(port, &[&["pprof"][..], arguments, &["-o", &name]].concat());
    pprof(&["no-such-service"]).complaint("an unknown service", &["no-such-service"]);
    pprof(&["x", "--from", "now", "--to", "-15m"])
        .complaint("a reversed range", &["--from|start", "before|after"]);
    pprof(&["{service=}"]).complaint("a broken selector", &["selector|matcher|expected"]);
    pprof(&["x", "--from", "yesterday-ish"]).complaint("a broken time", &["yesterday-ish"]);
    assert!(!file.exists(), "a failed download leaves no file");
    for (path, status) in [
        ("/pprof/no-such-service", 404),
        ("/pprof/x?from=now&to=-15m", 400),
        ("/pprof/x?from=yesterday-ish", 400),
        ("/no/such/page", 404),
    ] {
        let answer = http::get(port, path).expect("an answer");
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(!answer.body.is_empty(), "{path}: no message");
    }
    let grpc = Grpc::connect(port);
    let everything = lab.ever("");
    let reversed = v1::Query {
        start_unix_nanos: everything.end_unix_nanos,
        end_unix_nanos: everything.start_unix_nanos,
        selector: String::new(),
    };
    let broken = v1::Query { selector: "{service=~\"(\"}".to_owned(), ..everything };
    for query in [reversed, broken] {
        let refused = grpc.top(query.clone()).expect_err("the question is wrong");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{query:?}: {refused:?}");
        let refused = grpc.profile(query).expect_err("the question is wrong");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    }
    collector.check_unharmed();
    collector.stop();
}

// Check the command line against nothing and against another server.
#[test]
fn a_missing_or_wrong_collector_is_named() {
    let _machine = machine();
    let port = free_port();
    cli::run(port, &["services"])
        .complaint("nobody there", &["cannot reach", &port.to_string(), "--collector"]);
    let port = other_server();
    cli::run(port, &["services"])
        .complaint("another server", &["not as a fleetprof collector", "--collector"]);
}
