//! `/metrics` and `/healthz` of a committer that runs all the time.
//!
//! In: what each round did. Out: text in the OpenMetrics format, over HTTP on one address.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tracing::{error, info};

use crate::{
    error::PublishError,
    publish::Round,
    tables::{Change, TableName},
};

/// Media type of the text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a round may take before the committer counts as stuck.
const STUCK: Duration = Duration::from_secs(15 * 60);

/// What is counted. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    rounds: Family<ResultLabel, Counter>,
    round_seconds: Histogram,
    published: Gauge<f64, AtomicU64>,
    added: Family<TableLabel, Counter>,
    removed: Family<TableLabel, Counter>,
    files: Family<TableLabel, Gauge>,
    left_out: Family<TableLabel, Gauge>,
    versions: Family<TableLabel, Gauge>,
    /// When the last round ended, or the first began, and the time between two.
    turning: Arc<Mutex<(Instant, Duration)>>,
}

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct MetricsServer(JoinHandle<()>);

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot serve metrics on {address}: {error}; choose another address with --metrics-listen")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said; it is part of the text.
    pub error: io::Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: String,
}

// === impl Metrics ===

impl Metrics {
    /// Of a committer that makes a round `every` so often.
    pub fn new(every: Duration) -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            rounds: Family::default(),
            // 10 ms to 11 minutes.
            round_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 17)),
            published: Gauge::default(),
            added: Family::default(),
            removed: Family::default(),
            files: Family::default(),
            left_out: Family::default(),
            versions: Family::default(),
            turning: Arc::new(Mutex::new((Instant::now(), every))),
        };
        metrics.registry = Arc::new(metrics.registry());
        metrics
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("fleetprof_iceberg");
        registry.register(
            "rounds",
            "Rounds, by how they ended: done, busy (another committer is at it), failed (the log says why)",
            self.rounds.clone(),
        );
        registry.register_with_unit(
            "round",
            "Time of a round in which this committer was at it",
            Unit::Seconds,
            self.round_seconds.clone(),
        );
        registry.register_with_unit(
            "published_timestamp",
            "When this committer last left all tables as they should be, Unix time; 0: not since its start",
            Unit::Seconds,
            self.published.clone(),
        );
        let mut tables = |name, help, family: &Family<TableLabel, Gauge>| {
            registry.register(name, help, family.clone());
        };
        tables("table_files", "Files that a table names", &self.files);
        tables("table_left_out", "Live files that it cannot name: damaged", &self.left_out);
        tables("table_version", "Version of a table", &self.versions);
        registry.register("files_added", "Files that tables name since", self.added.clone());
        registry.register("files_removed", "Files they no longer name", self.removed.clone());
        registry
    }

    /// Counts a round that took `took`.
    pub fn round(&self, result: &Result<Round, PublishError>, took: Duration) {
        let word = match result {
            Ok(Round::Done(_)) => "done",
            Ok(Round::Busy) => "busy",
            Err(_) => "failed",
        };
        self.rounds.get_or_create(&ResultLabel { result: word }).inc();
        self.turning.lock().unwrap_or_else(PoisonError::into_inner).0 = Instant::now();
        if !matches!(result, Ok(Round::Busy)) {
            self.round_seconds.observe(took.as_secs_f64());
        }
        if let Ok(Round::Done(changes)) = result {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.published.set(now.as_secs_f64());
            changes.iter().for_each(|(table, change)| self.change(*table, *change));
        }
    }

    fn change(&self, table: TableName, change: Change) {
        let Change { version, added, removed, files, left_out, .. } = change;
        let label = TableLabel { table: table.to_string() };
        self.added.get_or_create(&label).inc_by(added as u64);
        self.removed.get_or_create(&label).inc_by(removed as u64);
        let set = |family: &Family<TableLabel, Gauge>, value: u64| {
            family.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.files, files as u64);
        set(&self.left_out, left_out as u64);
        set(&self.versions, version);
    }

    /// What is wrong, if rounds do not end. That they fail is not for a restart to mend.
    fn stuck(&self, now: Instant) -> Option<String> {
        let (last, every) = *self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = now.saturating_duration_since(last);
        (silent > every.saturating_add(STUCK))
            .then(|| format!("no round has ended for {} s", silent.as_secs()))
    }

    /// Serves them until the server is dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, most likely because another process does.
    pub async fn serve(self, address: SocketAddr) -> Result<MetricsServer, ListenError> {
        let listen = |error| ListenError { address, error };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let router = Router::new()
            .route("/metrics", get(show))
            .route("/healthz", get(health))
            .with_state(self);
        info!(%address, "serving metrics");
        Ok(MetricsServer(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!(%error, "metrics server failed");
            }
        })))
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn show(State(metrics): State<Metrics>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &metrics.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], body).into_response(),
        Err(std::fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn health(State(metrics): State<Metrics>) -> Response {
    match metrics.stuck(Instant::now()) {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that rounds that fail are no reason to restart, and rounds that do not end are.
    #[test]
    fn stuck_is_who_ends_no_round() {
        let every = Duration::from_secs(60);
        let metrics = Metrics::new(every);
        let later = |after: Duration| metrics.stuck(Instant::now() + after);
        assert_eq!(later(STUCK), None);
        let why = later(every + STUCK + Duration::from_secs(1)).expect("stuck");
        assert!(why.starts_with("no round has ended for 96"), "{why}");
        metrics.round(&Err(PublishError::LeaseLost), Duration::ZERO);
        assert_eq!(later(every), None);
    }
}
