use std::{collections::BTreeMap, net::TcpListener as StdListener};

use fleetprof_abi::ResultCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::accounting::DropReason;

/// Status line and headers, and body.
async fn fetch(server: &MetricsServer, path: &str) -> (String, String) {
    let mut peer = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    peer.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// `name{labels}` → value.
fn parse(body: &str) -> BTreeMap<String, f64> {
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(pair).collect()
}

fn any_address() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn counts(taken: u64, complete: u64, ring_full: u64) -> KernelCounts {
    let mut counts = KernelCounts { taken, ..KernelCounts::default() };
    counts.results[usize::from(ResultCode::Complete.number())] = complete;
    counts.results[usize::from(ResultCode::RingFull.number())] = ring_full;
    counts
}

#[tokio::test]
async fn a_scrape_shows_the_ledger_and_it_adds_up() {
    let ledger = Arc::new(Ledger::new());
    ledger.received(70);
    ledger.dropped(DropReason::Undecodable, 4);
    let _ = ledger.seal(50, || None);
    ledger.delivered(crate::accounting::Owner::This, crate::accounting::Place::Memory, 30);
    ledger.recovered(11);
    let status = DeliveryStatus {
        connected: true,
        memory_batches: 2,
        batches_sent_total: 9,
        spool_bytes: 4096,
        uploads_done_total: 3,
        ..DeliveryStatus::default()
    };
    let metrics = Metrics::new(Arc::clone(&ledger))
        .kernel(|| Some(counts(100, 90, 8)))
        .delivery(move || status)
        .gauge("frequency_hertz", "Samples per second and CPU", || 19.0)
        .counter("windows", "Windows closed", || 5)
        .counters("things", "Things, by kind", "kind", || {
            vec![("odd".into(), 1), ("even".into(), 2)]
        })
        .gauges("cpus", "CPUs, by source", "source", || vec![("cpu_clock".into(), 3)])
        .info("event_source", "What drives sampling", vec![("source", "cpu_clock".into())]);
    let server = serve(any_address(), metrics).await.unwrap();
    let (head, body) = fetch(&server, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let values = parse(&body);
    let value = |name: &str| {
        let full = format!("fleetprof_agent_{name}");
        *values.get(&full).unwrap_or_else(|| panic!("no {full} in\n{body}"))
    };
    assert_eq!(value("samples_taken_total"), 100.0);
    assert_eq!(value("samples_delivered_total"), 30.0);
    assert_eq!(value("samples_dropped_total{reason=\"ring_full\"}"), 8.0);
    assert_eq!(value("samples_dropped_total{reason=\"undecodable\"}"), 4.0);
    assert_eq!(
        value("samples_dropped_total{reason=\"spool_full\"}"),
        0.0,
        "shown before it happens"
    );
    assert_eq!(value("samples_pending"), 58.0);
    assert_eq!(value("samples_pending_by_stage{stage=\"kernel\"}"), 22.0);
    assert_eq!(value("samples_pending_by_stage{stage=\"window\"}"), 16.0);
    assert_eq!(value("samples_pending_by_stage{stage=\"memory\"}"), 20.0);
    assert_eq!(value("samples_imbalance"), 0.0);
    assert_eq!(value("samples_results_total{result=\"complete\"}"), 90.0);
    assert_eq!(value("recovered_samples_pending"), 11.0);
    assert_eq!(value("collector_connected"), 1.0);
    assert_eq!(value("batches{state=\"memory\"}"), 2.0);
    assert_eq!(value("batches_sent_total"), 9.0);
    assert_eq!(value("spool_bytes"), 4096.0);
    assert_eq!(value("uploads_total{outcome=\"done\"}"), 3.0);
    assert_eq!(value("frequency_hertz"), 19.0);
    assert_eq!(value("windows_total"), 5.0);
    assert_eq!(value("things_total{kind=\"even\"}"), 2.0);
    assert_eq!(value("cpus{source=\"cpu_clock\"}"), 3.0);
    assert_eq!(value("event_source_info{source=\"cpu_clock\"}"), 1.0);
    assert_eq!(value(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    let dropped: f64 = values
        .iter()
        .filter(|(name, _)| name.starts_with("fleetprof_agent_samples_dropped_total"))
        .map(|(_, value)| value)
        .sum();
    let known = value("samples_delivered_total") + dropped + value("samples_pending");
    assert_eq!(value("samples_taken_total"), known);
}

#[tokio::test]
async fn the_process_shows_its_own_usage() {
    let server = serve(any_address(), Metrics::new(Arc::default())).await.unwrap();
    let values = parse(&fetch(&server, "/metrics").await.1);
    assert!(values["process_resident_memory_bytes"] > 1e6);
    assert!(values["process_virtual_memory_bytes"] >= values["process_resident_memory_bytes"]);
    assert!(values["process_open_fds"] >= 4.0);
    assert!(values["process_threads"] >= 1.0);
    assert!(values["process_start_time_seconds"] > 1e9);
    assert!(values.contains_key("process_cpu_seconds_total"));
}

#[tokio::test]
async fn every_scrape_is_consistent_while_samples_move() {
    let ledger = Arc::new(Ledger::new());
    let moving = Arc::clone(&ledger);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mover = std::thread::spawn(move || {
        let mut taken = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            taken += 7;
            moving.received(7);
            moving.update_kernel(&counts(taken, taken, 0));
            moving.dropped(DropReason::Undecodable, 1);
            let _ = moving.seal(6, || None);
            moving.spooled(2);
            moving.delivered(crate::accounting::Owner::This, crate::accounting::Place::Memory, 3);
        }
    });
    let server = serve(any_address(), Metrics::new(ledger)).await.unwrap();
    for _ in 0..50 {
        let values = parse(&fetch(&server, "/metrics").await.1);
        let of = |prefix: &str| -> f64 {
            let full = format!("fleetprof_agent_samples_{prefix}");
            values.iter().filter(|(name, _)| name.starts_with(&full)).map(|(_, value)| value).sum()
        };
        let pending = values["fleetprof_agent_samples_pending"];
        assert_eq!(of("taken_total"), of("delivered_total") + of("dropped_total") + pending);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    mover.join().unwrap();
}

#[tokio::test]
async fn health_tells_what_is_wrong() {
    let healthy = serve(any_address(), Metrics::new(Arc::default())).await.unwrap();
    let (head, body) = fetch(&healthy, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok\n", "{head} {body}");

    let metrics = Metrics::new(Arc::default()).health(|| Err("the sampler stopped".into()));
    let ill = serve(any_address(), metrics).await.unwrap();
    let (head, body) = fetch(&ill, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 503 ") && body == "the sampler stopped\n", "{head} {body}");
    assert!(fetch(&ill, "/other").await.0.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn an_address_in_use_is_an_error_with_a_remedy() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(address, Metrics::new(Arc::default())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.contains("another process listens there"), "{text}");
    assert!(text.contains("--metrics-listen"), "{text}");

    let foreign = "192.0.2.1:7172".parse().unwrap();
    let error = serve(foreign, Metrics::new(Arc::default())).await.unwrap_err();
    assert!(error.to_string().contains("an address of this host"), "{error}");
}
