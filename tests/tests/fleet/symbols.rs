//! Symbols in a fleet: of all collectors one asks for an object and converts it, all name its code, and
//! nothing is lost with the host of the one that did.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use fleetprof_proto::{
    batch::{BatchBuilder, Window, seal},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    v1::{
        self, Accounting, ObjectFormat, PushRequest, SealedBatch, UnresolvedReason, UploadHeader,
        UploadRequest, ingest_service_client::IngestServiceClient,
        object_service_client::ObjectServiceClient, push_request, push_response,
        query_service_client::QueryServiceClient, upload_request,
    },
};
use fleetprof_tests::machine::{machine, unix_nanos};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::stack::Stack;

/// How long something may take that comes by itself.
const BOUND: Duration = Duration::from_secs(90);
const SECOND: i64 = 1_000_000_000;
/// How the note with a build ID of 20 bytes begins.
const NOTE: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
const SOURCE: &str = "
__attribute__((noinline)) int hot_loop(int n) { volatile int sum = 0; while (n--) sum += n; return sum; }
int main(int argc, char **argv) { (void)argv; return hot_loop(argc); }
";

/// A small program.
struct Program {
    bytes: Vec<u8>,
    id: ObjectId,
    /// Offset of `hot_loop` in the file.
    hot_loop: u64,
}

// === impl Program ===

impl Program {
    fn compile(dir: &Path) -> Self {
        let (source, out) = (dir.join("hot.c"), dir.join("hot"));
        fs::write(&source, SOURCE).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-g", "-O1", "-Wl,--build-id=sha1", "-o"]).arg(&out).arg(&source);
        assert!(compiler.status().expect("a C compiler").success());
        let bytes = fs::read(&out).expect("read");
        let note = bytes.windows(NOTE.len()).position(|bytes| bytes == NOTE).expect("a build ID");
        let value = &bytes[note + NOTE.len()..][..20];
        let build_id = BuildId::new(BuildIdKind::Gnu, value).expect("valid");
        let names = Command::new("nm").arg(&out).output().expect("binutils are installed");
        let names = String::from_utf8(names.stdout).expect("text");
        let line = names.lines().find(|line| line.ends_with(" hot_loop")).expect("there");
        // The first segments of a file are mapped as they are in it.
        let hot_loop = line.split(' ').next().and_then(|at| u64::from_str_radix(at, 16).ok());
        let id = ObjectId { kind: ObjectKind::File, build_id };
        Self { bytes, id, hot_loop: hot_loop.expect("an address") }
    }

    fn batch(&self, instance: InstanceId, sequence: u64) -> SealedBatch {
        let mut builder = BatchBuilder::new();
        let object = builder.object(ObjectKind::File, Some(&self.id.build_id), "/bin/hot");
        let frame = builder.frame(object, self.hot_loop, UnresolvedReason::Unspecified);
        let stack = builder.stack([frame]);
        let origin = builder.origin([("service", "hot")]);
        builder.add(origin, stack, 0, 5, 500);
        let end = unix_nanos();
        let window = Window { start_unix_nanos: end - SECOND, end_unix_nanos: end };
        let batch = builder.finish(window, [], Accounting::default());
        seal(BatchId { instance, sequence }, &batch).expect("sealed")
    }

    /// An agent that delivers until it is told to end, and uploads what it is asked for; gives the number
    /// of uploads that were new.
    async fn run(&self, url: &str, until: Instant) -> u32 {
        let instance = InstanceId::random();
        let (requests, receiver) = mpsc::channel(16);
        let mut client = IngestServiceClient::connect(url.to_owned()).await.expect("connects");
        let push = client.push(ReceiverStream::new(receiver)).await;
        let mut answers = push.expect("answered").into_inner();
        let send = async |message| {
            requests.send(PushRequest { message: Some(message) }).await.expect("it reads");
        };
        let instance_bytes = instance.as_bytes().to_vec();
        let hello = v1::Hello { instance: instance_bytes, ..v1::Hello::default() };
        send(push_request::Message::Hello(hello)).await;
        let (mut sequence, mut uploads) = (0, 0);
        while Instant::now() < until {
            sequence += 1;
            send(push_request::Message::Batch(self.batch(instance, sequence))).await;
            while let Ok(answer) = timeout(Duration::from_millis(500), answers.message()).await {
                let answer = answer.expect("open").expect("open").message;
                if let Some(push_response::Message::WantObjects(wanted)) = answer {
                    assert_eq!(wanted.objects, [(&self.id).into()]);
                    uploads += u32::from(self.upload(url).await);
                }
            }
        }
        uploads
    }

    async fn upload(&self, url: &str) -> bool {
        let header = UploadHeader {
            id: Some((&self.id).into()),
            format: ObjectFormat::Elf.into(),
            size: self.bytes.len() as u64,
            path: "/bin/hot".to_owned(),
            ..UploadHeader::default()
        };
        let messages = [
            upload_request::Message::Header(header),
            upload_request::Message::Chunk(self.bytes.clone()),
        ];
        let requests = messages.map(|message| UploadRequest { message: Some(message) });
        let mut client = ObjectServiceClient::connect(url.to_owned()).await.expect("connects");
        let answer = client.upload(tokio_stream::iter(requests)).await.expect("kept");
        !answer.into_inner().duplicate
    }
}

/// The function with the most CPU, as a collector says.
async fn top(url: &str) -> String {
    let now = unix_nanos();
    let query = v1::Query {
        start_unix_nanos: now - 3600 * SECOND,
        end_unix_nanos: now + 60 * SECOND,
        selector: String::new(),
    };
    let mut client = QueryServiceClient::connect(url.to_owned()).await.expect("connects");
    let request = v1::TopRequest { query: Some(query), ..v1::TopRequest::default() };
    let answer = client.top(request).await.expect("answered").into_inner();
    answer.functions.first().map(|found| found.function.clone()).unwrap_or_default()
}

async fn until_named(url: &str) {
    let end = Instant::now() + BOUND;
    loop {
        let found = top(url).await;
        if found == "hot_loop" {
            return;
        }
        assert!(Instant::now() < end, "{url} says {found}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Check that of three collectors, whose agents all run the same program, one is given it, that all three
/// name its code, and that they do so when the one that converted it has lost all it had.
#[test]
fn one_upload_names_code_everywhere_and_for_good() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = Program::compile(dir.path());
    let mut stack = Stack::shared(3);
    let urls = stack.urls();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let uploads = runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(15);
        let [a, b, c] = [0, 1, 2].map(|number| program.run(&urls[number], until));
        let (a, b, c) = tokio::join!(a, b, c);
        for url in &urls {
            until_named(url).await;
        }
        [a, b, c]
    });
    assert_eq!(uploads.iter().sum::<u32>(), 1, "{uploads:?}");
    let sum = |stack: &Stack, sample: &str| (0..3).map(|at| stack.metric(at, sample)).sum::<u64>();
    for sample in [
        "fleetprof_collector_objects_asked_total",
        "fleetprof_collector_objects_received_total",
        "fleetprof_collector_conversions_total{result=\"table\"}",
        "fleetprof_collector_symbol_publications_total{result=\"published\"}",
    ] {
        assert_eq!(sum(&stack, sample), 1, "{sample}");
    }
    let fetched = "fleetprof_collector_symbol_fetches_total{result=\"fetched\"}";
    assert_eq!(sum(&stack, fetched), 2);

    let asked = uploads.iter().position(|uploads| *uploads == 1).expect("one was asked");
    stack.lose(asked);
    runtime.block_on(async {
        for url in urls.iter().enumerate().filter(|(at, _)| *at != asked).map(|(_, url)| url) {
            assert_eq!(top(url).await, "hot_loop");
        }
    });
    stack.wait_ready();
    runtime.block_on(async {
        until_named(&urls[asked]).await;
        // Nor is anybody asked again.
        let until = Instant::now() + Duration::from_secs(8);
        assert_eq!(program.run(&urls[asked], until).await, 0);
    });
    assert_eq!(stack.metric(asked, "fleetprof_collector_objects_asked_total"), 0);
    stack.wait_ready();
}
