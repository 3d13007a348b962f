//! What it costs to get the names: the agent's uploads, and what conversions take from ingest.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use fleetprof_proto::{
    batch::{BatchBuilder, Window, seal},
    chunk::pack,
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind, elf_identity},
    v1::{
        self, Accounting, Hello, ListObjectsRequest, ObjectFormat, PushRequest, UnresolvedReason,
        UploadHeader, UploadRequest, ingest_service_client::IngestServiceClient,
        object_service_client::ObjectServiceClient, push_request, push_response, upload_request,
    },
};
use fleetprof_tests::{
    agent::{Agent, Options},
    binaries,
    collector::Collector,
    cpu::Meter,
    grpc::Grpc,
    machine,
    programs::{Burning, Program},
    wait,
};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::{
    agent::pass,
    report::{Report, quantile},
};

/// Longest wait for the upload and the conversion of all objects.
const SETTLED: Duration = Duration::from_secs(240);
const MB: f64 = 1e6;
/// How long nothing new is wanted at the end.
const CALM: Duration = Duration::from_secs(5);
/// Copies of one large binary, each an object of its own.
const COPIES: u8 = 6;
const CHUNK: usize = 1 << 20;
/// How long acknowledgements are looked at without anything else.
const QUIET: Duration = Duration::from_secs(5);

/// Measures uploads and conversions.
pub(crate) fn measure(report: &mut Report) {
    uploads(report);
    conversions(report);
}

/// One agent uploads what this host runs, at its default rate.
fn uploads(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(dir.path());
    let _load = Burning::start(Program::C, 1);
    let grpc = Grpc::connect(collector.port());
    let options = Options::new(&collector.url(), dir.path()).at(19);
    let mut agent = Agent::start(&options);
    let mut meter = Meter::new(agent.process().pid());
    let (started, before) = (Instant::now(), meter.look());
    let mut last = started;
    let settled = || {
        meter.look();
        let objects = grpc.status().objects?;
        if objects.stored == 0 || objects.wanted > 0 || objects.waiting > 0 {
            last = Instant::now();
        }
        // Further ones are seen in the next windows.
        (last.elapsed() >= CALM).then_some(())
    };
    if wait::within(SETTLED, settled).is_none() {
        report.note("uploads: not all objects came in time".to_owned());
    }
    let busy = meter.look() - before;
    let (took, until_last) = (started.elapsed(), last.duration_since(started));
    let sent = agent.try_metrics();
    let sent = sent.and_then(|it| it.sum("fleetprof_agent_upload_bytes_total")).unwrap_or(f64::NAN);
    agent.stop();
    let files = files_of(&collector);
    collector.stop();
    // The same without them: what the agent does anyway is no part of it.
    let dir = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(dir.path());
    let options = Options::new(&collector.url(), dir.path()).at(19).without_uploads();
    let mut agent = Agent::start(&options);
    let mut meter = Meter::new(agent.process().pid());
    let before = meter.look();
    pass(took, &mut |_| {
        meter.look();
    });
    let anyway = meter.look() - before;
    agent.stop();
    collector.stop();
    report.add("uploads of this host: files", "MB", vec![files / MB]);
    report.add("uploads of this host: sent", "MB", vec![sent / MB]);
    report.add("uploads of this host: until all have names", "s", vec![until_last.as_secs_f64()]);
    let share = 100.0 * (busy - anyway) / until_last.as_secs_f64();
    report.add("uploads of this host: agent's CPU meanwhile", "% of a core", vec![share]);
}

/// Size of the files that were uploaded, bytes, as they are on this host.
fn files_of(collector: &Collector) -> f64 {
    let runtime = Runtime::new().expect("a runtime");
    let listed = runtime.block_on(async {
        let mut client = ObjectServiceClient::connect(collector.url()).await.expect("a collector");
        client.list(ListObjectsRequest::default()).await.expect("an answer").into_inner()
    });
    let size = |info: &v1::ObjectInfo| fs::metadata(&info.path).map_or(0, |meta| meta.len());
    listed.objects.iter().map(size).sum::<u64>() as f64
}

/// Acknowledgements of one agent, one after the other, while nothing else happens and while large
/// objects are converted.
fn conversions(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(dir.path());
    let runtime = Runtime::new().expect("a runtime");
    let grpc = Grpc::connect(collector.port());
    let url = collector.url();
    let quiet = runtime.block_on(acknowledgements(&url, async { tokio::time::sleep(QUIET).await }));
    let large = binaries::path("fleetprof-agent");
    let started = Instant::now();
    let bytes = fs::metadata(&large).expect("there").len() as f64 * f64::from(COPIES);
    let uploader = url.clone();
    let busy = runtime.block_on(acknowledgements(&url, async move {
        for copy in 1..=COPIES {
            upload(&uploader, &large, copy).await;
        }
        let settled = move || grpc.status().objects.is_some_and(|it| it.waiting == 0).then_some(());
        let wait = move || wait::until("tables", SETTLED, settled);
        tokio::task::spawn_blocking(wait).await.expect("settled");
    }));
    let took = started.elapsed().as_secs_f64();
    report.add("conversion: uploads to tables, two at a time", "MB/s", vec![bytes / MB / took]);
    for (when, mut times) in [("quiet", quiet), ("while objects are converted", busy)] {
        times.sort_by(f64::total_cmp);
        let p99 = quantile(&times, 0.99);
        report.add(format!("acknowledgement, {when}, p99"), "ms", vec![p99]);
        report.add(format!("acknowledgement, {when}"), "ms", times);
    }
    collector.stop();
}

/// Uploads a copy of `file` under another build ID.
async fn upload(url: &str, file: &Path, copy: u8) {
    let mut bytes = fs::read(file).expect("a binary");
    let own =
        elf_identity::build_id(&fs::File::open(file).expect("a binary")).expect("an ELF file");
    let at = bytes.windows(own.value().len()).position(|found| found == own.value());
    let at = at.expect("it has a build ID");
    bytes[at] ^= copy;
    let value = bytes[at..at + own.value().len()].to_vec();
    let build_id = BuildId::new(BuildIdKind::Gnu, &value).expect("as long as before");
    let header = UploadHeader {
        id: Some((&ObjectId { kind: ObjectKind::File, build_id }).into()),
        format: ObjectFormat::Elf.into(),
        size: bytes.len() as u64,
        path: format!("/bench/{copy}"),
        ..UploadHeader::default()
    };
    let mut messages = vec![upload_request::Message::Header(header)];
    for chunk in bytes.chunks(CHUNK) {
        messages.push(upload_request::Message::Packed(pack(chunk).expect("packed")));
    }
    let requests = messages.into_iter().map(|message| UploadRequest { message: Some(message) });
    let mut client = ObjectServiceClient::connect(url.to_owned()).await.expect("a collector");
    client.upload(tokio_stream::iter(requests)).await.expect("kept");
}

/// Milliseconds from a batch to its acknowledgement, until `end` is.
async fn acknowledgements(url: &str, end: impl Future<Output = ()> + Send + 'static) -> Vec<f64> {
    // A task of its own: what it computes delays no batch here.
    let end = tokio::spawn(end);
    let instance = InstanceId::random();
    let (requests, stream) = mpsc::channel(1);
    let mut client = IngestServiceClient::connect(url.to_owned()).await.expect("a collector");
    let hello = Hello {
        instance: instance.as_bytes().to_vec(),
        host: "bench".to_owned(),
        agent_version: "bench".to_owned(),
    };
    let send = |message| PushRequest { message: Some(message) };
    requests.send(send(push_request::Message::Hello(hello))).await.expect("the stream is open");
    let answers = client.push(ReceiverStream::new(stream)).await.expect("a stream");
    let mut answers = answers.into_inner();
    let mut times = Vec::new();
    let mut deliver = async || {
        for sequence in 1.. {
            let batch = push_request::Message::Batch(batch(instance, sequence));
            let started = Instant::now();
            requests.send(send(batch)).await.expect("the stream is open");
            loop {
                let answer = answers.next().await.expect("an answer").expect("no error");
                if let Some(push_response::Message::Ack(_)) = answer.message {
                    break;
                }
            }
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    };
    tokio::select! {
        () = deliver() => {}
        ended = end => ended.expect("no panic"),
    }
    times
}

fn batch(instance: InstanceId, sequence: u64) -> v1::SealedBatch {
    let mut builder = BatchBuilder::new();
    let origin = builder.origin([("service", "bench")]);
    let object = builder.object(ObjectKind::Anonymous, None, "[anon]");
    for stack in 0..200 {
        let frames = (0..30).map(|depth| depth * (1 + stack % 7));
        let frames: Vec<_> = frames
            .map(|offset| builder.frame(object, offset, UnresolvedReason::NoBuildId))
            .collect();
        let stack = builder.stack(frames);
        builder.add(origin, stack, 0, 1, 1_000_000);
    }
    let start = machine::unix_nanos();
    let window = Window { start_unix_nanos: start, end_unix_nanos: start + 1_000_000_000 };
    let batch = builder.finish(window, [], Accounting::default());
    seal(BatchId { instance, sequence }, &batch).expect("sealed")
}
