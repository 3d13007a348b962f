//! Objects are uploaded, verified, kept, and give old profiles their names.

use std::{fs, path::Path, process::Command, time::Duration};

use fleetprof_proto::{
    batch::{BatchBuilder, seal},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    v1::{
        Accounting, ListObjectsRequest, ObjectFormat, ObjectInfo, ObjectState, SealedBatch,
        StatusRequest, TopRequest, UnresolvedReason, UploadHeader, UploadRequest, UploadResponse,
        object_service_client::ObjectServiceClient, upload_request::Message,
    },
};
use fleetprof_symbolizer::identity;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::support::{Running, all, window};

const SOURCE: &str = "
__attribute__((noinline)) int hot_loop(int n) { volatile int sum = 0; while (n--) sum += n; return sum; }
int main(int argc, char **argv) { (void)argv; return hot_loop(argc); }
";

/// A small program: its bytes, its id, and the file offset of `hot_loop`.
pub(crate) struct Program {
    pub(crate) bytes: Vec<u8>,
    pub(crate) id: ObjectId,
    pub(crate) hot_loop: u64,
}

// === impl Program ===

impl Program {
    /// A batch with one stack: the program's `hot_loop`.
    pub(crate) fn batch(&self, instance: InstanceId) -> SealedBatch {
        self.batch_of(instance, 1)
    }

    pub(crate) fn batch_of(&self, instance: InstanceId, sequence: u64) -> SealedBatch {
        let mut builder = BatchBuilder::new();
        let object = builder.object(ObjectKind::File, Some(&self.id.build_id), "/bin/hot");
        let frame = builder.frame(object, self.hot_loop, UnresolvedReason::Unspecified);
        let stack = builder.stack([frame]);
        let origin = builder.origin([("service", "hot")]);
        builder.add(origin, stack, 0, 5, 500);
        let batch = builder.finish(window(sequence), [], Accounting::default());
        seal(BatchId { instance, sequence }, &batch).expect("sealed")
    }
}

pub(crate) fn program(dir: &Path) -> Program {
    let (source, out) = (dir.join("hot.c"), dir.join("hot"));
    fs::write(&source, SOURCE).expect("written");
    let mut compiler = Command::new("cc");
    compiler.args(["-g", "-O1", "-Wl,--build-id", "-o"]).arg(&out).arg(&source);
    assert!(compiler.status().expect("a C compiler").success());
    let bytes = fs::read(&out).expect("read");
    let build_id = identity::identify_bytes(&bytes).expect("an object").build_id().clone();
    let elf = object::File::parse(bytes.as_slice()).expect("parsed");
    let address = elf.symbol_by_name("hot_loop").expect("there").address();
    let segment = elf.segments().find(|s| (s.address()..s.address() + s.size()).contains(&address));
    let segment = segment.expect("mapped");
    let hot_loop = address - segment.address() + segment.file_range().0;
    Program { id: ObjectId { kind: ObjectKind::File, build_id }, bytes, hot_loop }
}

pub(crate) async fn upload(
    url: &str,
    header: UploadHeader,
    bytes: &[u8],
) -> Result<UploadResponse, Status> {
    let connected = ObjectServiceClient::connect(url.to_owned()).await;
    let mut client = connected.map_err(|error| Status::unavailable(error.to_string()))?;
    let header = UploadRequest { message: Some(Message::Header(header)) };
    let chunks = bytes
        .chunks(1 << 20)
        .map(|chunk| UploadRequest { message: Some(Message::Chunk(chunk.to_vec())) });
    let requests: Vec<_> = std::iter::once(header).chain(chunks).collect();
    Ok(client.upload(tokio_stream::iter(requests)).await?.into_inner())
}

pub(crate) fn header(id: &ObjectId, format: ObjectFormat, size: usize) -> UploadHeader {
    UploadHeader {
        id: Some(id.into()),
        format: format.into(),
        size: size as u64,
        path: "/bin/hot".to_owned(),
        ..UploadHeader::default()
    }
}

async fn stored(collector: &Running) -> u64 {
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    status.into_inner().objects.expect("there").stored
}

/// The temporary files of uploads that are left. Conversions have theirs, too, which come and go.
fn scratch(collector: &Running) -> usize {
    let entries = fs::read_dir(collector.dir.path().join("data/scratch")).expect("listed");
    let names = entries.map(|entry| entry.expect("entry").file_name());
    let ours = |name: &str| name.starts_with("upload-") || name.starts_with("object-");
    names.filter(|name| ours(&name.to_string_lossy())).count()
}

pub(crate) async fn top_function(collector: &Running) -> (String, String) {
    let request = TopRequest { query: all(""), ..Default::default() };
    let answer = collector.queries().await.top(request).await.expect("answered").into_inner();
    (answer.functions[0].function.clone(), answer.functions[0].file.clone())
}

/// Check that a profile stored before its object came shows `module+0xoffset`, and names after, also
/// after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn late_objects_name_old_profiles() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    agent.deliver(program.batch(agent.instance)).await;

    let unnamed = format!("hot+0x{:x}", program.hot_loop);
    assert_eq!(top_function(&collector).await, (unnamed, String::new()));
    let header = header(&program.id, ObjectFormat::Elf, program.bytes.len());
    let answer = upload(&collector.url(), header.clone(), &program.bytes).await.expect("kept");
    assert!(!answer.duplicate);
    let answer = upload(&collector.url(), header, &program.bytes).await.expect("there");
    assert!(answer.duplicate);
    let (function, file) = top_function(&collector).await;
    assert!(!collector.dir.path().join("data/profiles/symbols").exists(), "a second copy");
    assert_eq!(function, "hot_loop");
    assert!(file.ends_with("hot.c"), "{file}");
    let collector = Running::start_with(collector.stop().await, |_| {}).await;
    assert_eq!(
        (top_function(&collector).await.0.as_str(), stored(&collector).await),
        ("hot_loop", 1)
    );
}

/// Check that a damaged table is made again, that a query does not wait for it longer than it may and
/// says what is missing, and that a later one has the names.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_ready_come_later() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    let dir = TempDir::new().expect("dir");
    let objects = dir.path().join("data/objects");
    fs::create_dir_all(&objects).expect("created");
    fs::write(objects.join(format!("{}.elf", program.id)), &program.bytes).expect("written");
    fs::write(objects.join(format!("{}.symtab", program.id)), "no table").expect("written");
    let collector =
        Running::start_with(dir, |config| config.symbol_patience = Duration::ZERO).await;
    let mut agent = collector.agent().await;
    agent.deliver(program.batch(agent.instance)).await;
    let request = TopRequest { query: all(""), ..Default::default() };
    let mut queries = collector.queries().await;
    let answer = queries.top(request.clone()).await.expect("answered").into_inner();
    let expected = vec![format!("names of {}: still being prepared, ask again", program.id)];
    assert_eq!(answer.coverage.expect("there").damaged, expected);
    assert_eq!(answer.total_nanos, 500);
    let later = tokio::time::timeout(Duration::from_secs(60), async {
        while queries.top(request.clone()).await.expect("answered").into_inner().functions[0]
            .function
            != "hot_loop"
        {
            tokio::task::yield_now().await;
        }
    });
    later.await.expect("named in the end");
}

/// Check that an object that is what it claims and cannot be converted is refused once, counted with
/// its reason, and that nobody tries again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn objects_without_a_table_say_why() {
    let work = TempDir::new().expect("dir");
    let mut program = program(work.path());
    // Not linked: its code has no addresses.
    let object = work.path().join("hot.o");
    let mut compiler = Command::new("cc");
    compiler.args(["-g", "-c", "-o"]).arg(&object).arg(work.path().join("hot.c"));
    assert!(compiler.status().expect("a C compiler").success());
    program.bytes = fs::read(&object).expect("read");
    program.id.build_id =
        identity::identify_bytes(&program.bytes).expect("an object").build_id().clone();
    let mut collector = Running::start().await;
    let mut agent = collector.agent().await;
    agent.deliver(program.batch(agent.instance)).await;
    drop(agent);
    let header = header(&program.id, ObjectFormat::Elf, program.bytes.len());
    upload(&collector.url(), header, &program.bytes).await.expect("kept");
    let unnamed = format!("hot+0x{:x}", program.hot_loop);
    let counted = |name: &str| format!("fleetprof_collector_{name} 1\n");
    for conversions in ["conversions_total{result=\"refused\"}", "ready"] {
        assert_eq!(top_function(&collector).await, (unnamed.clone(), String::new()));
        let metrics = collector.get("/metrics").await.text();
        for name in ["objects_unusable", "symbols_total{result=\"unsupported\"}", conversions] {
            assert!(metrics.contains(&counted(name)), "{name}: {metrics}");
        }
        collector = Running::start_with(collector.stop().await, |_| {}).await;
    }
    let metrics = collector.get("/metrics").await.text();
    assert!(!metrics.contains("conversions_total{"), "{metrics}");
}

pub(crate) fn unnamed(size: usize) -> UploadHeader {
    UploadHeader { size: size as u64, path: "/build/hot".to_owned(), ..UploadHeader::default() }
}

pub(crate) async fn list(collector: &Running) -> Vec<ObjectInfo> {
    let mut client = ObjectServiceClient::connect(collector.url()).await.expect("connects");
    let answer = client.list(ListObjectsRequest::default()).await.expect("answered").into_inner();
    assert_eq!(answer.total, answer.objects.len() as u64);
    answer.objects
}

/// Check that a stripped object that is followed by one with symbols, or by its debug file, is named by
/// these, that one that says less changes nothing, and that people are told what is there.
#[tokio::test(flavor = "multi_thread")]
async fn better_objects_replace_worse_ones() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    let tool = |name: &str, args: &[&str]| {
        let status = Command::new(name).args(args).current_dir(work.path()).status();
        assert!(status.expect("binutils").success(), "{name} {args:?}");
    };
    tool("strip", &["--strip-all", "hot", "-o", "stripped"]);
    tool("strip", &["--strip-debug", "hot", "-o", "functions"]);
    tool("objcopy", &["--only-keep-debug", "hot", "debug"]);
    let read = |name: &str| fs::read(work.path().join(name)).expect("read");
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    agent.deliver(program.batch(agent.instance)).await;
    let info = &list(&collector).await[0];
    assert_eq!((info.state(), info.path.as_str()), (ObjectState::Wanted, "/bin/hot"));

    let stripped = read("stripped");
    let asked = header(&program.id, ObjectFormat::Elf, stripped.len());
    upload(&collector.url(), asked, &stripped).await.expect("kept");
    assert_eq!(top_function(&collector).await.0, format!("hot+0x{:x}", program.hot_loop));
    assert!(!list(&collector).await[0].sources.contains(&"symtab".to_owned()));
    for (name, format, is_new, function, has_lines) in [
        ("functions", ObjectFormat::Elf, true, "hot_loop", false),
        ("stripped", ObjectFormat::Elf, false, "hot_loop", false),
        ("debug", ObjectFormat::ElfDebug, true, "hot_loop", true),
        ("debug", ObjectFormat::ElfDebug, false, "hot_loop", true),
        ("hot", ObjectFormat::Elf, true, "hot_loop", true),
    ] {
        let bytes = read(name);
        let answer = upload(&collector.url(), unnamed(bytes.len()), &bytes).await.expect("taken");
        assert_eq!((answer.duplicate, answer.format()), (!is_new, format), "{name}");
        assert_eq!(answer.id, Some((&program.id).into()), "{name}");
        // The older table serves until the new one is there.
        let settled = tokio::time::timeout(Duration::from_secs(60), async {
            while list(&collector).await[0].state() != ObjectState::Ready {
                tokio::task::yield_now().await;
            }
        });
        settled.await.expect("converted");
        let (top, file) = top_function(&collector).await;
        assert_eq!((top.as_str(), file.ends_with("hot.c")), (function, has_lines), "{name}");
    }
    let info = &list(&collector).await[0];
    assert_eq!((info.path.as_str(), info.reason.as_str()), ("/build/hot", ""));
    assert!(info.sources.contains(&"dwarf".to_owned()) && info.table_bytes > 0, "{info:?}");
    assert_eq!(info.bytes as usize, program.bytes.len() + read("debug").len());

    let wrong = upload(&collector.url(), unnamed(4), b"text").await.expect_err("no object");
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

/// Check that wrong uploads are refused with the reason, and that nothing of them is kept.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_objects_are_refused() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    let dir = TempDir::new().expect("dir");
    let collector = Running::start_with(dir, |config| {
        config.objects.max_object_bytes = 1 << 20;
        config.objects.quota_bytes = program.bytes.len() as u64 + 1000;
    })
    .await;
    let size = program.bytes.len();
    let other = BuildId::new(BuildIdKind::Gnu, &[7; 20]).expect("valid");
    let other = ObjectId { kind: ObjectKind::File, build_id: other };
    let long = BuildId::new(BuildIdKind::Gnu, &[7; 128]).expect("valid");
    let long = ObjectId { kind: ObjectKind::File, build_id: long };
    let kernel = ObjectId { kind: ObjectKind::Kernel, ..other.clone() };
    let (elf, text) = (ObjectFormat::Elf, ObjectFormat::Kallsyms);
    let junk = vec![b'x'; 100];
    for (header, bytes, code, what) in [
        (header(&other, elf, size), &program.bytes, Code::InvalidArgument, "its build ID is"),
        (
            header(&program.id, elf, size + 1),
            &program.bytes,
            Code::InvalidArgument,
            "were announced",
        ),
        (
            header(&program.id, elf, size - 1),
            &program.bytes,
            Code::InvalidArgument,
            "were announced",
        ),
        (header(&program.id, elf, 100), &junk, Code::InvalidArgument, "not an ELF file"),
        (header(&program.id, elf, 0), &junk, Code::InvalidArgument, "expected 1 to"),
        (header(&program.id, elf, 2 << 20), &junk, Code::InvalidArgument, "expected 1 to"),
        (header(&program.id, elf, 1 << 20), &junk, Code::ResourceExhausted, "quota"),
        (header(&program.id, text, 100), &junk, Code::InvalidArgument, "must be sent as ELF"),
        (header(&kernel, text, 100), &junk, Code::InvalidArgument, "listing of kernel symbols"),
        (header(&kernel, elf, 100), &junk, Code::InvalidArgument, "must be sent as KALLSYMS"),
        (header(&long, elf, 100), &junk, Code::InvalidArgument, "too long"),
        (UploadHeader::default(), &junk, Code::InvalidArgument, "expected 1 to"),
        (unnamed(100), &junk, Code::InvalidArgument, "not an ELF file"),
        (unnamed(99), &junk, Code::InvalidArgument, "were announced"),
    ] {
        let status = upload(&collector.url(), header, bytes).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(what), "{status:?} lacks {what:?}");
    }
    assert_eq!((stored(&collector).await, scratch(&collector)), (0, 0));
    // The space of failed uploads is free again.
    let right = header(&program.id, elf, size);
    assert!(!upload(&collector.url(), right, &program.bytes).await.expect("kept").duplicate);
    assert_eq!((stored(&collector).await, scratch(&collector)), (1, 0));
}

/// Check that the number of objects is limited.
#[tokio::test(flavor = "multi_thread")]
async fn objects_are_limited_in_number() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    let dir = TempDir::new().expect("dir");
    let collector = Running::start_with(dir, |config| config.objects.max_objects = 1).await;
    let size = program.bytes.len();
    upload(&collector.url(), unnamed(size), &program.bytes).await.expect("the first");
    let mut other = program.id.clone();
    other.build_id = BuildId::new(BuildIdKind::Gnu, &[7; 20]).expect("valid");
    let header = header(&other, ObjectFormat::Elf, size);
    let status = upload(&collector.url(), header, &program.bytes).await.expect_err("one more");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--max-objects"), "{status:?}");
}

/// Check that of concurrent uploads of one object one wins and the others are duplicates.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_uploads_of_one_object_agree() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    let collector = Running::start().await;
    let header = header(&program.id, ObjectFormat::Elf, program.bytes.len());
    let url = collector.url();
    let one = || upload(&url, header.clone(), &program.bytes);
    let (a, b, c) = tokio::join!(one(), one(), one());
    let new = [a, b, c].map(|answer| !answer.expect("accepted").duplicate);
    assert_eq!(new.iter().filter(|new| **new).count(), 1);
    assert_eq!((stored(&collector).await, scratch(&collector)), (1, 0));
}

/// Check that kernel symbols are accepted as text and name kernel addresses.
#[tokio::test(flavor = "multi_thread")]
async fn kernel_symbols_are_accepted() {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    let build_id = BuildId::new(BuildIdKind::Gnu, &[9; 20]).expect("valid");
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::Kernel, Some(&build_id), "[kernel]");
    let frame = builder.frame(object, 0x1010, UnresolvedReason::Unspecified);
    let stack = builder.stack([frame]);
    let origin = builder.origin([("service", "s")]);
    builder.add(origin, stack, 0, 1, 100);
    let batch = builder.finish(window(1), [], Accounting::default());
    let id = BatchId { instance: agent.instance, sequence: 1 };
    agent.deliver(seal(id, &batch).expect("sealed")).await;
    let listing =
        b"0000000000000000 T _text\n0000000000001000 T do_idle\n0000000000002000 T panic\n";
    let id = ObjectId { kind: ObjectKind::Kernel, build_id };
    let header = header(&id, ObjectFormat::Kallsyms, listing.len());
    upload(&collector.url(), header, listing).await.expect("kept");
    assert_eq!(top_function(&collector).await.0, "do_idle");
}
