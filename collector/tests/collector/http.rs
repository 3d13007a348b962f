//! Plain HTTP and gRPC on the same port: what probes, Prometheus, people and pprof tools see.

use std::{
    io::{Read as _, Write as _},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use fleetprof_proto::v1::StatusRequest;
use pprof::protos::{self, Message as _};
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Running, sealed, window};

/// Seconds of the test data as a range in a URL.
const RANGE: &str = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";

/// Check that HTTP/1.1 and HTTP/2 are served on one port.
#[tokio::test(flavor = "multi_thread")]
async fn one_port_serves_http_and_grpc() {
    let collector = Running::start().await;
    for (path, text) in [
        ("/", "go tool pprof"),
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "fleetprof_collector_ready 1"),
    ] {
        let reply = collector.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert!(reply.text().contains(text), "{path}: {}", reply.text());
    }
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    assert_eq!(status.into_inner().version, env!("CARGO_PKG_VERSION"));
    let reply = collector.get("/nothing").await;
    assert_eq!((reply.status, reply.text().contains("GET / lists")), (404, true));
}

/// Check that `go tool pprof` reads the profile of a service, with its labels, mapping and build ID.
#[tokio::test(flavor = "multi_thread")]
async fn go_tool_pprof_reads_a_service() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    for sequence in 1..=2 {
        agent.deliver(sealed(agent.instance, sequence)).await;
    }
    let reply = collector.get(&format!("/pprof/checkout?{RANGE}&comm=worker")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let name = "content-disposition: attachment; filename=\"checkout-2026-01-02t000000.pb.gz\"";
    assert!(reply.head.contains(name), "{}", reply.head);
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(&reply.body).expect("written");
    let Some(raw) = go_pprof(&["-raw", &file.path().to_string_lossy()]) else { return };
    for text in [
        "samples/count cpu/nanoseconds",
        "comm:[worker] host:[host-1] service:[checkout]",
        &"01".repeat(20),
        "/bin/app",
        "40 4000000000",
    ] {
        assert!(raw.contains(text), "{raw} lacks {text:?}");
    }
    // As typed: the tool fetches the URL itself. It asks for the names that are missing, too.
    let url = format!("http://{}/pprof/search?{RANGE}", collector.address);
    let top = tokio::task::spawn_blocking(move || go_pprof(&["-top", &url]));
    let top = top.await.expect("asked").expect("go is here");
    assert!(top.contains("Total samples = 2s"), "{top}");
}

/// The output of `go tool pprof`; `None` where there is no Go, as on a machine that only builds Rust.
fn go_pprof(arguments: &[&str]) -> Option<String> {
    let programs = ["go", "/usr/local/go/bin/go"];
    let output = programs.iter().find_map(|program| {
        let mut command = Command::new(program);
        command.args(["tool", "pprof"]).args(arguments).env("PPROF_TMPDIR", std::env::temp_dir());
        command.output().ok()
    })?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Check that errors of the profile endpoint have the right status and say what to do.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_profile_endpoint_are_explained() {
    let collector = Running::start().await;
    let reply = collector.get("/pprof/checkout").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("no data at all yet"), "{}", reply.text());
    let mut agent = collector.agent().await;
    agent.deliver(sealed(agent.instance, 1)).await;
    for (path, status, text) in [
        (format!("/pprof/chekout?{RANGE}"), 404, "services there: checkout, search"),
        ("/pprof/checkout?from=-5m".to_owned(), 404, "has data from 2026-01-01T00:00:10Z"),
        (format!("/pprof/checkout?{RANGE}&comm=nobody"), 404, "no samples match"),
        ("/pprof/checkout?from=now&to=-15m".to_owned(), 400, "reversed"),
        ("/pprof/checkout?from=yesterday".to_owned(), 400, "\"yesterday\" is not a time"),
        ("/pprof/checkout?from=-5m&seconds=3".to_owned(), 400, "given twice"),
        (format!("/pprof/checkout?{RANGE}&=x"), 400, "name is empty"),
    ] {
        let reply = collector.get(&path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(reply.text().contains(text), "{path}: {}", reply.text());
    }
}

/// Work whose name the profile must have.
#[inline(never)]
fn burn_by_test(done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// Check that the collector's own profile is a pprof, and that bad lengths are refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_collector_profiles_itself() {
    let collector = Running::start().await;
    for query in ["seconds=0", "seconds=100000", "seconds=x"] {
        let reply = collector.get(&format!("/debug/pprof/profile?{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
    }
    let done = Arc::new(AtomicBool::new(false));
    let burning = thread::spawn({
        let done = done.clone();
        move || burn_by_test(&done)
    });
    let both = tokio::join!(
        collector.get("/debug/pprof/profile?seconds=1"),
        collector.get("/debug/pprof/profile?seconds=1"),
    );
    done.store(true, Ordering::Relaxed);
    burning.join().expect("burned");
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "one at a time");
    let profile = if both.0.status == 200 { both.0 } else { both.1 };
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&*profile.body).read_to_end(&mut bytes).expect("gzip");
    let decoded = protos::Profile::decode(&*bytes).expect("a pprof");
    let text = |index: i64| decoded.string_table[usize::try_from(index).expect("small")].as_str();
    let types: Vec<_> = decoded.sample_type.iter().map(|it| (text(it.ty), text(it.unit))).collect();
    assert!(types.contains(&("cpu", "nanoseconds")), "{types:?}");
    let names: Vec<_> = decoded.function.iter().map(|function| text(function.name)).collect();
    assert!(names.iter().any(|name| name.contains("burn_by_test")), "{names:?}");
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(&profile.body).expect("written");
    if let Some(raw) = go_pprof(&["-raw", &file.path().to_string_lossy()]) {
        assert!(raw.contains("cpu/nanoseconds"), "{raw}");
    }
}

/// Check gRPC health for the whole and for each service.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_served() {
    let collector = Running::start().await;
    let mut client = HealthClient::new(collector.channel().await);
    for service in ["", "fleetprof.v1.IngestService", "fleetprof.v1.QueryService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut updates = client.watch(request).await.expect("answered").into_inner();
        // 1 is SERVING; right after the start the first update may say that it is not known yet.
        while updates.message().await.expect("open").expect("open").status != 1 {}
    }
}

/// Check that reflection lists the services and describes them.
#[tokio::test(flavor = "multi_thread")]
async fn reflection_is_served() {
    let collector = Running::start().await;
    let mut client = ServerReflectionClient::new(collector.channel().await);
    let ask =
        |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let (requests, receiver) = tokio::sync::mpsc::channel(2);
    let list = MessageRequest::ListServices(String::new());
    requests.send(ask(list)).await.expect("open");
    let symbol = MessageRequest::FileContainingSymbol("fleetprof.v1.QueryService".to_owned());
    requests.send(ask(symbol)).await.expect("open");
    let answers = client.server_reflection_info(ReceiverStream::new(receiver)).await;
    let mut answers = answers.expect("answered").into_inner();
    let mut next = async || answers.message().await.expect("open").expect("open").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = next().await else { panic!("a list") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in ["IngestService", "ObjectService", "QueryService"] {
        assert!(names.contains(&format!("fleetprof.v1.{name}").as_str()), "{names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let Some(MessageResponse::FileDescriptorResponse(_)) = next().await else { panic!("a file") };
}

/// Check that shutting down acknowledges what came before it, ends agents' streams with a reason and
/// frees the port and the directory.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_is_orderly() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    agent.deliver(sealed(agent.instance, 1)).await;
    let address = collector.address;
    let mut wants = Vec::new();
    let (dir, end) = tokio::join!(collector.stop(), agent.answer(&mut wants));
    let status = end.expect_err("ends with a reason");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert!(status.message().contains("shutting down"), "{status:?}");
    let again = Running::start_with(dir, |config| config.listen = address.to_string()).await;
    let status = again.queries().await.status(StatusRequest {}).await.expect("answered");
    let store = status.into_inner().store.expect("there");
    assert_eq!((store.samples, store.last_unix_nanos), (40, window(1).end_unix_nanos));
}
