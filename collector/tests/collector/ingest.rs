//! Agents deliver, engineers ask: over real connections, against a whole collector.

use std::time::Duration;

use bytes::Bytes;
use fleetprof_proto::{
    ids::InstanceId,
    v1::{
        self, Hello, LabelsRequest, SeriesRequest, ServicesRequest, StatusRequest, TopRequest,
        push_request::Message,
    },
};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status, body::Body};
use tower::{Service as _, ServiceExt as _};

use crate::support::{Agent, EPOCH, Running, SECOND, all, app, between, sealed, window};

/// Check that delivered batches are found by every kind of query, with the right sums, also after a
/// restart.
#[tokio::test(flavor = "multi_thread")]
async fn delivered_batches_are_found_by_queries() {
    let mut collector = Running::start().await;
    let mut agent = collector.agent().await;
    for sequence in 1..=3 {
        assert!(!agent.deliver(sealed(agent.instance, sequence)).await.duplicate);
    }
    for _ in 0..2 {
        let mut queries = collector.queries().await;
        let request = ServicesRequest { query: all("") };
        let answer = queries.services(request).await.expect("answered").into_inner();
        let rows: Vec<_> =
            answer.services.iter().map(|s| (s.service.as_str(), s.samples, s.cpu_nanos)).collect();
        assert_eq!(rows, [("checkout", 90, 9_000_000_000), ("search", 30, 3_000_000_000)]);
        assert!((answer.services[0].cores - 0.3).abs() < 1e-9, "{:?}", answer.services[0]);
        let coverage = answer.coverage.expect("there");
        assert_eq!((coverage.batches, coverage.samples), (3, 120));
        let span = (coverage.first_unix_nanos, coverage.last_unix_nanos);
        assert_eq!(span, (window(1).start_unix_nanos, window(3).end_unix_nanos));
        assert_eq!((coverage.dropped.len(), coverage.dropped[0].value), (1, 3));

        let labels = |name: &str, selector: &str| LabelsRequest {
            query: all(selector),
            name: name.to_owned(),
        };
        let names = queries.labels(labels("", "")).await.expect("answered").into_inner().values;
        assert_eq!(names, ["comm", "host", "service", "version"]);
        let values = queries.labels(labels("version", r#"{service="search"}"#)).await;
        assert_eq!(values.expect("answered").into_inner().values, ["v2.1"]);

        let request = SeriesRequest {
            query: all(r#"{comm!="nobody"}"#),
            group_by: vec!["service".to_owned()],
            step_nanos: 10 * SECOND,
            ..Default::default()
        };
        let answer = queries.series(SeriesRequest { step_nanos: 1000 * SECOND, ..request.clone() });
        let answer = answer.await.expect("answered").into_inner();
        assert_eq!((answer.series.len(), answer.step_nanos), (2, 1000 * SECOND));
        assert_eq!(answer.series[0].values, ["checkout"]);
        assert_eq!(answer.series[0].points[0].cpu_nanos, 9_000_000_000);
        let range = between(EPOCH, EPOCH + 100 * SECOND, "");
        let fine = SeriesRequest { query: range, step_nanos: SECOND, ..request };
        let answer = queries.series(fine).await.expect("answered").into_inner();
        assert_eq!(answer.step_nanos, 10 * SECOND, "not narrower than a window");
        assert_eq!(answer.series[1].points.len(), 3);
        assert_eq!(answer.series[1].points[0].unix_nanos, window(1).start_unix_nanos);

        let request = TopRequest { query: all(r#"{service="checkout"}"#), ..Default::default() };
        let answer = queries.top(request).await.expect("answered").into_inner();
        let rows: Vec<_> = answer
            .functions
            .iter()
            .map(|f| (f.function.as_str(), f.module.as_str(), f.self_nanos, f.total_nanos))
            .collect();
        let total = 9_000_000_000;
        assert_eq!(rows, [("app+0x20", "app", total, total), ("app+0x10", "app", 0, total)]);
        assert_eq!(answer.total_nanos, total);

        let status = queries.status(StatusRequest {}).await.expect("answered").into_inner();
        assert_eq!(status.store.expect("there").samples, 120);
        let known = status.agents.iter().find(|a| a.instance == agent.instance.to_string());
        let known = known.expect("listed");
        assert_eq!((known.host.as_str(), known.stored_samples), ("host-1", 120));
        assert_eq!(known.accounting.as_ref().expect("there").sealed, 120);
        let unaccounted = (!known.connected).then_some(0);
        assert_eq!(known.unaccounted_samples, unaccounted, "only of an agent that is gone");

        let dir = collector.stop().await;
        collector = Running::start_with(dir, |_| {}).await;
    }
}

/// Check that of an agent that is gone the samples are said which it took and neither delivered nor dropped.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_agent_did_not_deliver_is_said() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    // The second batch of 40 samples says that there was a first one.
    assert!(!agent.deliver(sealed(agent.instance, 2)).await.duplicate);
    let collector = Running::start_with(collector.stop().await, |_| {}).await;
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    let agents = status.into_inner().agents;
    assert_eq!((agents[0].stored_samples, agents[0].unaccounted_samples), (40, Some(40)));
    collector.stop().await;
}

/// Check that a resend is acknowledged as a duplicate and not counted twice, on the same stream, on
/// another one, and after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn resends_are_duplicates() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    let batch = sealed(agent.instance, 1);
    assert!(!agent.deliver(batch.clone()).await.duplicate);
    assert!(agent.deliver(batch.clone()).await.duplicate);
    let mut other = Agent::connect(&collector.url(), agent.instance).await.expect("connects");
    assert!(other.deliver(batch.clone()).await.duplicate);
    let collector = Running::start_with(collector.stop().await, |_| {}).await;
    let mut agent = collector.agent().await;
    assert!(agent.deliver(batch).await.duplicate);
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    assert_eq!(status.into_inner().store.expect("there").samples, 40);
}

/// Check that each kind of bad batch is refused with a reason, and that the stream goes on.
#[tokio::test(flavor = "multi_thread")]
async fn bad_batches_are_refused_and_the_stream_lives_on() {
    let dir = TempDir::new().expect("dir");
    let collector =
        Running::start_with(dir, |config| config.limits.max_payload_bytes = 100_000).await;
    let mut agent = collector.agent().await;
    let good = sealed(agent.instance, 1);
    let bad = [
        (v1::SealedBatch { crc32c: good.crc32c ^ 1, ..good.clone() }, "CRC-32C"),
        (v1::SealedBatch { format: 9, ..good.clone() }, "format 9"),
        (v1::SealedBatch { samples: 1, ..good.clone() }, "envelope"),
        (v1::SealedBatch { sequence: 0, ..good.clone() }, "sequence 0"),
        (v1::SealedBatch { instance: vec![1], ..good.clone() }, "instance id"),
        (v1::SealedBatch { raw_size: 5, ..good.clone() }, "5 bytes"),
        (v1::SealedBatch { payload: vec![0; 150_000].into(), ..good.clone() }, "limit of 100000"),
    ];
    for (sealed, reason) in bad {
        assert!(agent.push(sealed).await);
        let answer = agent.answer(&mut Vec::new()).await.expect("open").expect("answered");
        let reject = answer.expect_err("refused");
        assert!(reject.reason.contains(reason), "{reject:?} lacks {reason:?}");
    }
    agent.deliver(good).await;
    let metrics = collector.get("/metrics").await.text();
    let refused = "fleetprof_collector_rejected_batches_total{reason=\"checksum\"} 1";
    assert!(metrics.contains(refused), "{metrics}");
    assert!(metrics.contains("fleetprof_collector_ingested_samples_total 40"), "{metrics}");
}

/// Check that a message over every limit ends its stream, and harms no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_message_ends_only_its_stream() {
    let dir = TempDir::new().expect("dir");
    let collector =
        Running::start_with(dir, |config| config.limits.max_payload_bytes = 100_000).await;
    let mut agent = collector.agent().await;
    let mut hostile = collector.agent().await;
    let huge = v1::SealedBatch { payload: vec![0; 4 << 20].into(), ..sealed(agent.instance, 1) };
    hostile.push(huge).await;
    let status = hostile.answer(&mut Vec::new()).await.expect_err("ends");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    agent.deliver(sealed(agent.instance, 1)).await;
}

/// Check that a stream must begin with one valid Hello.
#[tokio::test(flavor = "multi_thread")]
async fn streams_begin_with_a_hello() {
    let collector = Running::start().await;
    let instance = InstanceId::random();
    let mut agent = Agent::open(&collector.url(), instance).await.expect("opens");
    agent.push(sealed(instance, 1)).await;
    let status = agent.answer(&mut Vec::new()).await.expect_err("ends");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("first request must be a Hello"), "{status:?}");

    let mut agent = Agent::open(&collector.url(), instance).await.expect("opens");
    agent.send(Message::Hello(Hello { instance: vec![1, 2], ..Default::default() })).await;
    let status = agent.answer(&mut Vec::new()).await.expect_err("ends");
    assert_eq!(status.code(), Code::InvalidArgument);

    let mut agent = collector.agent().await;
    agent.send(Message::Hello(Hello::default())).await;
    let status = agent.answer(&mut Vec::new()).await.expect_err("ends");
    assert!(status.message().contains("second Hello"), "{status:?}");
}

/// Check that streams past the limit are refused, and accepted again when one has ended.
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited() {
    let dir = TempDir::new().expect("dir");
    let collector = Running::start_with(dir, |config| config.max_agents = 1).await;
    let mut first = collector.agent().await;
    first.deliver(sealed(first.instance, 1)).await;
    let refused = Agent::connect(&collector.url(), InstanceId::random()).await;
    assert_eq!(refused.err().expect("refused").code(), Code::ResourceExhausted);
    let mut rest = first.finish();
    while rest.message().await.expect("ends in order").is_some() {}
    // The permit is given back right after the stream's end.
    let again = tokio::time::timeout(Duration::from_secs(20), async {
        while Agent::connect(&collector.url(), InstanceId::random()).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("accepted again");
}

/// Check that an object is asked of one agent at a time, and of the next when the first is gone.
#[tokio::test(flavor = "multi_thread")]
async fn missing_objects_are_asked_of_one_agent() {
    let collector = Running::start().await;
    let (mut first, mut second) = (collector.agent().await, collector.agent().await);
    let mut wants = Vec::new();
    for sequence in 1..=2 {
        first.push(sealed(first.instance, sequence)).await;
        first.answer(&mut wants).await.expect("open").expect("open").expect("stored");
    }
    assert_eq!(wants, [v1::ObjectId::from(&app())]);
    let mut wants = Vec::new();
    for sequence in 1..=2 {
        second.push(sealed(second.instance, sequence)).await;
        second.answer(&mut wants).await.expect("open").expect("open").expect("stored");
    }
    assert_eq!(wants, []);
    let mut rest = first.finish();
    while rest.message().await.expect("ends in order").is_some() {}
    let asked = tokio::time::timeout(Duration::from_secs(20), async {
        for sequence in 3.. {
            second.push(sealed(second.instance, sequence)).await;
            second.answer(&mut wants).await.expect("open").expect("open").expect("stored");
            if !wants.is_empty() {
                break;
            }
        }
    });
    asked.await.expect("asked after the first agent left");
    assert_eq!(wants, [v1::ObjectId::from(&app())]);
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    assert_eq!(status.into_inner().objects.expect("there").wanted, 1);
}

/// Check that bad questions get an error that says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_explained() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    agent.deliver(sealed(agent.instance, 1)).await;
    let mut queries = collector.queries().await;
    let ask = |query| ServicesRequest { query };
    for (query, code, text) in [
        (None, Code::InvalidArgument, "no query"),
        (between(10, 5, ""), Code::InvalidArgument, "reversed"),
        (between(5, 5, ""), Code::InvalidArgument, "empty"),
        (all("{service=~\"(\"}"), Code::InvalidArgument, "regular expression"),
        (all("{service"), Code::InvalidArgument, "position 9"),
        (all("{service=\"chekout\"}"), Code::NotFound, "services there: checkout, search"),
    ] {
        let status = queries.services(ask(query)).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?} lacks {text:?}");
    }
    let request = v1::ProfileRequest { query: between(1, 2, ""), without_labels: false };
    let status = queries.profile(request).await.expect_err("nothing there");
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("has data from 2026-01-01T00:00:10Z"), "{status:?}");
    let request = SeriesRequest { query: all(""), step_nanos: -1, ..Default::default() };
    let status = queries.series(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
}

/// Check that queries are refused while the process has too much memory in use, and ingest is not.
#[tokio::test(flavor = "multi_thread")]
async fn queries_are_refused_when_memory_is_used_up() {
    let dir = TempDir::new().expect("dir");
    let collector = Running::start_with(dir, |config| config.memory_limit = 1).await;
    let mut agent = collector.agent().await;
    agent.deliver(sealed(agent.instance, 1)).await;
    let request = TopRequest { query: all(""), ..TopRequest::default() };
    let status = collector.queries().await.top(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--memory-limit 1"), "{status:?}");
}

/// Check that a profile arrives in chunks that together are one pprof, with coverage in the last.
#[tokio::test(flavor = "multi_thread")]
async fn profiles_arrive_in_chunks() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    agent.deliver(sealed(agent.instance, 1)).await;
    let request =
        v1::ProfileRequest { query: all(r#"{service="checkout"}"#), without_labels: false };
    let answer = collector.queries().await.profile(request).await.expect("answered");
    let (mut chunks, mut gz, mut last) = (answer.into_inner(), Vec::new(), None);
    while let Some(chunk) = chunks.message().await.expect("whole") {
        assert!(last.is_none(), "coverage only in the last chunk");
        gz.extend(chunk.pprof_gz);
        last = chunk.coverage;
    }
    assert_eq!(last.expect("there").samples, 30);
    assert_eq!(gz[..2], [0x1f, 0x8b]);
}

/// A message of 2 MiB of which the first half comes, until the sender is dropped.
fn half_a_message() -> (mpsc::Sender<Vec<u8>>, Body) {
    let (sender, more) = mpsc::channel(1);
    let mut header = vec![0];
    header.extend((2_u32 << 20).to_be_bytes());
    let parts = std::iter::once(header).chain(std::iter::repeat_n(vec![0; 16 << 10], 64));
    let parts = tokio_stream::iter(parts).chain(ReceiverStream::new(more));
    let frames = parts.map(|part| Ok::<_, Status>(Frame::data(Bytes::from(part))));
    (sender, Body::new(StreamBody::new(frames)))
}

/// Check that messages that never become whole take a bounded amount of memory, and that agents with ordinary batches
/// do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_bounded() {
    let dir = TempDir::new().expect("dir");
    let collector = Running::start_with(dir, |config| {
        config.limits.max_payload_bytes = 1 << 20;
        config.queue_bytes = 4 << 20;
    });
    let collector = collector.await;
    let mut agent = collector.agent().await;
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..12 {
        let mut channel = collector.channel().await;
        let (unfinished, body) = half_a_message();
        let request =
            http::Request::post(format!("{}/fleetprof.v1.IngestService/Push", collector.url()))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(body)
                .expect("a request");
        let response =
            channel.ready().await.expect("connected").call(request).await.expect("answered");
        let mut answer = response.into_body();
        // The answer to a stream that is refused is its end.
        match tokio::time::timeout(Duration::from_millis(500), answer.frame()).await {
            Ok(frame) => {
                let trailers = frame.expect("an end").expect("no failure").into_trailers();
                let status =
                    Status::from_header_map(&trailers.expect("a status")).expect("a status");
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert!(status.message().contains("--queue-memory"), "{status:?}");
                refused += 1;
            }
            Err(_waits) => open.push((unfinished, answer)),
        }
    }
    assert!(
        (2..=5).contains(&open.len()) && refused >= 7,
        "{} open, {refused} refused",
        open.len()
    );
    assert!(!agent.deliver(sealed(agent.instance, 1)).await.duplicate);
    // What they held is given back.
    for (unfinished, mut answer) in open {
        drop(unfinished);
        while answer.frame().await.is_some_and(|frame| frame.is_ok()) {}
    }
    let large = v1::SealedBatch { payload: vec![0; 1 << 20].into(), ..sealed(agent.instance, 2) };
    assert!(agent.push(large).await);
    let answer = agent.answer(&mut Vec::new()).await.expect("answered").expect("open");
    assert!(answer.is_err(), "no batch, but it was received");
}
