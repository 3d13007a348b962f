//! The state of the collector and of its agents.

use std::collections::BTreeMap;

use fleetprof_proto::v1;
use fleetprof_store::{FileRow, Instance};
use tokio_util::sync::CancellationToken;

use super::{QueryError, QueryParts, reader};

/// Starts of agents that are listed: more than any fleet has at a time.
const MAX_INSTANCES: u32 = 100_000;

pub(super) fn run(
    parts: &QueryParts,
    cancel: &CancellationToken,
) -> Result<v1::StatusResponse, QueryError> {
    let store = reader::wait(parts, cancel, parts.store.status())?;
    let instances = reader::wait(parts, cancel, parts.store.latest_instances(MAX_INSTANCES))?;
    let damaged = reader::wait(parts, cancel, parts.store.damaged())?;
    let objects = parts.catalog.status();
    Ok(v1::StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_unix_nanos: parts.start_unix_nanos,
        store: Some(v1::StoreStatus {
            batches: store.batches,
            samples: store.samples,
            bytes: store.bytes,
            first_unix_nanos: store.window.map_or(0, |window| window.0),
            last_unix_nanos: store.window.map_or(0, |window| window.1),
            damaged: damaged.iter().filter_map(FileRow::damage).collect(),
        }),
        agents: agents(parts, instances),
        objects: Some(v1::ObjectsStatus {
            stored: objects.stored,
            wanted: parts.wants.len() as u64,
            bytes: objects.bytes,
            waiting: objects.waiting,
            failed: objects.failed,
        }),
    })
}

/// What the store knows of every instance, and what the connection adds. Most recently seen first.
fn agents(parts: &QueryParts, instances: Vec<Instance>) -> Vec<v1::AgentStatus> {
    let stored = instances.into_iter().map(|stored| {
        let agent = v1::AgentStatus {
            host: stored.host,
            instance: stored.instance.to_string(),
            version: stored.agent_version,
            last_seen_unix_nanos: stored.window.1,
            connected: false,
            accounting: Some(stored.accounting),
            stored_samples: stored.samples,
            unaccounted_samples: None,
        };
        (stored.instance, agent)
    });
    let mut agents: BTreeMap<_, _> = stored.collect();
    for (instance, record) in parts.agents.all() {
        let agent = agents.entry(instance).or_insert_with(|| v1::AgentStatus {
            instance: instance.to_string(),
            ..v1::AgentStatus::default()
        });
        agent.connected = record.streams > 0;
        agent.last_seen_unix_nanos = record.last_seen_unix_nanos;
        agent.host = record.host;
        agent.version = record.version;
    }
    let mut agents: Vec<_> = agents.into_values().collect();
    for agent in agents.iter_mut().filter(|agent| !agent.connected) {
        agent.unaccounted_samples = agent.accounting.as_ref().map(|accounting| {
            let dropped = accounting.dropped.iter().map(|counter| counter.value);
            dropped.fold(accounting.taken, u64::saturating_sub).saturating_sub(agent.stored_samples)
        });
    }
    agents.sort_by_key(|agent| std::cmp::Reverse((agent.connected, agent.last_seen_unix_nanos)));
    agents
}
