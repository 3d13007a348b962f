//! Starts that must fail, and a disk that fills up.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fleetprof_proto::v1::{ObjectFormat, StatusRequest};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    objects,
    support::{Running, sealed},
};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetprof-collector"));
    command.args(arguments).output().expect("ran")
}

fn refused(listen: &str, data_dir: &Path) -> String {
    let output = run(&["--listen", listen, "--data-dir", &data_dir.to_string_lossy()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text.lines().last().unwrap_or_default().to_owned()
}

/// Check that the help teaches, and that a bad argument is an error.
#[test]
fn the_command_line_explains_itself() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("text");
    for text in
        ["go tool pprof", "--data-dir", "FLEETPROF_COLLECTOR_LISTEN", "[default: 127.0.0.1:7171]"]
    {
        assert!(help.contains(text), "{help}");
    }
    for arguments in [&["--max-batch", "lots"][..], &["--wrong"], &["--commit-delay", "5"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// Check that each thing that keeps a collector from starting gives exit code 1 and one clear line.
#[tokio::test(flavor = "multi_thread")]
async fn starts_fail_with_a_clear_line() {
    let work = TempDir::new().expect("dir");
    let path = |name: &str| -> PathBuf { work.path().join(name) };
    let any = "127.0.0.1:0";

    let taken = TcpListener::bind(any).expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let line = refused(&address, &path("a"));
    assert!(line.starts_with(&format!("error: cannot listen on {address}")), "{line}");
    assert!(line.contains("choose another with --listen"), "{line}");
    assert!(refused("nonsense", &path("a")).contains("expected HOST:PORT"));

    fs::write(path("file"), "").expect("written");
    let line = refused(any, &path("file"));
    assert!(line.contains("cannot create") && line.contains("--data-dir"), "{line}");
    let line = refused(any, Path::new("/proc/nowhere"));
    assert!(line.contains("cannot create /proc/nowhere"), "{line}");

    fs::create_dir(path("corrupt")).expect("made");
    fs::write(path("corrupt/VERSION"), "something else\n").expect("written");
    let line = refused(any, &path("corrupt"));
    assert!(line.contains("is corrupt") && line.contains("VERSION"), "{line}");
    fs::write(path("corrupt/VERSION"), "fleetprof-data 99\n").expect("written");
    let line = refused(any, &path("corrupt"));
    assert!(line.contains("version 99") && line.contains("upgrade"), "{line}");

    let collector = Running::start().await;
    let data_dir = collector.dir.path().join("data");
    let line = refused(any, &data_dir);
    let holder = format!("in use by another fleetprof-collector (pid {})", std::process::id());
    assert!(line.contains(&holder), "{line}");
    drop(taken);
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk {
    dir: Option<TempDir>,
}

// === impl SmallDisk ===

impl SmallDisk {
    fn mount() -> Self {
        let dir = TempDir::new().expect("dir");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(dir.path());
        assert!(mount.status().expect("mount").success(), "mounting needs root");
        Self { dir: Some(dir) }
    }

    fn path(&self) -> &Path {
        self.dir.as_ref().expect("mounted").path()
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut size = 4 << 20;
        while size > 0 {
            let mut bytes = fs::read(&path).unwrap_or_default();
            bytes.resize(bytes.len() + size, 1);
            if fs::write(&path, &bytes).is_err() {
                bytes.truncate(bytes.len() - size);
                fs::write(&path, &bytes).expect("what fitted before fits");
                size /= 2;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let dir = self.dir.take().expect("mounted");
        // Lazy: a program that another test is starting has this process's files open from its fork to its exec.
        let unmounted = Command::new("umount").arg("-l").arg(dir.path()).status();
        assert!(unmounted.expect("umount").success());
    }
}

async fn health(collector: &Running) -> i32 {
    let mut client = HealthClient::new(collector.channel().await);
    let request = HealthCheckRequest { service: "fleetprof.v1.IngestService".to_owned() };
    client.check(request).await.expect("answered").into_inner().status
}

/// Waits until a condition holds; the collector looks at its disk once a second.
async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.expect(what);
}

/// Check that a full disk ends streams with its cause, is seen in /readyz and health, leaves queries
/// alive, and that ingest goes on without a restart when there is space, with nothing lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_and_recovered_from() {
    let disk = SmallDisk::mount();
    let data_dir = disk.path().join("data");
    let collector =
        Running::start_with(TempDir::new().expect("dir"), |config| config.data_dir = data_dir)
            .await;
    let mut agent = collector.agent().await;
    agent.deliver(sealed(agent.instance, 1)).await;
    let filler = disk.fill();

    // There may be room for some more.
    let instance = agent.instance;
    let mut delivered = 1;
    let status = loop {
        agent.push(sealed(instance, delivered + 1)).await;
        match agent.answer(&mut Vec::new()).await {
            Ok(answer) => answer.expect("open").expect("stored"),
            Err(status) => break status,
        };
        delivered += 1;
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    // The files' words, or those of the catalog: whichever came first.
    let says_so = |text: &str| text.contains("no space left") || text.contains("disk is full");
    assert!(says_so(status.message()), "{status:?}");
    let work = TempDir::new().expect("dir");
    let program = objects::program(work.path());
    let header = objects::header(&program.id, ObjectFormat::Elf, program.bytes.len());
    let refused = objects::upload(&collector.url(), header, &program.bytes).await;
    assert_eq!(refused.expect_err("refused").code(), Code::ResourceExhausted);

    let ready = collector.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(says_so(&ready.text()), "{}", ready.text());
    // 2 is NOT_SERVING.
    until("health says so", || async { health(&collector).await == 2 }).await;
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    assert_eq!(status.into_inner().store.expect("there").samples, delivered * 40);

    fs::remove_file(filler).expect("removed");
    until("ready again", || async { collector.get("/readyz").await.status == 200 }).await;
    until("healthy again", || async { health(&collector).await == 1 }).await;
    let mut agent =
        crate::support::Agent::connect(&collector.url(), instance).await.expect("connects");
    for sequence in 1..=delivered + 3 {
        assert_eq!(
            agent.deliver(sealed(instance, sequence)).await.duplicate,
            sequence <= delivered
        );
    }
    let dir = collector.stop().await;
    let data_dir = disk.path().join("data");
    let collector = Running::start_with(dir, |config| config.data_dir = data_dir).await;
    let status = collector.queries().await.status(StatusRequest {}).await.expect("answered");
    let store = status.into_inner().store.expect("there");
    assert_eq!((store.samples, store.damaged.len()), ((delivered + 3) * 40, 0));
    collector.stop().await;
}
