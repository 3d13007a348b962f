//! The collector's process dies at any moment; what it acknowledged is there, once.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use fleetprof_proto::{
    ids::InstanceId,
    v1::{
        ObjectFormat, ServicesRequest, StatusRequest, TopRequest, push_response::Message as Answer,
        query_service_client::QueryServiceClient,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    objects,
    support::{Agent, all, sealed},
};

/// A collector in a process of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    /// Reads the log to its end, which comes when the last of its processes ends.
    log: Option<JoinHandle<Vec<String>>>,
}

// === impl Process ===

impl Process {
    fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    pub(crate) fn start_with(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetprof-collector"));
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]);
        let child = command.arg(data_dir).args(arguments).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("started");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = log.by_ref().find_map(|line| {
            let line = line.expect("text");
            let start = line.find("\"address\":\"")? + "\"address\":\"".len();
            line[start..].split('"').next().map(str::to_owned)
        });
        let address = address.expect("it says where it listens before it ends");
        // A full pipe would stop it.
        let log = std::thread::spawn(move || log.map(|line| line.expect("text")).collect());
        Self { child, url: format!("http://{address}"), log: Some(log) }
    }

    /// Tells it to end; answers its exit code and what it logged since it listened.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("signalled");
        let code = self.child.wait().expect("ended").code();
        (code, self.log.take().expect("read once").join().expect("read"))
    }

    /// Most memory it has had, bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a number") * 1024
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Process {
    /// A test that fails leaves nobody behind who keeps its output open.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Check that a collector killed while batches stream in has, after its restart, every batch that it
/// acknowledged, and after all resends every batch exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_batches_survive_sigkill() {
    const BATCHES: u64 = 240;
    const ROUNDS: u64 = 6;
    let dir = TempDir::new().expect("dir");
    let instance = InstanceId::random();
    let mut acked = BTreeSet::new();
    for round in 1..=ROUNDS {
        let process = Process::start(dir.path());
        let before = stored_samples(&process).await;
        assert!(before >= acked.len() as u64 * 40, "round {round}: {before} of {}", acked.len());
        let mut agent = Agent::connect(&process.url, instance).await.expect("connects");
        // Everything that is not acknowledged, without waiting; the last round is not cut short.
        let goal = if round == ROUNDS { BATCHES } else { BATCHES * round / ROUNDS };
        let mut unacked = (1..=BATCHES).filter(|s| !acked.contains(s)).collect::<Vec<_>>();
        unacked.reverse();
        while (acked.len() as u64) < goal {
            if let Some(sequence) = unacked.pop() {
                agent.push(sealed(instance, sequence)).await;
            }
            // Reads what is there; waits only when there is nothing left to send.
            while (acked.len() as u64) < goal {
                let answer = tokio::select! {
                    biased;
                    answer = agent.answers.message() => answer.expect("open").expect("open"),
                    () = std::future::ready(()), if !unacked.is_empty() => break,
                };
                match answer.message.expect("known") {
                    Answer::Ack(ack) => assert!(acked.insert(ack.sequence), "acknowledged once"),
                    Answer::Reject(reject) => panic!("{reject:?}"),
                    Answer::WantObjects(_) | Answer::Welcome(_) | Answer::Busy(_) => {}
                }
            }
        }
        process.kill();
    }

    let process = Process::start(dir.path());
    let mut queries = QueryServiceClient::connect(process.url.clone()).await.expect("connects");
    let answer = queries.services(ServicesRequest { query: all("") }).await.expect("answered");
    let coverage = answer.into_inner().coverage.expect("there");
    assert_eq!((coverage.batches, coverage.samples), (BATCHES, BATCHES * 40));
    assert_eq!(coverage.damaged, Vec::<String>::new());
    assert_eq!(stored_samples(&process).await, BATCHES * 40);
    process.kill();
}

/// Check that the binary names code through its worker processes, and ends in order on SIGTERM while
/// an agent is connected.
#[tokio::test(flavor = "multi_thread")]
async fn the_binary_names_code_and_ends_on_sigterm() {
    let work = TempDir::new().expect("dir");
    let program = objects::program(work.path());
    let process = Process::start(&work.path().join("data"));
    let mut agent = Agent::connect(&process.url, InstanceId::random()).await.expect("connects");
    agent.deliver(program.batch(agent.instance)).await;
    let header = objects::header(&program.id, ObjectFormat::Elf, program.bytes.len());
    objects::upload(&process.url, header, &program.bytes).await.expect("kept");
    let mut queries = QueryServiceClient::connect(process.url.clone()).await.expect("connects");
    let request = TopRequest { query: all(""), ..Default::default() };
    let answer = queries.top(request).await.expect("answered").into_inner();
    assert_eq!(answer.functions[0].function, "hot_loop");
    assert_eq!(process.terminate().0, Some(0));
}

async fn stored_samples(process: &Process) -> u64 {
    let mut queries = QueryServiceClient::connect(process.url.clone()).await.expect("connects");
    let status = queries.status(StatusRequest {}).await.expect("answered").into_inner();
    let store = status.store.expect("there");
    assert_eq!(store.damaged, Vec::<String>::new());
    assert_eq!(status.agents.iter().map(|a| a.stored_samples).sum::<u64>(), store.samples);
    store.samples
}
