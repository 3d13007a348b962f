//! What the collector takes in and answers: real batches, replayed by simulated agents.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fleetprof_proto::v1::{
    self, Hello, PushRequest, SealedBatch, ingest_service_client::IngestServiceClient,
    push_request::Message, push_response,
};
use fleetprof_tests::{collector::Collector, cpu, grpc::Grpc, http, machine, pprof::Profile};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::{
    capture::{Captured, capture},
    report::{Report, quantile},
};

/// Simulated agents.
const AGENTS: u32 = 16;
/// Batches that an agent has under way.
const IN_FLIGHT: usize = 8;
/// Batches that each agent delivers.
const BATCHES: u64 = 100;
/// Questions per kind.
const QUESTIONS: usize = 12;

/// Measures ingest, storage and queries.
pub(crate) fn measure(report: &mut Report, rounds: u32) {
    eprintln!("capturing batches of a real agent");
    let captured = capture(19, Duration::from_secs(10), 3);
    let per_second: Vec<_> =
        captured.wire_bytes.iter().map(|bytes| bytes / captured.window).collect();
    report.add("wire, 19 Hz, 7 programs: bytes per host and second", "B/s", per_second);
    let samples = captured.batches.iter().map(|batch| batch.samples as f64).collect();
    report.add("wire: samples per batch", "samples", samples);
    let (mut batches, mut rates, mut wall, mut bytes, mut rss) =
        (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        eprintln!("ingest, round {}", round + 1);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut collector = Collector::start(dir.path());
        let pid = collector.process().pid();
        let before = cpu::process_seconds(pid).unwrap_or(f64::NAN);
        let start = Instant::now();
        let samples = replay(collector.port(), &captured) as f64;
        let took = start.elapsed().as_secs_f64();
        let busy = cpu::process_seconds(pid).unwrap_or(f64::NAN) - before;
        let count = u64::from(AGENTS) * BATCHES;
        batches.push(count as f64 / busy);
        rates.push(samples / busy);
        wall.push(samples / took);
        rss.push(cpu::status_kb(pid, "VmHWM").map_or(f64::NAN, |kb| kb as f64 / 1024.0));
        let store = Grpc::connect(collector.port()).status().store.expect("a store");
        assert_eq!(store.samples as f64, samples, "not everything was stored");
        bytes.push(store.bytes as f64 / store.samples as f64);
        if round + 1 == rounds {
            queries(report, &collector);
        }
        collector.stop();
    }
    report.add("ingest: batches per second of CPU", "1/core-s", batches);
    report.add("ingest: samples per second of CPU", "1/core-s", rates);
    report.add("ingest: samples per second, with fsync", "1/s", wall);
    report.add("storage: bytes per sample", "B", bytes);
    report.add("collector: memory after ingest, peak", "MB", rss);
    symbolization(report);
}

/// Delivers the captured batches again and again under new names; gives the samples delivered.
fn replay(port: u16, captured: &Captured) -> u64 {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut agents = JoinSet::new();
        for agent in 0..AGENTS {
            let batches = captured.batches.clone();
            agents.spawn(async move { deliver(port, agent, &batches).await });
        }
        agents.join_all().await.into_iter().sum()
    })
}

async fn deliver(port: u16, agent: u32, batches: &[SealedBatch]) -> u64 {
    let mut instance = machine::unix_nanos().to_le_bytes().to_vec();
    instance.extend(u64::from(agent).to_le_bytes());
    let (requests, stream) = mpsc::channel(IN_FLIGHT);
    let mut client = IngestServiceClient::connect(format!("http://127.0.0.1:{port}"))
        .await
        .expect("a collector");
    let hello = Hello {
        instance: instance.clone(),
        host: format!("host-{agent}"),
        agent_version: "bench".to_owned(),
    };
    let send = |message| PushRequest { message: Some(message) };
    requests.send(send(Message::Hello(hello))).await.expect("the stream is open");
    let mut answers =
        client.push(ReceiverStream::new(stream)).await.expect("a stream").into_inner();
    let (mut samples, mut acknowledged) = (0, 0);
    let mut next = 1..=BATCHES;
    let mut feed = async |sequence: u64| {
        let index = usize::try_from(sequence).expect("few") % batches.len();
        let batch = SealedBatch { instance: instance.clone(), sequence, ..batches[index].clone() };
        samples += batch.samples;
        requests.send(send(Message::Batch(batch))).await.expect("the stream is open");
    };
    for sequence in next.by_ref().take(IN_FLIGHT) {
        feed(sequence).await;
    }
    while acknowledged < BATCHES {
        let answer = answers.next().await.expect("an answer to each batch").expect("no error");
        match answer.message {
            Some(push_response::Message::Ack(_)) => acknowledged += 1,
            Some(push_response::Message::Reject(reject)) => panic!("rejected: {}", reject.reason),
            Some(
                push_response::Message::WantObjects(_)
                | push_response::Message::Welcome(_)
                | push_response::Message::Busy(_),
            )
            | None => continue,
        }
        if let Some(sequence) = next.next() {
            feed(sequence).await;
        }
    }
    samples
}

/// Latency of the questions that people ask, warm.
fn queries(report: &mut Report, collector: &Collector) {
    let grpc = Grpc::connect(collector.port());
    let now = machine::unix_nanos();
    let query = |selector: &str| v1::Query {
        start_unix_nanos: now - 3_600_000_000_000,
        end_unix_nanos: now + 60_000_000_000,
        selector: selector.to_owned(),
    };
    let one = "{service=\"split-c\"}";
    let asked: [(&str, &dyn Fn()); 4] = [
        ("top of one service", &|| drop(grpc.top(query(one)).expect("an answer"))),
        ("top of everything", &|| drop(grpc.top(query("")).expect("an answer"))),
        ("pprof of one service", &|| drop(grpc.profile(query(one)).expect("an answer"))),
        ("pprof of everything", &|| drop(grpc.profile(query("")).expect("an answer"))),
    ];
    let batches = u64::from(AGENTS) * BATCHES;
    for (what, ask) in asked {
        // Once before: the first question fills caches.
        ask();
        let mut times: Vec<_> = (0..QUESTIONS)
            .map(|_| {
                let start = Instant::now();
                ask();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        report.add(
            format!("query over {batches} batches: {what}, p95"),
            "ms",
            vec![quantile(&times, 0.95)],
        );
        report.add(format!("query over {batches} batches: {what}"), "ms", times);
    }
}

/// Time until a recording of this host's programs has names, cold: everything that a collector does not
/// know yet is uploaded by the agent, parsed and looked up.
fn symbolization(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(dir.path());
    watch_host(&collector, dir.path());
    let url = format!("/pprof/{}?from=-15m&to=now", "split-c");
    // Another process: its symbol caches are empty.
    let port = collector.port();
    collector.stop();
    let collector = Collector::start_at(port, dir.path());
    let ask = || {
        let start = Instant::now();
        let answer = http::get(collector.port(), &url).expect("an answer");
        (start.elapsed().as_secs_f64(), Profile::read(&answer.body))
    };
    let ((cold, profile), (warm, _)) = (ask(), ask());
    let named =
        profile.raw.location.iter().filter(|location| !location.line.is_empty()).count() as f64;
    report.add("symbolization: first question after a start", "ms", vec![cold * 1e3]);
    report.add("symbolization: the same again", "ms", vec![warm * 1e3]);
    report.add("symbolization: addresses named per second, cold", "1/s", vec![named / cold]);
    collector.stop();
}

/// Lets an agent see one program until its names are there.
fn watch_host(collector: &Collector, dir: &Path) {
    use fleetprof_tests::{
        agent::{Agent, Options},
        programs::{Burning, Program},
        wait,
    };
    let _load = Burning::start(Program::C, 1);
    let agent = Agent::start(&Options::new(&collector.url(), dir));
    wait::until("names", Duration::from_secs(120), || {
        let answer = http::get(collector.port(), "/pprof/split-c?from=-15m&to=now").ok()?;
        let named = answer.status == 200
            && Profile::read(&answer.body).lines().any(|line| line.function == "alpha_hash");
        named.then_some(())
    });
    agent.stop();
}
