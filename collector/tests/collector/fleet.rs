//! Many agents that run the same binaries: each is uploaded and converted once, also when the collector
//! dies in between.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fleetprof_proto::{
    batch::{BatchBuilder, seal},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    v1::{
        self, Accounting, ListObjectsRequest, ObjectFormat, ObjectState, SealedBatch,
        UnresolvedReason, object_service_client::ObjectServiceClient,
        push_response::Message as Answer,
    },
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    crash::Process,
    objects,
    support::{self, Agent, window},
};

const AGENTS: usize = 200;
const OBJECTS: u16 = 500;

/// The same program with many build IDs.
pub(crate) struct Fleet {
    /// How many.
    objects: u16,
    bytes: Vec<u8>,
    /// Where its build ID is.
    at: usize,
    /// Uploads that were accepted as new, by object.
    pub(crate) accepted: Mutex<HashMap<ObjectId, u32>>,
    /// Uploads that were begun.
    pub(crate) begun: AtomicUsize,
}

// === impl Fleet ===

impl Fleet {
    pub(crate) fn new(dir: &Path, objects: u16) -> Arc<Self> {
        let program = objects::program(dir);
        let id = program.id.build_id.value().to_vec();
        let at = program.bytes.windows(id.len()).position(|bytes| bytes == id).expect("there");
        Arc::new(Self {
            objects,
            bytes: program.bytes,
            at,
            accepted: Mutex::default(),
            begun: AtomicUsize::default(),
        })
    }

    fn id(number: u16) -> ObjectId {
        let bytes = [number.to_be_bytes(); 10].concat();
        let build_id = BuildId::new(BuildIdKind::Gnu, &bytes).expect("valid");
        ObjectId { kind: ObjectKind::File, build_id }
    }

    fn bytes(&self, id: &ObjectId) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let value = id.build_id.value();
        bytes[self.at..self.at + value.len()].copy_from_slice(value);
        bytes
    }

    /// A batch that hits all objects, in an order of its own.
    fn batch(&self, instance: InstanceId, sequence: u64, first: u16) -> SealedBatch {
        let mut builder = BatchBuilder::new();
        let origin = builder.origin([("service", "fleet")]);
        for number in 0..self.objects {
            let number = (number + first) % self.objects;
            let build_id = Self::id(number).build_id;
            let object = builder.object(ObjectKind::File, Some(&build_id), "/bin/hot");
            let frame = builder.frame(object, 0x1000, UnresolvedReason::Unspecified);
            let stack = builder.stack([frame]);
            builder.add(origin, stack, 0, 1, u64::from(self.objects - number));
        }
        let batch = builder.finish(window(sequence), [], Accounting::default());
        seal(BatchId { instance, sequence }, &batch).expect("sealed")
    }

    /// One agent: delivers, uploads what it is asked for, and connects again when it has to, until told
    /// to stop.
    pub(crate) async fn agent(
        self: Arc<Self>,
        number: usize,
        url: watch::Receiver<String>,
        stop: watch::Receiver<bool>,
    ) {
        let instance = InstanceId::random();
        let mut sequence = 0;
        while !*stop.borrow() {
            let url = url.borrow().clone();
            if let Ok(mut agent) = Agent::connect(&url, instance).await {
                while !*stop.borrow() && self.round(&mut agent, &url, &mut sequence, number).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Answers whether the connection is still there.
    async fn round(&self, agent: &mut Agent, url: &str, sequence: &mut u64, number: usize) -> bool {
        *sequence += 1;
        let first = (number * 7) as u16 % self.objects;
        if !agent.push(self.batch(agent.instance, *sequence, first)).await {
            return false;
        }
        // The request for objects, if there is one, follows the acknowledgement at once.
        loop {
            let waiting = tokio::time::timeout(Duration::from_millis(200), agent.answers.message());
            match waiting.await {
                Err(_) => return true,
                Ok(Ok(Some(answer))) => match answer.message.expect("known") {
                    Answer::WantObjects(wanted) => self.upload(url, &wanted.objects).await,
                    Answer::Ack(_) | Answer::Welcome(_) | Answer::Busy(_) => {}
                    Answer::Reject(reject) => panic!("{reject:?}"),
                },
                Ok(Ok(None) | Err(_)) => return false,
            }
        }
    }

    async fn upload(&self, url: &str, wanted: &[v1::ObjectId]) {
        for id in wanted {
            let id = ObjectId::try_from(id).expect("valid");
            let bytes = self.bytes(&id);
            let header = objects::header(&id, ObjectFormat::Elf, bytes.len());
            self.begun.fetch_add(1, Ordering::Relaxed);
            // What fails is asked for again.
            match objects::upload(url, header, &bytes).await {
                Ok(answer) if !answer.duplicate => {
                    *self.accepted.lock().expect("no panic").entry(id).or_default() += 1;
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().expect("no panic").len()
    }
}

/// How many objects are in a state, and how many in all.
pub(crate) async fn count(url: &str, state: ObjectState) -> u64 {
    let mut client = ObjectServiceClient::connect(url.to_owned()).await.expect("connects");
    let request = ListObjectsRequest { states: vec![state.into()], limit: 1 };
    client.list(request).await.expect("answered").into_inner().total
}

fn conversions(url: &str) -> usize {
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let text = support::get(address, "/metrics").text();
    let line = "fleetprof_collector_conversions_total{result=\"table\"} ";
    let count = text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok());
    count.unwrap_or(0)
}

/// Check that 200 agents which announce the same 500 objects at the same time upload each once, that it
/// is converted once, and that a collector killed in the middle, which its agents find again at another
/// address, neither loses nor repeats what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_fleet_are_uploaded_and_converted_once() {
    let work = TempDir::new().expect("dir");
    let data = work.path().join("data");
    let fleet = Fleet::new(work.path(), OBJECTS);
    let process = Process::start_with(&data, &[]);
    let (told, url) = watch::channel(process.url.clone());
    let (stop, stopped) = watch::channel(false);
    let agents: Vec<_> = (0..AGENTS)
        .map(|number| tokio::spawn(fleet.clone().agent(number, url.clone(), stopped.clone())))
        .collect();
    while fleet.accepted() < usize::from(OBJECTS) / 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.kill();
    let tables = fs::read_dir(data.join("objects")).expect("listed").filter(|entry| {
        let path = entry.as_ref().expect("entry").path();
        path.extension().is_some_and(|extension| extension == "symtab")
    });
    let tables = tables.count();

    let process = Process::start_with(&data, &[]);
    told.send(process.url.clone()).expect("agents listen");
    let done = tokio::time::timeout(Duration::from_secs(300), async {
        while count(&process.url, ObjectState::Ready).await < u64::from(OBJECTS) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    done.await.expect("all are there and converted");
    stop.send(true).expect("agents listen");
    for agent in agents {
        agent.await.expect("no panic");
    }
    let repeated: Vec<_> = fleet
        .accepted
        .lock()
        .expect("no panic")
        .clone()
        .into_iter()
        .filter(|(_, n)| *n > 1)
        .collect();
    assert_eq!(repeated, [], "uploaded more than once");
    // Each agent may have had one under way when the collector died.
    let begun = fleet.begun.load(Ordering::Relaxed);
    assert!(begun <= usize::from(OBJECTS) + AGENTS, "{begun} uploads");
    assert_eq!(conversions(&process.url) + tables, usize::from(OBJECTS));
    assert_eq!(count(&process.url, ObjectState::Wanted).await, 0);
    assert_eq!(process.terminate().0, Some(0));
}
