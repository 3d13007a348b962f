//! What this collector shares with others: symbol tables, when profiles are in a place for many.

use fleetprof_store::ProfileStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::{
    config::Config,
    data_dir::DataDir,
    metrics::Metrics,
    objects::{Catalog, Pool, PoolParts, Wants},
};

/// The shared tables; none, when all that this collector has is in its own directory.
pub(super) fn open(
    config: &Config,
    data_dir: &DataDir,
    catalog: &Catalog,
    store: &ProfileStore,
    metrics: &Metrics,
) -> Result<Pool, StartError> {
    if config.store.is_none() {
        return Ok(Pool::alone());
    }
    let copies = data_dir.tables();
    let parts = PoolParts {
        store: store.clone(),
        catalog: catalog.clone(),
        copies: &copies,
        scratch: data_dir.scratch(),
        keep: config.retention.longest().saturating_add(config.retention.grace),
        claim: config.objects.claim,
        metrics: metrics.clone(),
    };
    Pool::open(parts).map_err(|source| StartError::Copies { path: copies.clone(), source })
}

/// Begins to exchange with the others; ends soon after `stop` fires.
pub(super) async fn start(pool: &Pool, wants: Wants, stop: CancellationToken) -> JoinHandle<()> {
    let tasks = pool.start(wants, stop).await;
    tokio::spawn(async move {
        tasks.join_all().await;
    })
}
