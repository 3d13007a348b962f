//! What the tests of the whole collector share: a collector in this process or in a child process, an
//! agent's side of a stream, batches with known content, plain HTTP.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use fleetprof_collector::{config::Config, server::Collector};
use fleetprof_proto::{
    batch::{Batch, BatchBuilder, FrameIndex, Window, seal},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    v1::{
        self, Ack, Hello, PushRequest, PushResponse, Reject, SealedBatch, UnresolvedReason,
        ingest_service_client::IngestServiceClient, push_request::Message,
        push_response::Message as Answer, query_service_client::QueryServiceClient,
    },
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

pub(crate) const SECOND: i64 = 1_000_000_000;
/// An instant that all test data is after: 2026-01-01.
pub(crate) const EPOCH: i64 = 1_767_225_600 * SECOND;

/// A collector in this process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    pub(crate) dir: TempDir,
}

/// An agent's stream.
pub(crate) struct Agent {
    pub(crate) instance: InstanceId,
    requests: mpsc::Sender<PushRequest>,
    pub(crate) answers: Streaming<PushResponse>,
}

/// An answer to a plain HTTP request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

// === impl Running ===

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(TempDir::new().expect("dir"), |_| {}).await
    }

    pub(crate) async fn start_with(dir: TempDir, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: "127.0.0.1:0".to_owned(),
            data_dir: dir.path().join("data"),
            commit_delay: Duration::from_millis(2),
            ..Config::default()
        };
        adjust(&mut config);
        let collector = Collector::start(config).await.expect("starts");
        let address = collector.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(collector.serve(async {
            let _ = stopped.await;
        }));
        Self { address, stop, task, dir }
    }

    /// Ends it in order; its directory can be opened again.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.send(()).expect("running");
        self.task.await.expect("ends in order");
        self.dir
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.url()).expect("a URL");
        endpoint.connect().await.expect("connects")
    }

    pub(crate) async fn queries(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel().await)
    }

    pub(crate) async fn agent(&self) -> Agent {
        Agent::connect(&self.url(), InstanceId::random()).await.expect("connects")
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let (address, path) = (self.address, path.to_owned());
        tokio::task::spawn_blocking(move || get(address, &path)).await.expect("asked")
    }
}

// === impl Agent ===

impl Agent {
    pub(crate) async fn connect(url: &str, instance: InstanceId) -> Result<Self, Status> {
        let hello = Hello {
            instance: instance.as_bytes().to_vec(),
            host: "host-1".to_owned(),
            agent_version: "0.0-test".to_owned(),
        };
        let mut agent = Self::open(url, instance).await?;
        agent.send(Message::Hello(hello)).await;
        Ok(agent)
    }

    /// Without a Hello.
    pub(crate) async fn open(url: &str, instance: InstanceId) -> Result<Self, Status> {
        let client = IngestServiceClient::connect(url.to_owned()).await;
        let mut client = client.map_err(|error| Status::unavailable(error.to_string()))?;
        let (requests, receiver) = mpsc::channel(64);
        let answers = client.push(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { instance, requests, answers })
    }

    /// Whether the stream still takes requests.
    pub(crate) async fn send(&mut self, message: Message) -> bool {
        self.requests.send(PushRequest { message: Some(message) }).await.is_ok()
    }

    pub(crate) async fn push(&mut self, sealed: SealedBatch) -> bool {
        self.send(Message::Batch(sealed)).await
    }

    /// The next answer that is about a batch; requests for objects are collected in `wants`.
    pub(crate) async fn answer(
        &mut self,
        wants: &mut Vec<v1::ObjectId>,
    ) -> Result<Option<Result<Ack, Reject>>, Status> {
        loop {
            let Some(response) = self.answers.message().await? else { return Ok(None) };
            match response.message.expect("a known answer") {
                Answer::Ack(ack) => return Ok(Some(Ok(ack))),
                Answer::Reject(reject) => return Ok(Some(Err(reject))),
                Answer::WantObjects(wanted) => wants.extend(wanted.objects),
                Answer::Welcome(_) | Answer::Busy(_) => {}
            }
        }
    }

    /// Pushes a batch and waits until it is acknowledged.
    pub(crate) async fn deliver(&mut self, sealed: SealedBatch) -> Ack {
        let sequence = sealed.sequence;
        assert!(self.push(sealed).await, "the stream is open");
        let answer = self.answer(&mut Vec::new()).await.expect("answered").expect("open");
        let ack = answer.expect("accepted");
        assert_eq!(ack.sequence, sequence);
        ack
    }

    /// No more requests; the answers can still be read.
    pub(crate) fn finish(self) -> Streaming<PushResponse> {
        self.answers
    }
}

/// The window of a sequence: ten seconds each, one after the other.
pub(crate) fn window(sequence: u64) -> Window {
    let start = EPOCH + i64::try_from(sequence).expect("small") * 10 * SECOND;
    Window { start_unix_nanos: start, end_unix_nanos: start + 10 * SECOND }
}

pub(crate) fn build_id(byte: u8) -> BuildId {
    BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid")
}

pub(crate) fn app() -> ObjectId {
    ObjectId { kind: ObjectKind::File, build_id: build_id(1) }
}

/// `checkout` uses 3 s (main → work, 2 s in work itself; work recurs in 1 s), `search` 1 s.
pub(crate) fn batch(sequence: u64) -> Batch {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, Some(&build_id(1)), "/bin/app");
    let frame = |builder: &mut BatchBuilder, offset| -> FrameIndex {
        builder.frame(object, offset, UnresolvedReason::Unspecified)
    };
    let (main, work) = (frame(&mut builder, 0x10), frame(&mut builder, 0x20));
    let once = builder.stack([main, work]);
    let twice = builder.stack([main, work, work]);
    let checkout = builder.origin([("service", "checkout"), ("comm", "worker")]);
    let search = builder.origin([("service", "search"), ("version", "v2.1")]);
    builder.add(checkout, once, 0, 20, 2_000_000_000);
    builder.add(checkout, twice, 0, 10, 1_000_000_000);
    builder.add(search, once, 0, 10, 1_000_000_000);
    let dropped = vec![v1::CounterByName { name: "queue_full".to_owned(), value: sequence }];
    let sealed = sequence * 40;
    let accounting =
        v1::Accounting { taken: sealed + sequence, sealed, dropped, ..Default::default() };
    builder.finish(window(sequence), [("host", "host-1")], accounting)
}

pub(crate) fn sealed(instance: InstanceId, sequence: u64) -> SealedBatch {
    seal(BatchId { instance, sequence }, &batch(sequence)).expect("sealed")
}

/// A query over all test data.
pub(crate) fn all(selector: &str) -> Option<v1::Query> {
    between(EPOCH, EPOCH + 1_000_000 * SECOND, selector)
}

pub(crate) fn between(start: i64, end: i64, selector: &str) -> Option<v1::Query> {
    let selector = selector.to_owned();
    Some(v1::Query { start_unix_nanos: start, end_unix_nanos: end, selector })
}

/// A request over HTTP/1.1.
pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    let mut stream = TcpStream::connect(address).expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("answered");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text").to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Reply { status, head, body: bytes[end + 4..].to_vec() }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
