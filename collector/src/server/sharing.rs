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

/// Begins to exchange with the others, about what this collector wants too; ends soon after `stop` fires.
pub(super) async fn start(
    config: &Config,
    catalog: &Catalog,
    pool: Pool,
    stop: CancellationToken,
) -> (Wants, JoinHandle<()>) {
    let wants = Wants::new(catalog.clone(), pool.clone(), config.objects.lease);
    let tasks = pool.start(wants.clone(), stop).await;
    let ending = tokio::spawn(async move {
        tasks.join_all().await;
    });
    (wants, ending)
}
