//! Servers: elfutils' debuginfod as a child process, and a small one that answers as it is told.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use fleetprof_proto::ids::ObjectId;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::support::get;

/// Where a loop goes round.
const LOOP: &str = "/loop";

/// The real one.
pub(super) struct Debuginfod {
    child: Child,
    address: SocketAddr,
    _home: TempDir,
}

/// What a fake one answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    File(Vec<u8>),
    /// In chunks, without a size.
    Pieces(Vec<u8>),
    /// A file of this size is announced; nothing comes.
    Size(u64),
    Absent,
    Status(u16),
    /// The connection ends without an answer.
    Hangup,
    /// The answer begins, and never ends.
    Stall,
    /// The answer ends too early.
    Cut,
    /// To itself.
    Loop,
    /// To another server.
    Elsewhere(String),
}

/// One that answers each request with the next answer, and then goes on with the last one.
pub(super) struct Fake {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

// === impl Debuginfod ===

impl Debuginfod {
    /// Serves the files in a directory, one of which is of this build, as soon as it knows them.
    pub(super) fn start(dir: &Path, id: &ObjectId) -> Self {
        let home = TempDir::new().expect("dir");
        let free = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = free.local_addr().expect("known");
        drop(free);
        let child = Command::new("debuginfod")
            .args(["-F", "-d", ":memory:", "-p", &address.port().to_string()])
            .arg(dir)
            .current_dir(home.path())
            .env("HOME", home.path())
            .env_remove("DEBUGINFOD_URLS")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install debuginfod");
        let server = Self { child, address, _home: home };
        let path = format!("/buildid/{}/debuginfo", id.build_id);
        let until = Instant::now() + Duration::from_secs(60);
        let is_up = || std::net::TcpStream::connect(address).is_ok();
        while !is_up() || get(address, &path).status != 200 {
            assert!(Instant::now() < until, "debuginfod does not serve its files");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Debuginfod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn file(path: &Path) -> Self {
        Self::File(fs::read(path).expect("read"))
    }

    pub(super) fn pieces(path: &Path) -> Self {
        Self::Pieces(fs::read(path).expect("read"))
    }

    /// The bytes to send, and whether the connection stays open after them.
    fn bytes(self, path: &str) -> (Vec<u8>, bool) {
        let head = |status: &str, more: &str| {
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n").into_bytes()
        };
        let sized = |size: u64| head("200 OK", &format!("Content-Length: {size}\r\n"));
        let to = |url: &str| {
            let path = path.trim_start_matches(LOOP);
            let more = format!("Location: {url}{path}\r\nContent-Length: 0\r\n");
            head("302 Found", &more)
        };
        match self {
            Self::File(file) => ([sized(file.len() as u64), file].concat(), false),
            Self::Pieces(file) => {
                let mut bytes = head("200 OK", "Transfer-Encoding: chunked\r\n");
                for piece in file.chunks(1000) {
                    bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    bytes.extend_from_slice(piece);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                (bytes, false)
            }
            Self::Size(size) => (sized(size), false),
            Self::Absent => (head("404 Not Found", "Content-Length: 0\r\n"), false),
            Self::Status(status) => (head(&status.to_string(), "Content-Length: 0\r\n"), false),
            Self::Hangup => (Vec::new(), false),
            Self::Stall => ([sized(1000), b"some".to_vec()].concat(), true),
            Self::Cut => ([sized(1000), b"some".to_vec()].concat(), false),
            Self::Loop => (to(LOOP), false),
            Self::Elsewhere(url) => (to(&url), false),
        }
    }
}

// === impl Fake ===

impl Fake {
    pub(super) async fn start(answers: Vec<Answer>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), answers).await
    }

    pub(super) async fn start_at(address: SocketAddr, answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("known");
        let paths = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(listener, answers, paths.clone()));
        Self { address, paths, task }
    }

    /// Its address is free again.
    pub(super) async fn stop(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked for, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        locked(&self.paths).clone()
    }

    pub(super) fn requests(&self) -> usize {
        locked(&self.paths).len()
    }
}

fn locked(paths: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    paths.lock().expect("nobody panicked")
}

async fn serve(listener: TcpListener, answers: Vec<Answer>, paths: Arc<Mutex<Vec<String>>>) {
    let mut answers = answers.into_iter();
    let mut last = Answer::Absent;
    let mut stalled = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let Some(path) = path(&mut stream).await else { continue };
        // A loop is one answer however often it is gone through.
        if !path.starts_with(LOOP) {
            last = answers.next().unwrap_or(last);
            locked(&paths).push(path.clone());
        }
        let (bytes, stays) = last.clone().bytes(&path);
        let _ = stream.write_all(&bytes).await;
        if stays {
            stalled.push(stream);
        }
    }
}

/// The path of a request, of which all is read.
async fn path(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8(request).ok()?.split(' ').nth(1).map(str::to_owned)
}
