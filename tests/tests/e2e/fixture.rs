//! A place for a collector and an agent, and the books of both compared at the end.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use fleetprof_proto::v1;
use fleetprof_tests::{
    agent::{Agent, Options},
    collector::Collector,
    grpc::Grpc,
    machine::{self, unix_nanos},
    pprof::Profile,
    wait,
};

/// Longest wait for something that takes a moment on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A temporary folder, a port, and the time when it began.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    port: u16,
    began: i64,
}

/// What the store holds, seen from two sides that must agree.
pub(crate) struct Books {
    /// As the collector's status tells it.
    pub(crate) status: v1::StatusResponse,
    /// What was selected, downloaded.
    pub(crate) profile: Profile,
}

// === impl Lab ===

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { dir, port: machine::free_port(), began: unix_nanos() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the collector, also after it was killed: same port, same data.
    pub(crate) fn collector(&self) -> Collector {
        Collector::start_at(self.port, self.path())
    }

    /// An agent for this lab's collector, whether it runs or not.
    pub(crate) fn options(&self) -> Options {
        Options::new(&format!("http://127.0.0.1:{}", self.port), self.path())
    }

    /// The same without uploads: for tests that count samples and need no names.
    pub(crate) fn nameless(&self) -> Options {
        self.options().without_uploads()
    }

    /// What a selector matches of everything since the lab was made; an empty one matches all.
    pub(crate) fn ever(&self, selector: &str) -> v1::Query {
        v1::Query {
            start_unix_nanos: self.began - 60_000_000_000,
            end_unix_nanos: unix_nanos() + 60_000_000_000,
            selector: selector.to_owned(),
        }
    }

    /// Reads the books, with a profile of what a selector matches; checks that the store's total, the
    /// agents' parts of it, the services' sum and the profile agree.
    pub(crate) fn books(&self, selector: &str) -> Books {
        let grpc = Grpc::connect(self.port);
        let status = grpc.status();
        let store = status.store.as_ref().expect("a store");
        assert!(store.damaged.is_empty(), "damaged: {:?}", store.damaged);
        let by_agent: u64 = status.agents.iter().map(|agent| agent.stored_samples).sum();
        assert_eq!(store.samples, by_agent, "the store and its agents differ: {status:#?}");
        let samples = |selector: &str| -> u64 {
            let answer = grpc.services(self.ever(selector)).expect("the services");
            answer.services.iter().map(|service| service.samples).sum()
        };
        assert_eq!(store.samples, samples(""), "status and services differ");
        let bytes = grpc.profile(self.ever(selector)).expect("a profile");
        let profile = Profile::read(&bytes);
        assert_eq!(profile.count(), samples(selector), "profile and services differ");
        Books { status, profile }
    }
}

// === impl Books ===

impl Books {
    /// The agents, by the time they were last seen.
    pub(crate) fn agents(&self) -> Vec<&v1::AgentStatus> {
        let mut agents: Vec<_> = self.status.agents.iter().collect();
        agents.sort_by_key(|agent| agent.last_seen_unix_nanos);
        agents
    }

    /// Samples in the store.
    pub(crate) fn samples(&self) -> u64 {
        self.status.store.as_ref().map_or(0, |store| store.samples)
    }

    /// Checks that agents which ended cleanly have in the store what they took and did not drop.
    /// Gives the samples dropped in all.
    pub(crate) fn check_complete(&self) -> u64 {
        let agents = self.agents();
        assert!(!agents.is_empty(), "the collector knows no agent");
        let dropped = agents.iter().map(|agent| check_agent(agent));
        dropped.sum()
    }
}

fn check_agent(agent: &v1::AgentStatus) -> u64 {
    let accounting = agent.accounting.as_ref().expect("an agent has an accounting");
    let dropped: u64 = accounting.dropped.iter().map(|reason| reason.value).sum();
    println!(
        "{}: taken {}, dropped {dropped}, stored {}",
        agent.instance, accounting.taken, agent.stored_samples
    );
    assert_eq!(
        agent.stored_samples,
        accounting.taken - dropped,
        "what {} took and did not drop is not what is stored: {agent:#?}",
        agent.instance
    );
    assert_eq!(
        accounting.taken,
        accounting.delivered + dropped + accounting.pending,
        "the last accounting does not balance: {agent:#?}"
    );
    dropped
}

/// Waits until the agent has delivered so many samples more; every look checks its ledger.
pub(crate) fn deliver(agent: &mut Agent, more: u64) -> u64 {
    let goal = agent.ledger().delivered + more;
    agent.wait_ledger("samples to be delivered", SOON, |ledger| ledger.delivered >= goal).delivered
}

/// Lets time pass while the agent works; every look checks its ledger.
pub(crate) fn watch(agent: &mut Agent, span: Duration) {
    let looked = wait::within(span, || {
        agent.ledger();
        None::<()>
    });
    assert!(looked.is_none(), "nothing ends the watch early");
}

/// A web server that knows nothing of gRPC; gives its port.
pub(crate) fn other_server() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            // A client that leaves early is none of this server's business.
            let _ = stream.read(&mut request);
            let _ = stream.write_all(
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n",
            );
            let _ = stream.shutdown(Shutdown::Write);
            // Until the client is done, so that it sees the answer and no reset.
            while stream.read(&mut request).is_ok_and(|n| n > 0) {}
        }
    });
    port
}
