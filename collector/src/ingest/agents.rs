//! Which agents are connected. Pure bookkeeping.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fleetprof_proto::ids::InstanceId;

use crate::clock;

/// Disconnected instances that are remembered: they are only shown, storage knows more of them.
const MAX_DISCONNECTED: usize = 10_000;

/// All agents that were connected since the start of this process.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    by_instance: Arc<Mutex<HashMap<InstanceId, AgentRecord>>>,
}

/// One start of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentRecord {
    /// As it says.
    pub host: String,
    /// As it says.
    pub version: String,
    /// When it last sent something, Unix nanoseconds.
    pub last_seen_unix_nanos: i64,
    /// Open streams: 0 or 1, for a moment 2 when it reconnects.
    pub streams: u32,
}

/// A connected agent; dropping it disconnects.
#[derive(Debug)]
pub(super) struct Connection {
    agents: Agents,
    pub instance: InstanceId,
}

// === impl Agents ===

impl Agents {
    pub(super) fn connect(&self, instance: InstanceId, host: &str, version: &str) -> Connection {
        let mut agents = self.lock();
        let agent = agents.entry(instance).or_default();
        host.clone_into(&mut agent.host);
        version.clone_into(&mut agent.version);
        agent.last_seen_unix_nanos = clock::unix_nanos();
        agent.streams += 1;
        Connection { agents: self.clone(), instance }
    }

    /// Everything that is known.
    pub fn all(&self) -> HashMap<InstanceId, AgentRecord> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, AgentRecord>> {
        self.by_instance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Connection ===

impl Connection {
    /// Notes that the agent sent something.
    pub(super) fn seen(&self) {
        if let Some(agent) = self.agents.lock().get_mut(&self.instance) {
            agent.last_seen_unix_nanos = clock::unix_nanos();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut agents = self.agents.lock();
        if let Some(agent) = agents.get_mut(&self.instance) {
            agent.streams = agent.streams.saturating_sub(1);
        }
        if agents.len() > MAX_DISCONNECTED {
            let gone = agents.iter().filter(|(_, agent)| agent.streams == 0);
            let oldest = gone.min_by_key(|(_, agent)| agent.last_seen_unix_nanos);
            if let Some(oldest) = oldest.map(|(instance, _)| *instance) {
                agents.remove(&oldest);
            }
        }
    }
}
