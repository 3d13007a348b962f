//! Objects made to harm: each is refused, or named as far as that goes, with a reason that people can
//! see, while the collector goes on.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fleetprof_proto::{
    chunk::pack,
    ids::{InstanceId, ObjectId, ObjectKind},
    v1::{
        ListObjectsRequest, ObjectFormat, ObjectInfo, ObjectState, UploadRequest, UploadResponse,
        object_service_client::ObjectServiceClient, upload_request::Message,
    },
};
use fleetprof_symbolizer::identity;
use tempfile::TempDir;
use tonic::Status;

use crate::{
    crash::Process,
    objects::{self, header},
    support::{self, Agent},
};

/// Memory for one conversion.
const WORKER: &str = "128MiB";
/// What the collector's own process may need at most; one of the objects is sixteen times as large.
const COLLECTOR_BYTES: u64 = 256 << 20;
const SPARSE_BYTES: u64 = 2 << 30;
const MIB: usize = 1 << 20;

/// What becomes of an object.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The upload is refused, with these words.
    Refused(&'static str),
    /// It has no table, and its reason has these words.
    Failed(&'static str),
    /// It has a table, made from this, among others.
    Ready(&'static str),
}

/// A library that is what its build ID says, and no good.
struct Hostile {
    name: &'static str,
    id: ObjectId,
    file: PathBuf,
    expected: Expected,
}

// === impl Hostile ===

impl Hostile {
    /// Of an object that is in order up to now.
    fn new(name: &'static str, file: PathBuf, expected: Expected) -> Self {
        let identity = identity::identify_path(&file).expect("it can be identified");
        let id = ObjectId { kind: ObjectKind::File, build_id: identity.build_id().clone() };
        Self { name, id, file, expected }
    }

    fn patched(self, patch: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(&self.file).expect("read");
        patch(&mut bytes);
        fs::write(&self.file, bytes).expect("written");
        self
    }
}

fn tool(dir: &Path, name: &str, args: &[&str]) {
    let status = Command::new(name).args(args).current_dir(dir).status();
    assert!(status.expect("binutils and a C compiler").success(), "{name} {args:?}");
}

/// A library with the function `f` and further assembly.
fn library(dir: &Path, name: &str, more: &str, flags: &[&str]) -> PathBuf {
    let source = format!("{name}.s");
    // The comment makes another build ID of it.
    let text = format!(
        ".ident \"{name}\"\n.text\n.globl f\n.type f, @function\nf: nop\nret\n.size f, . - f\n{more}"
    );
    fs::write(dir.join(&source), text).expect("written");
    let fixed = ["-shared", "-nostdlib", "-Wl,--build-id", "-o", name, &source];
    tool(dir, "cc", &[&fixed[..], flags].concat());
    dir.join(name)
}

/// Where the section headers are, and how many; of a 64-bit file.
fn section_headers(bytes: &[u8]) -> (usize, usize) {
    let at = u64::from_le_bytes(bytes[0x28..0x30].try_into().expect("8 bytes"));
    let count = u16::from_le_bytes(bytes[0x3c..0x3e].try_into().expect("2 bytes"));
    (usize::try_from(at).expect("small"), usize::from(count))
}

/// These sections claim to reach to the end of the address space.
fn lie(bytes: &mut [u8], lies: impl Fn(usize) -> bool) {
    let (at, count) = section_headers(bytes);
    for (index, header) in bytes[at..].chunks_exact_mut(64).take(count).enumerate().skip(1) {
        if lies(index) {
            header[0x20..0x28].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
        }
    }
}

/// The section with the names of sections.
fn names_index(bytes: &[u8]) -> usize {
    usize::from(u16::from_le_bytes(bytes[0x3e..0x40].try_into().expect("2 bytes")))
}

/// Debug information whose functions are each other's origins.
const CYCLE: &str = "
.section .debug_abbrev, \"\", @progbits
.byte 1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0
.byte 2, 0x2e, 0, 0x31, 0x13, 0x11, 0x01, 0x12, 0x06, 0, 0
.byte 3, 0x2e, 0, 0x31, 0x13, 0, 0
.byte 0
.section .debug_info, \"\", @progbits
start: .long end - begin
begin: .short 4
.long 0
.byte 8
.byte 1
.quad f
.long 2
.byte 2
.long one - start
.quad f
.long 2
one: .byte 3
.long two - start
two: .byte 3
.long one - start
.byte 0
end:
";

fn all(dir: &Path) -> Vec<Hostile> {
    let zeros = |bytes: u64| format!(".section .debug_info, \"\", @progbits\n.zero {bytes}\n");
    let huge_name = "n".repeat(MIB);
    let named = format!(".globl {huge_name}\n.type {huge_name}, @function\n{huge_name}: nop\n");
    let bomb = library(dir, "bomb", &zeros(512 << 20), &["-gz=zlib"]);
    assert!(fs::metadata(&bomb).expect("there").len() < 1 << 20, "it is packed");
    // As large as it says, and almost all of it holes.
    let sparse = library(dir, "sparse", "", &[]);
    let file = fs::File::options().write(true).open(&sparse).expect("opened");
    file.set_len(SPARSE_BYTES).expect("grown");
    let plain = |name, expected| Hostile::new(name, library(dir, name, "", &[]), expected);
    vec![
        plain("truncated", Expected::Refused("section headers are outside the file"))
            .patched(|bytes| bytes.truncate(section_headers(bytes).0)),
        plain("lying", Expected::Refused("section names are too large"))
            .patched(|bytes| lie(bytes, |_| true)),
        plain("half-lying", Expected::Failed("Invalid ELF symbol table")).patched(|bytes| {
            let names = names_index(bytes);
            lie(bytes, |index| index != names);
        }),
        Hostile::new("cyclic", library(dir, "cyclic", CYCLE, &[]), Expected::Ready("symtab")),
        Hostile::new("bomb", bomb, Expected::Ready("incomplete")),
        Hostile::new("sparse", sparse, Expected::Ready("symtab")),
        Hostile::new("names", library(dir, "names", &named, &[]), Expected::Ready("symtab")),
    ]
}

/// Uploads a file without having all of it in memory.
async fn upload(url: &str, id: &ObjectId, file: &Path) -> Result<UploadResponse, Status> {
    let bytes = fs::File::open(file).expect("opened");
    let size = bytes.metadata().expect("there").len();
    let header = header(id, ObjectFormat::Elf, usize::try_from(size).expect("64 bits"));
    let empty = pack(&vec![0; MIB]).expect("packed");
    let chunks = (0..size).step_by(MIB).map(move |at| {
        let mut chunk = vec![0; MIB.min(usize::try_from(size - at).expect("64 bits"))];
        std::os::unix::fs::FileExt::read_exact_at(&bytes, &mut chunk, at).expect("read");
        let is_empty = chunk.len() == MIB && chunk.iter().all(|byte| *byte == 0);
        Message::Packed(if is_empty { empty.clone() } else { pack(&chunk).expect("packed") })
    });
    let messages = std::iter::once(Message::Header(header)).chain(chunks);
    let requests = messages.map(|message| UploadRequest { message: Some(message) });
    let mut client = ObjectServiceClient::connect(url.to_owned()).await.expect("connects");
    Ok(client.upload(tokio_stream::iter(requests)).await?.into_inner())
}

async fn info(url: &str, id: &ObjectId) -> ObjectInfo {
    let mut client = ObjectServiceClient::connect(url.to_owned()).await.expect("connects");
    let listed = client.list(ListObjectsRequest::default()).await.expect("answered").into_inner();
    let of_id = |info: &ObjectInfo| info.id.as_ref() == Some(&id.into());
    listed.objects.into_iter().find(of_id).expect("known")
}

/// The object's state, once it is settled; meanwhile batches are taken and questions answered.
async fn settled(url: &str, id: &ObjectId, agent: &mut Agent, sequence: &mut u64) -> ObjectInfo {
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let settled = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            *sequence += 1;
            agent.deliver(support::sealed(agent.instance, *sequence)).await;
            let top = move || support::get(address, "/pprof/checkout?from=2026-01-01T00:00:00Z");
            let answer = tokio::task::spawn_blocking(top).await.expect("asked");
            assert_eq!(answer.status, 200, "{answer:?}");
            let info = info(url, id).await;
            if matches!(info.state(), ObjectState::Ready | ObjectState::Failed) {
                return info;
            }
        }
    });
    settled.await.expect("settled in time")
}

/// Check with objects that are truncated, that lie about their sections, whose debug information is
/// cyclic, that unpack to more than there is memory for, that are two gigabytes of nothing, and whose
/// names are a megabyte: each is settled with a reason where something is missing, the collector's
/// process stays small, takes batches and answers, and names an ordinary object after all of them.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_objects_harm_nobody() {
    let work = TempDir::new().expect("dir");
    let data = work.path().join("data");
    let process = Process::start_with(&data, &["--conversion-memory", WORKER]);
    let mut agent = Agent::connect(&process.url, InstanceId::random()).await.expect("connects");
    let mut sequence = 0;
    for Hostile { name, id, file, expected } in all(work.path()) {
        let uploaded = upload(&process.url, &id, &file).await;
        if let Expected::Refused(why) = expected {
            let error = uploaded.expect_err(name);
            assert!(error.message().contains(why), "{name}: {error}");
            continue;
        }
        uploaded.unwrap_or_else(|error| panic!("{name}: {error}"));
        let info = settled(&process.url, &id, &mut agent, &mut sequence).await;
        match expected {
            Expected::Refused(_) => unreachable!("above"),
            Expected::Failed(why) => {
                assert_eq!(info.state(), ObjectState::Failed, "{name}: {info:?}");
                assert!(!info.reason.is_empty() && info.reason.contains(why), "{name}: {info:?}");
            }
            Expected::Ready(source) => {
                assert_eq!(info.state(), ObjectState::Ready, "{name}: {info:?}");
                assert!(info.sources.iter().any(|it| it == source), "{name}: {info:?}");
                assert!(info.bytes + info.table_bytes < 16 << 20, "{name} takes space: {info:?}");
            }
        }
    }
    let program = objects::program(work.path());
    let asked = header(&program.id, ObjectFormat::Elf, program.bytes.len());
    objects::upload(&process.url, asked, &program.bytes).await.expect("kept");
    let info = settled(&process.url, &program.id, &mut agent, &mut sequence).await;
    assert!(info.sources.iter().any(|it| it == "dwarf"), "{info:?}");
    let peak = process.peak_bytes();
    assert!(peak < COLLECTOR_BYTES, "the collector needed {peak} bytes");
    assert_eq!(process.terminate().0, Some(0));
}
