//! Plain HTTP: what people, probes, Prometheus and `go tool pprof` ask.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};

use fleetprof_store::ProfileStore;

use super::{profile_of_service, self_profile};
use crate::{
    clock,
    metrics::{Levels, Metrics},
    objects::{Catalog, Wants},
    query::Queries,
};

const INDEX: &str = "fleetprof-collector

GET /pprof/{service}?from=-15m&to=now[&label=value...]
                           the merged, symbolized CPU profile of a service as gzipped pprof:
                           go tool pprof http://HOST:PORT/pprof/SERVICE
GET /healthz               200 while the process lives
GET /readyz                200 while batches can be stored, else 503 and the reason
GET /metrics               the collector's own metrics, for Prometheus
GET /debug/pprof/profile?seconds=10
                           CPU profile of the collector itself
gRPC (same port, h2c)      fleetprof.v1.IngestService, ObjectService, QueryService,
                           grpc.health.v1.Health, server reflection

On the command line: fleetprof --collector http://HOST:PORT services
";

/// What the handlers work with.
#[derive(Clone)]
pub(super) struct Web {
    pub queries: Queries,
    store: ProfileStore,
    catalog: Catalog,
    wants: Wants,
    metrics: Metrics,
    start_unix_nanos: i64,
}

// === impl Web ===

impl Web {
    pub(super) fn new(
        queries: Queries,
        store: ProfileStore,
        catalog: Catalog,
        wants: Wants,
        metrics: Metrics,
    ) -> Self {
        Self { queries, store, catalog, wants, metrics, start_unix_nanos: clock::unix_nanos() }
    }

    /// While the store cannot be asked, its levels are those of an empty one, and it is not ready.
    async fn levels(&self) -> Levels {
        let ready = self.store.check().await.is_ok();
        let store = self.store.status().await.unwrap_or_default();
        let objects = self.catalog.status();
        Levels {
            store_batches: store.batches,
            store_samples: store.samples,
            store_bytes: store.bytes,
            store_damaged: store.damaged,
            store_levels: store.levels,
            ready,
            objects_stored: objects.stored,
            objects_wanted: self.wants.len() as u64,
            objects_waiting: objects.waiting,
            objects_unusable: objects.failed,
            objects_bytes: objects.bytes,
            pool: self.wants.pool().status(),
            start_unix_nanos: self.start_unix_nanos,
        }
    }
}

pub(super) fn routes(web: Web) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(
            "/pprof/{service}",
            get(profile_of_service::handle).post(profile_of_service::symbolz),
        )
        .route("/debug/pprof/profile", get(self_profile::handle))
        .with_state(web)
}

/// For a gRPC client the status is in the headers, for all others there is a text.
pub(super) async fn fallback(uri: Uri, headers: HeaderMap) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("application/grpc")) {
        return tonic::Status::unimplemented(format!("no method {}", uri.path())).into_http();
    }
    let text = format!("nothing is served at {}; GET / lists what is\n", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn readyz(State(web): State<Web>) -> Response {
    match web.store.check().await {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response()
        }
    }
}

async fn metrics(State(web): State<Web>) -> Response {
    let levels = web.levels().await;
    let render = move || web.metrics.render(&levels);
    match tokio::task::spawn_blocking(render).await {
        Ok(Ok(text)) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
