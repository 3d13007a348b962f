//! What nobody delivers comes from debuginfod servers: elfutils' own, and some that misbehave.

mod servers;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fleetprof_collector::config::Config;
use fleetprof_proto::{
    ids::ObjectId,
    v1::{ObjectFormat, ObjectInfo, ObjectState},
};
use tempfile::TempDir;

use self::servers::{Answer, Debuginfod, Fake};
use crate::{
    objects::{Program, header, list, program, top_function, upload},
    support::Running,
};

const SOON: Duration = Duration::from_secs(60);

/// A program whose debug information was split off.
struct Split {
    program: Program,
    stripped: Vec<u8>,
    debug: PathBuf,
}

fn tool(dir: &Path, name: &str, args: &[&str]) {
    let status = Command::new(name).args(args).current_dir(dir).status();
    assert!(status.expect("installed").success(), "{name} {args:?}");
}

fn split(dir: &Path) -> Split {
    let program = program(dir);
    tool(dir, "strip", &["--strip-all", "hot", "-o", "stripped"]);
    tool(dir, "objcopy", &["--only-keep-debug", "hot", "debug"]);
    let stripped = fs::read(dir.join("stripped")).expect("read");
    Split { program, stripped, debug: dir.join("debug") }
}

/// Asks at once, and often.
fn asking(urls: &[String]) -> impl FnOnce(&mut Config) {
    let servers = urls.iter().map(|url| url.parse().expect("a URL")).collect();
    |config| {
        config.debuginfod.servers = servers;
        config.debuginfod.patience = Duration::ZERO;
        config.debuginfod.poll = Duration::from_millis(20);
        config.debuginfod.failure_pause = Duration::from_millis(50);
    }
}

async fn collector(urls: &[String]) -> Running {
    Running::start_with(TempDir::new().expect("dir"), asking(urls)).await
}

/// The collector has the stripped program and a profile of it, and nothing else.
async fn deliver(collector: &Running, split: &Split) {
    let header = header(&split.program.id, ObjectFormat::Elf, split.stripped.len());
    upload(&collector.url(), header, &split.stripped).await.expect("kept");
    let mut agent = collector.agent().await;
    agent.deliver(split.program.batch(agent.instance)).await;
}

/// Waits for what the collector does by itself.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(SOON, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("no {what} within {SOON:?}"))
}

async fn lines(collector: &Running) {
    until("lines", async || {
        let (function, file) = top_function(collector).await;
        (function == "hot_loop" && file.ends_with("hot.c")).then_some(())
    })
    .await;
}

async fn info(collector: &Running, id: &ObjectId) -> ObjectInfo {
    let objects = list(collector).await;
    let found = objects.into_iter().find(|info| info.id == Some(id.into()));
    found.unwrap_or_default()
}

async fn says(collector: &Running, id: &ObjectId, words: &str) {
    until(words, async || info(collector, id).await.debuginfod.contains(words).then_some(())).await;
}

async fn count(collector: &Running, result: &str) -> u64 {
    let metrics = collector.get("/metrics").await.text();
    let name = format!("fleetprof_collector_debuginfod_requests_total{{result=\"{result}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// Check that a stripped program, whose debug information dwz has treated, gets lines from elfutils'
/// server: its debug file, then the file that this one has in common with others.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_adds_lines_and_what_dwz_moved() {
    let (work, served) = (TempDir::new().expect("dir"), TempDir::new().expect("dir"));
    let split = split(work.path());
    let other = ["-g", "-O2", "-Wl,--build-id", "hot.c", "-o", "other"];
    tool(work.path(), "cc", &other);
    tool(work.path(), "dwz", &["-m", "shared", "debug", "other"]);
    for name in ["debug", "shared"] {
        fs::copy(work.path().join(name), served.path().join(name)).expect("copied");
    }
    let server = Debuginfod::start(served.path(), &split.program.id);
    let collector = collector(&[server.url()]).await;
    deliver(&collector, &split).await;
    lines(&collector).await;
    let sources = until("shared names", async || {
        let sources = info(&collector, &split.program.id).await.sources;
        sources.contains(&"shared".to_owned()).then_some(sources)
    });
    let sources = sources.await;
    assert!(!sources.contains(&"incomplete".to_owned()), "{sources:?}");
    assert_eq!(count(&collector, "fetched").await, 2);
    let shared = list(&collector).await.into_iter().find(|info| info.reason.contains("in common"));
    assert_eq!(shared.map(|info| info.state()), Some(ObjectState::Ready));

    // It is all there after a restart, and nobody is asked again.
    let collector = Running::start_with(collector.stop().await, asking(&[server.url()])).await;
    lines(&collector).await;
    assert_eq!(count(&collector, "fetched").await, 0);
}

/// Check that a binary that no agent sends comes from the server, too, and its debug information after.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_binaries_that_no_agent_sends() {
    let (work, served) = (TempDir::new().expect("dir"), TempDir::new().expect("dir"));
    let split = split(work.path());
    for name in ["debug", "stripped"] {
        fs::copy(work.path().join(name), served.path().join(name)).expect("copied");
    }
    let server = Debuginfod::start(served.path(), &split.program.id);
    let collector = collector(&[server.url()]).await;
    let mut agent = collector.agent().await;
    agent.deliver(split.program.batch(agent.instance)).await;
    lines(&collector).await;
    assert_eq!(count(&collector, "fetched").await, 2);
    assert!(list(&collector).await.iter().all(|info| info.state() != ObjectState::Wanted));
}

/// Check that a debug file is not taken for a binary: it cannot be, whatever a server says.
#[tokio::test(flavor = "multi_thread")]
async fn a_binary_has_code() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let fake = Fake::start(vec![Answer::file(&split.debug)]).await;
    let collector = collector(&[fake.url()]).await;
    let mut agent = collector.agent().await;
    agent.deliver(split.program.batch(agent.instance)).await;
    says(&collector, &split.program.id, "the file has no code").await;
    assert_eq!(info(&collector, &split.program.id).await.state(), ObjectState::Wanted);
}

/// Check that files of other builds, and what is no file at all, are not believed: it is said so, the
/// next server is asked, and nobody else is hurt.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lie_are_not_believed() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let own = fs::read(std::env::current_exe().expect("known")).expect("read");
    for (lie, why) in [
        (Answer::File(own), "its build ID is"),
        (Answer::File(b"<html>not found</html>".to_vec()), "not an ELF file"),
        // That is the right program, and says nothing new.
        (Answer::File(split.stripped.clone()), "neither symbols nor debug information"),
        (Answer::Size(1 << 40), "--max-object"),
    ] {
        let fake = Fake::start(vec![lie]).await;
        let alone = collector(&[fake.url()]).await;
        deliver(&alone, &split).await;
        says(&alone, &split.program.id, why).await;
        assert!(top_function(&alone).await.0.starts_with("hot+0x"));
        assert_eq!((fake.requests(), count(&alone, "fetched").await), (1, 0));
        let wrong = count(&alone, "wrong").await + count(&alone, "too_large").await;
        assert_eq!(wrong, 1);

        let honest = Fake::start(vec![Answer::file(&split.debug)]).await;
        let both = collector(&[fake.url(), honest.url()]).await;
        deliver(&both, &split).await;
        lines(&both).await;
    }
}

/// Check that a file which no server has is asked for once, of each, and that people are told.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_server_has_is_asked_for_once() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let (first, second) =
        (Fake::start(vec![Answer::Absent]).await, Fake::start(vec![Answer::Absent]).await);
    let collector = collector(&[first.url(), second.url()]).await;
    deliver(&collector, &split).await;
    says(&collector, &split.program.id, "no server has it").await;
    let path = format!("/buildid/{}/debuginfo", split.program.id.build_id);
    assert_eq!((first.paths(), second.paths()), (vec![path.clone()], vec![path]));
    assert_eq!(count(&collector, "absent").await, 2);
}

/// Check that a server that fails in any way is asked again until it has recovered, and that ingest,
/// uploads and queries go on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_fail_are_asked_again() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let debug = Answer::file(&split.debug);
    let trouble = [Answer::Status(503), Answer::Hangup, Answer::Stall, Answer::Cut, Answer::Loop];
    let failures = trouble.len() as u64;
    let fake = Fake::start(trouble.into_iter().chain([debug]).collect()).await;
    let collector = Running::start_with(TempDir::new().expect("dir"), |config| {
        asking(&[fake.url()])(config);
        config.debuginfod.stall_timeout = Duration::from_millis(300);
    })
    .await;
    deliver(&collector, &split).await;
    lines(&collector).await;
    assert_eq!(count(&collector, "failed").await, failures);
    assert_eq!(count(&collector, "fetched").await, 1);
}

/// Check that a server which is not there is named, and asked as soon as it is.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_are_said_so() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let gone = Fake::start(vec![]).await.stop().await;
    let collector = collector(&[format!("http://{gone}")]).await;
    deliver(&collector, &split).await;
    says(&collector, &split.program.id, "127.0.0.1: ").await;
    assert!(top_function(&collector).await.0.starts_with("hot+0x"));
    let _back = Fake::start_at(gone, vec![Answer::file(&split.debug)]).await;
    lines(&collector).await;
}

/// Check that a redirect is followed, and that sizes which nobody announced are taken as they come.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_pieces_are_taken() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let target = Fake::start(vec![Answer::pieces(&split.debug)]).await;
    let first = Fake::start(vec![Answer::Elsewhere(target.url())]).await;
    let collector = collector(&[first.url()]).await;
    deliver(&collector, &split).await;
    lines(&collector).await;
    assert_eq!((first.requests(), target.requests()), (1, 1));
}

/// Check that without room for it nothing is fetched, that it is said why, and that the quota holds.
#[tokio::test(flavor = "multi_thread")]
async fn the_quota_holds_for_what_is_fetched() {
    let work = TempDir::new().expect("dir");
    let split = split(work.path());
    let answers = vec![Answer::file(&split.debug); 3];
    let fake = Fake::start(answers).await;
    let size = split.stripped.len() as u64;
    let collector = Running::start_with(TempDir::new().expect("dir"), |config| {
        asking(&[fake.url()])(config);
        config.objects.quota_bytes = size + 1000;
    })
    .await;
    deliver(&collector, &split).await;
    says(&collector, &split.program.id, "--object-quota").await;
    assert!(count(&collector, "no_room").await > 0);
    assert!(info(&collector, &split.program.id).await.bytes <= size);
}
