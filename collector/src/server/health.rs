//! Whether batches can be stored, for gRPC health checks. While they cannot, the store is tried again.

use std::time::Duration;

use fleetprof_proto::v1::{
    ingest_service_server::IngestServiceServer, object_service_server::ObjectServiceServer,
    query_service_server::QueryServiceServer,
};
use fleetprof_store::ProfileStore;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{error, info};

use crate::{ingest::Ingest, objects::Objects, query::QueryApi};

/// How often the store is asked.
const PERIOD: Duration = Duration::from_secs(1);

/// The state of a collector that starts: everything serves. To be called before the first connection,
/// for which a service without a state does not exist. Queries are served whatever the store's state.
pub(super) async fn begin(reporter: &HealthReporter) {
    let query = <QueryServiceServer<QueryApi> as NamedService>::NAME;
    reporter.set_service_status(query, ServingStatus::Serving).await;
    set(reporter, true).await;
}

/// Keeps the state up to date until `stop` fires: ingest, and the server as a whole, serve only while
/// batches can be stored.
pub(super) async fn watch(store: ProfileStore, reporter: HealthReporter, stop: CancellationToken) {
    let mut ready = None;
    loop {
        let state = store.check().await;
        if ready != Some(state.is_ok()) {
            match &state {
                Ok(()) => info!("ready"),
                Err(reason) => error!(reason, "not ready"),
            }
            ready = Some(state.is_ok());
            set(&reporter, state.is_ok()).await;
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => break,
        }
    }
    set(&reporter, false).await;
}

async fn set(reporter: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    let ingest = <IngestServiceServer<Ingest> as NamedService>::NAME;
    let objects = <ObjectServiceServer<Objects> as NamedService>::NAME;
    for service in ["", ingest, objects] {
        reporter.set_service_status(service, status).await;
    }
}
