//! A fleet of collectors and what they share, each of which can be killed and comes back.

use std::{path::PathBuf, time::Duration};

use fleetprof_tests::{
    collector::{Collector, Setup},
    grpc::Grpc,
    http, machine,
    servers::{Postgres, Seaweed},
    sim::Usage,
    wait,
};
use tempfile::TempDir;

/// How long the start of all collectors may take.
const START: Duration = Duration::from_secs(60);
/// How long the last answers may take to be right: a collector may have come up a moment ago.
const SETTLE: Duration = Duration::from_secs(30);

/// What collectors keep their data in.
#[derive(Debug)]
pub(crate) enum Backing {
    /// A folder, of one collector.
    Folder,
    /// An object store and a catalog, of any number.
    Shared { store: Box<Seaweed>, catalog: Box<Postgres> },
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Stack {
    slots: Vec<Slot>,
    setup: Setup,
    backing: Backing,
    // Last: it goes when everybody has ended.
    _dir: TempDir,
}

/// A place for a collector, whether one runs or not.
#[derive(Debug)]
struct Slot {
    port: u16,
    dir: PathBuf,
    collector: Option<Collector>,
}

/// How a collector is told where its data is: the only place that knows.
fn setup(backing: &Backing) -> Setup {
    match backing {
        Backing::Folder => Setup::default(),
        Backing::Shared { store, catalog } => Setup {
            arguments: ["--store", &store.url("fleet"), "--catalog", &catalog.url()]
                .map(str::to_owned)
                .to_vec(),
            environment: store.environment().to_vec(),
        },
    }
}

// === impl Stack ===

impl Stack {
    /// One collector and its folder.
    pub(crate) fn single() -> Self {
        Self::new(tempfile::tempdir().expect("a temporary folder"), Backing::Folder, 1)
    }

    /// Collectors that share a store and a catalog.
    pub(crate) fn shared(collectors: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = dir.path().join("store");
        std::fs::create_dir(&store).expect("a folder for the store");
        let store = Box::new(Seaweed::start(&store));
        let backing = Backing::Shared { store, catalog: Box::new(Postgres::start()) };
        Self::new(dir, backing, collectors)
    }

    fn new(dir: TempDir, backing: Backing, collectors: usize) -> Self {
        let slots = (0..collectors).map(|number| {
            let dir = dir.path().join(format!("collector-{number}"));
            std::fs::create_dir(&dir).expect("a folder for a collector");
            Slot { port: machine::free_port(), dir, collector: None }
        });
        let mut stack = Self { slots: slots.collect(), setup: setup(&backing), backing, _dir: dir };
        (0..collectors).for_each(|number| stack.launch(number));
        stack.wait_ready();
        stack
    }

    /// Addresses of all collectors.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.slots.iter().map(|slot| format!("http://127.0.0.1:{}", slot.port)).collect()
    }

    /// Ports of all collectors.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.slots.iter().map(|slot| slot.port).collect()
    }

    /// How many agents each collector has.
    pub(crate) fn agents(&self) -> Vec<u64> {
        (0..self.slots.len()).map(|slot| self.metric(slot, "fleetprof_collector_streams")).collect()
    }

    /// Names of the functions that a collector has seen since then.
    pub(crate) fn functions(&self, number: usize, from_unix_nanos: i64) -> Vec<String> {
        let query = fleetprof_proto::v1::Query {
            start_unix_nanos: from_unix_nanos,
            end_unix_nanos: machine::unix_nanos(),
            selector: String::new(),
        };
        let answer = Grpc::connect(self.slots[number].port).top(query);
        let functions = answer.expect("the collector answers").functions;
        functions.into_iter().map(|function| function.function).collect()
    }

    /// How many collectors there are.
    pub(crate) fn collectors(&self) -> usize {
        self.slots.len()
    }

    /// SIGKILL for a collector.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(collector) = self.slots[number].collector.take() {
            collector.kill();
        }
    }

    /// SIGKILL for a collector, whose host is never seen again, nor is what it kept there.
    pub(crate) fn lose(&mut self, number: usize) {
        self.kill(number);
        let dir = &self.slots[number].dir;
        std::fs::remove_dir_all(dir).expect("its folder goes");
        std::fs::create_dir(dir).expect("a folder for its successor");
    }

    /// A metric of a collector, 0 while it has no value.
    pub(crate) fn metric(&self, number: usize, sample: &str) -> u64 {
        let collector = self.slots[number].collector.as_ref().expect("it runs");
        collector.metrics().value(sample).unwrap_or(0)
    }

    /// Starts a collector that was killed; does not wait.
    pub(crate) fn launch(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        slot.collector = Some(Collector::launch_with(slot.port, &slot.dir, &self.setup));
    }

    /// Starts again those that ended by themselves, as whoever runs them would: a collector that cannot reach
    /// its catalog when it starts may give up. Gives their number.
    pub(crate) fn supervise(&mut self) -> u32 {
        let mut ended = 0;
        for number in 0..self.slots.len() {
            let collector = self.slots[number].collector.as_mut();
            if collector.is_some_and(|collector| collector.process().ended().is_some()) {
                self.launch(number);
                ended += 1;
            }
        }
        ended
    }

    /// Crash of the object store and its next start; nothing where there is none.
    pub(crate) fn crash_store(&mut self) -> bool {
        let Backing::Shared { store, .. } = &mut self.backing else { return false };
        store.kill();
        store.launch();
        true
    }

    /// Crash of the catalog and its next start; nothing where there is none.
    pub(crate) fn crash_catalog(&mut self) -> bool {
        let Backing::Shared { catalog, .. } = &mut self.backing else { return false };
        catalog.kill();
        catalog.launch();
        true
    }

    /// Starts everything that is missing, and waits until all of it is there.
    pub(crate) fn wait_ready(&mut self) {
        if let Backing::Shared { store, catalog } = &mut self.backing {
            store.wait_ready();
            catalog.wait_ready();
        }
        for number in 0..self.slots.len() {
            if self.slots[number].collector.is_none() {
                self.launch(number);
            }
        }
        // One that began while its catalog was away may still give up.
        wait::until("every collector to be ready", START, || {
            self.supervise();
            let is_ready = |slot: &Slot| http::status(slot.port, "/readyz") == Some(200);
            self.slots.iter().all(is_ready).then_some(())
        });
    }

    /// What the first collector says it holds, by the name of the service.
    pub(crate) fn held(&self, from_unix_nanos: i64) -> Vec<(String, Usage)> {
        held(self.slots[0].port, from_unix_nanos)
    }

    /// Checks that every collector answers exactly this, and that none has panicked on the way.
    ///
    /// # Panics
    /// When not.
    pub(crate) fn check_holds(&mut self, expected: &[(String, Usage)], from_unix_nanos: i64) {
        for slot in &mut self.slots {
            let mut answer = Vec::new();
            wait::within(SETTLE, || {
                answer = held(slot.port, from_unix_nanos);
                (answer == expected).then_some(())
            });
            assert_eq!(
                answer, expected,
                "collector on port {}: not what was acknowledged",
                slot.port
            );
            let collector = slot.collector.as_mut().expect("all are there");
            collector.check_unharmed();
        }
    }
}

/// What a collector says it holds, by the name of the service.
fn held(port: u16, from_unix_nanos: i64) -> Vec<(String, Usage)> {
    const HOUR: i64 = 3_600_000_000_000;
    let query = fleetprof_proto::v1::Query {
        start_unix_nanos: from_unix_nanos - HOUR,
        end_unix_nanos: machine::unix_nanos() + HOUR,
        selector: String::new(),
    };
    let answer = Grpc::connect(port).services(query).expect("the collector answers");
    let usage = |service: fleetprof_proto::v1::ServiceUsage| {
        (service.service, Usage { samples: service.samples, nanos: service.cpu_nanos })
    };
    let mut services: Vec<_> = answer.services.into_iter().map(usage).collect();
    services.sort_by(|(a, _), (b, _)| a.cmp(b));
    services
}
