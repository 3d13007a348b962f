//! Uploads that break off and go on, and better files that are offered.

use std::{fs, path::Path, process::Command};

use fleetprof_proto::{
    ids::{InstanceId, ObjectId, ObjectKind},
    v1::{
        ObjectFormat, ObjectOffer, OfferObjects, PrepareUploadRequest, PrepareUploadResponse,
        SymbolLevel, UploadHeader, UploadRequest, UploadResponse,
        object_service_client::ObjectServiceClient, push_request, push_response,
        upload_request::Message,
    },
};
use fleetprof_symbolizer::identity;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

use crate::{
    crash::Process,
    objects::{self, Program},
    support::{Agent, Running},
};

const CHUNK: usize = 256 << 10;
const MIB: u64 = 1 << 20;

/// One agent's file, and what it has sent of it.
struct Sender {
    header: UploadHeader,
    bytes: Vec<u8>,
    sent: u64,
}

/// A program of eight mebibytes that cannot be compressed.
fn large(dir: &Path) -> Program {
    let mut program = objects::program(dir);
    let mut random = fastrand::Rng::with_seed(1);
    let noise = std::iter::repeat_with(|| random.u8(..));
    let missing = (8 << 20) - program.bytes.len();
    program.bytes.extend(noise.take(missing));
    program
}

// === impl Sender ===

impl Sender {
    fn new(id: &ObjectId, bytes: &[u8]) -> Self {
        let header = objects::header(id, ObjectFormat::Elf, bytes.len());
        Self { header, bytes: bytes.to_vec(), sent: 0 }
    }

    async fn client(url: &str) -> ObjectServiceClient<Channel> {
        ObjectServiceClient::connect(url.to_owned()).await.expect("connects")
    }

    async fn prepare(&self, url: &str) -> Result<PrepareUploadResponse, Status> {
        let request = PrepareUploadRequest { header: Some(self.header.clone()) };
        Ok(Self::client(url).await.prepare(request).await?.into_inner())
    }

    /// What the collector has of this very file.
    async fn kept(&self, url: &str) -> u64 {
        self.ours(&self.prepare(url).await.expect("wanted"))
    }

    fn ours(&self, answer: &PrepareUploadResponse) -> u64 {
        assert!(!answer.duplicate);
        let kept = answer.kept as usize;
        let is_ours = answer.kept_sha256 == Sha256::digest(&self.bytes[..kept]).as_slice();
        if is_ours { answer.kept } else { 0 }
    }

    /// Begins an upload and breaks it off when the collector has written so many bytes.
    async fn break_off(&mut self, url: &str, scratch: &Path, bytes: u64, end: impl FnOnce()) {
        let (requests, receiver) = mpsc::channel(1);
        let mut client = Self::client(url).await;
        let call = tokio::spawn(async move { client.upload(ReceiverStream::new(receiver)).await });
        let message = |message| UploadRequest { message: Some(message) };
        requests.send(message(Message::Header(self.header.clone()))).await.expect("open");
        for chunk in self.bytes[..bytes as usize].chunks(CHUNK) {
            requests.send(message(Message::Chunk(chunk.to_vec()))).await.expect("open");
            self.sent += chunk.len() as u64;
        }
        while largest(scratch) < bytes {
            tokio::task::yield_now().await;
        }
        end();
        call.abort();
        assert!(!matches!(call.await, Ok(Ok(_))), "the call was not answered");
    }

    /// As an agent does it: asks what is there, and sends the rest.
    async fn finish(&mut self, url: &str) -> Result<UploadResponse, Status> {
        let kept = self.kept(url).await;
        self.send_from(url, kept).await
    }

    async fn send_from(&mut self, url: &str, kept: u64) -> Result<UploadResponse, Status> {
        let (left_out, rest) = self.bytes.split_at(kept as usize);
        let kept_sha256 = Sha256::digest(left_out).to_vec();
        let header = UploadHeader { kept, kept_sha256, ..self.header.clone() };
        self.sent += rest.len() as u64;
        objects::upload(url, header, rest).await
    }
}

/// Size of the largest file of an upload.
fn largest(scratch: &Path) -> u64 {
    let sizes = fs::read_dir(scratch).expect("listed").filter_map(|entry| {
        let entry = entry.ok()?;
        let is_upload = entry.file_name().to_string_lossy().starts_with("upload-");
        // It may be renamed meanwhile.
        is_upload.then(|| entry.metadata().map_or(0, |meta| meta.len()))
    });
    sizes.max().unwrap_or(0)
}

async fn until_kept(sender: &Sender, url: &str, bytes: u64) {
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        loop {
            match sender.prepare(url).await {
                Ok(answer) if sender.ours(&answer) == bytes => return,
                // The upload that was broken off has not given its room back yet.
                Err(status) if status.code() != Code::ResourceExhausted => panic!("{status}"),
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    waiting.await.expect("what came is kept");
}

/// Check that an upload goes on after the agent broke it off, and after the collector was killed in the
/// middle of it; that another agent with the same file takes over; and that the object is whole.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_on_after_crashes_of_either_side() {
    let work = TempDir::new().expect("dir");
    let (data, program) = (work.path().join("data"), large(work.path()));
    let scratch = data.join("scratch");
    let mut first = Sender::new(&program.id, &program.bytes);
    let process = Process::start_with(&data, &[]);
    first.break_off(&process.url, &scratch, 3 * MIB, || {}).await;
    until_kept(&first, &process.url, 3 * MIB).await;
    // The same again, and now the collector dies.
    let mut again = Sender::new(&program.id, &program.bytes);
    let url = process.url.clone();
    again.break_off(&url, &scratch, 5 * MIB, || process.kill()).await;

    let process = Process::start_with(&data, &[]);
    let mut other_host = Sender::new(&program.id, &program.bytes);
    let answer = other_host.finish(&process.url).await.expect("kept");
    assert!(!answer.duplicate);
    assert_eq!(other_host.sent, 3 * MIB, "only the rest of the eight");
    let stored = fs::read(data.join(format!("objects/{}.elf", program.id))).expect("stored");
    assert!(stored == program.bytes, "it is whole");
    assert_eq!(largest(&scratch), 0);
    process.kill();
}

/// Check that the part of another file with the same id and size is not mixed with this one's, and that
/// of two that go on one is refused and begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_file_goes_on() {
    let work = TempDir::new().expect("dir");
    let program = large(work.path());
    let collector = Running::start().await;
    let (url, scratch) = (collector.url(), collector.dir.path().join("data/scratch"));
    let mut stripped = program.bytes.clone();
    stripped[1_000_000..1_000_100].fill(0);
    let mut other = Sender::new(&program.id, &stripped);
    other.break_off(&url, &scratch, 2 * MIB, || {}).await;
    until_kept(&other, &url, 2 * MIB).await;
    let mut ours = Sender::new(&program.id, &program.bytes);
    assert_eq!(ours.kept(&url).await, 0, "another beginning");
    // An agent that does not look is refused.
    let status = ours.send_from(&url, 2 * MIB).await.expect_err("another beginning");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    ours.break_off(&url, &scratch, 3 * MIB, || {}).await;
    until_kept(&ours, &url, 3 * MIB).await;

    // Two take over at the same time.
    let mut rivals = [0, 1].map(|_| Sender::new(&program.id, &program.bytes));
    let [a, b] = &mut rivals;
    let (a, b) = tokio::join!(a.send_from(&url, 3 * MIB), b.send_from(&url, 3 * MIB));
    let accepted = |answer: &Result<UploadResponse, Status>| {
        answer.as_ref().is_ok_and(|answer| !answer.duplicate)
    };
    assert_eq!(usize::from(accepted(&a)) + usize::from(accepted(&b)), 1, "{a:?} {b:?}");
    let stored = collector.dir.path().join(format!("data/objects/{}.elf", program.id));
    assert!(fs::read(stored).expect("stored") == program.bytes);
}

/// Check that what waits counts in the quota and gives way to whole objects, and that who has no room is
/// told so before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_quota_is_told_before_anything_is_sent() {
    let work = TempDir::new().expect("dir");
    let program = large(work.path());
    let dir = TempDir::new().expect("dir");
    let collector = Running::start_with(dir, |config| config.objects.quota_bytes = 9 << 20).await;
    let (url, scratch) = (collector.url(), collector.dir.path().join("data/scratch"));
    let mut first = Sender::new(&program.id, &program.bytes);
    first.break_off(&url, &scratch, 2 * MIB, || {}).await;
    until_kept(&first, &url, 2 * MIB).await;
    let mut larger = program.bytes.clone();
    larger.push(0);
    let mut other = Sender::new(&program.id, &larger);
    assert!(!other.finish(&url).await.expect("there is room").duplicate);
    assert_eq!(largest(&scratch), 0, "what waited gave way");

    let mut missing = program.id.clone();
    missing.kind = ObjectKind::Vdso;
    let refused = Sender::new(&missing, &program.bytes).prepare(&url).await;
    let refused = refused.expect_err("no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("--object-quota"), "{refused:?}");
}

/// Check that agents are told that they may offer, that a better file is asked of one of them, and that
/// it replaces the worse one, never the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn better_files_are_asked_for_and_replace_worse_ones() {
    let work = TempDir::new().expect("dir");
    let program = objects::program(work.path());
    let strip = |option: &str, name: &str| {
        let mut strip = Command::new("strip");
        let strip = strip.args([option, "hot", "-o", name]).current_dir(work.path());
        assert!(strip.status().expect("binutils").success());
        fs::read(work.path().join(name)).expect("read")
    };
    let (stripped, functions) = (strip("--strip-all", "a"), strip("--strip-debug", "b"));
    let collector = Running::start().await;
    let url = collector.url();
    let mut stripped = Sender::new(&program.id, &stripped);
    assert!(!stripped.finish(&url).await.expect("kept").duplicate);

    let offer = |level: SymbolLevel| {
        let object = ObjectOffer { id: Some((&program.id).into()), level: level.into() };
        let malformed = ObjectOffer { id: None, level: 3 };
        let objects = vec![malformed, object];
        push_request::Message::OfferObjects(OfferObjects { objects })
    };
    let mut agents = [welcomed(&url).await, welcomed(&url).await];
    for agent in &mut agents {
        agent.send(offer(SymbolLevel::Dynamic)).await;
        agent.send(offer(SymbolLevel::DebugInfo)).await;
        let batch = program.batch(agent.instance);
        assert!(agent.push(batch).await);
    }
    let mut asked = Vec::new();
    for agent in &mut agents {
        agent.answer(&mut asked).await.expect("open").expect("open").expect("acknowledged");
    }
    assert_eq!(asked, [(&program.id).into()], "one of them, once");

    let at_level = |bytes: &[u8], level: SymbolLevel| {
        let mut sender = Sender::new(&program.id, bytes);
        sender.header.level = level.into();
        sender
    };
    let whole = at_level(&program.bytes, SymbolLevel::DebugInfo);
    let worse = at_level(&functions, SymbolLevel::Functions);
    // One that says more than it has is looked at.
    let liar = at_level(&functions, SymbolLevel::DebugInfo);
    let (mut a, mut b, mut c) = (whole, worse, liar);
    let (a, b, c) = tokio::join!(a.send_from(&url, 0), b.send_from(&url, 0), c.send_from(&url, 0));
    assert!(!a.expect("taken").duplicate);
    b.expect("answered");
    c.expect("answered");
    let stored = collector.dir.path().join(format!("data/objects/{}.elf", program.id));
    let level = identity::identify_path(&stored).expect("an object").contents.level();
    assert_eq!(level, identity::SymbolLevel::DebugInfo);
    let worse = at_level(&functions, SymbolLevel::Functions);
    assert!(worse.prepare(&url).await.expect("answered").duplicate);
    let [agent, _] = &mut agents;
    agent.send(offer(SymbolLevel::DebugInfo)).await;
    let batch = program.batch(agent.instance);
    assert!(agent.push(batch).await);
    let mut asked = Vec::new();
    agent.answer(&mut asked).await.expect("open").expect("open").expect("a resend");
    assert_eq!(asked, [], "it is there");
}

async fn welcomed(url: &str) -> Agent {
    let mut agent = Agent::connect(url, InstanceId::random()).await.expect("connects");
    let first = agent.answers.message().await.expect("open").expect("open").message;
    let Some(push_response::Message::Welcome(welcome)) = first else { panic!("{first:?}") };
    assert!(welcome.takes_offers);
    agent
}
