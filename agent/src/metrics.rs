//! `/metrics` in the OpenMetrics text format and `/healthz`, over HTTP on one address.
//!
//! In: the [`Ledger`] and closures for what other parts own. Out: text, made anew at every scrape
//! from one snapshot of the ledger, so that taken = delivered + dropped + pending holds on every
//! scrape. It keeps no numbers of its own.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use axum::{
    Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tracing::{error, info};

use crate::{
    accounting::{KernelCounts, Ledger},
    stream::DeliveryStatus,
};

mod agent;
mod process;

use agent::AgentCollector;
use process::ProcessCollector;

/// Media type of the text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads one value of a metric that another part owns.
type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What is shown. Made with [`Metrics::new`], completed by the parts, then [served](serve).
pub struct Metrics {
    ledger: Arc<Ledger>,
    kernel: Read<Option<KernelCounts>>,
    delivery: Option<Read<DeliveryStatus>>,
    extras: Vec<Extra>,
    health: Read<Result<(), String>>,
}

/// A metric that another part owns.
struct Extra {
    name: &'static str,
    help: &'static str,
    read: ExtraRead,
}

enum ExtraRead {
    Counter(Read<u64>),
    Counters(&'static str, Read<Vec<(String, u64)>>),
    Gauge(Read<f64>),
    Gauges(&'static str, Read<Vec<(String, u64)>>),
    Info(Vec<(&'static str, String)>),
}

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot serve metrics on {address}: {error}; {}", remedy(error))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said; it is part of the text.
    pub error: io::Error,
}

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// What a request works with.
struct App {
    registry: Registry,
    health: Read<Result<(), String>>,
}

// === impl Metrics ===

impl Metrics {
    /// The ledger's metrics, those of the process and of the build.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            kernel: Box::new(|| None),
            delivery: None,
            extras: Vec::new(),
            health: Box::new(|| Ok(())),
        }
    }

    /// Reads fresh kernel counters at every scrape; `None` keeps those the ledger has. It is called
    /// while the ledger is locked, so it must not use the ledger.
    #[must_use]
    pub fn kernel(
        mut self,
        read: impl Fn() -> Option<KernelCounts> + Send + Sync + 'static,
    ) -> Self {
        self.kernel = Box::new(read);
        self
    }

    /// Adds the delivery's metrics.
    #[must_use]
    pub fn delivery(mut self, read: impl Fn() -> DeliveryStatus + Send + Sync + 'static) -> Self {
        self.delivery = Some(Box::new(read));
        self
    }

    /// Whether the agent does its work, `Err` with what is wrong otherwise. A collector that is away
    /// is not the agent's fault: restarting the agent would not help.
    #[must_use]
    pub fn health(mut self, read: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.health = Box::new(read);
        self
    }

    /// Adds a counter; `name` without the prefix `fleetprof_agent_` and the suffix `_total`.
    #[must_use]
    pub fn counter(
        self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.extra(name, help, ExtraRead::Counter(Box::new(read)))
    }

    /// Adds a family of counters that differ in one label.
    #[must_use]
    pub fn counters(
        self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static,
    ) -> Self {
        self.extra(name, help, ExtraRead::Counters(label, Box::new(read)))
    }

    /// Adds a gauge; `name` without the prefix.
    #[must_use]
    pub fn gauge(
        self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.extra(name, help, ExtraRead::Gauge(Box::new(read)))
    }

    /// Adds a family of gauges that differ in one label.
    #[must_use]
    pub fn gauges(
        self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static,
    ) -> Self {
        self.extra(name, help, ExtraRead::Gauges(label, Box::new(read)))
    }

    /// Adds facts that do not change, as labels of `NAME_info`.
    #[must_use]
    pub fn info(
        self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
    ) -> Self {
        self.extra(name, help, ExtraRead::Info(labels))
    }

    fn extra(mut self, name: &'static str, help: &'static str, read: ExtraRead) -> Self {
        self.extras.push(Extra { name, help, read });
        self
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extras: Vec<_> = self.extras.iter().map(|extra| extra.name).collect();
        f.debug_struct("Metrics").field("extras", &extras).finish_non_exhaustive()
    }
}

// === impl MetricsServer ===

impl MetricsServer {
    /// Where it listens; the port is the one chosen where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `/metrics` and `/healthz` until the server is dropped. Needs a tokio runtime.
///
/// # Errors
/// When the address cannot be listened on, most likely because another process does.
pub async fn serve(address: SocketAddr, metrics: Metrics) -> Result<MetricsServer, ListenError> {
    let listen = |error| ListenError { address, error };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let Metrics { ledger, kernel, delivery, extras, health } = metrics;
    let mut registry = Registry::default();
    let agent = AgentCollector { ledger, kernel, delivery, extras };
    let prefixed = registry.sub_registry_with_prefix("fleetprof_agent");
    prefixed.register_collector(Box::new(agent));
    registry.register_collector(Box::new(ProcessCollector));
    let app = Arc::new(App { registry, health });
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .with_state(app);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "metrics server failed");
        }
    });
    info!(%address, "serving metrics");
    Ok(MetricsServer { address, task })
}

async fn show_metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut body = String::new();
    match text::encode(&mut body, &app.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], body).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn show_health(State(app): State<Arc<App>>) -> impl IntoResponse {
    match (app.health)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there, perhaps another fleetprof-agent: \
             stop it, or choose another address with --metrics-listen"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges: choose another with --metrics-listen"
        }
        _ => "choose an address of this host with --metrics-listen",
    }
}

#[cfg(test)]
mod tests;
