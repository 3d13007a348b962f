//! Work on the store beside ingest and queries: merging files, removing old ones.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fleetprof_proto::{batch::Batch, ids::ObjectId, symbol::Symbol};
use fleetprof_store::{MergeLimits, Namer, ProfileStore, Retention};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::symbols::Symbols;

/// How often is looked for something to merge.
const MERGE_EVERY: Duration = Duration::from_secs(30);
/// How often old files are removed.
const RETAIN_EVERY: Duration = Duration::from_secs(10 * 60);
/// How often is looked for files that nobody knows.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// How old they must be: no commit takes so long.
const ORPHAN_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// Names for the files that others read.
struct NamesNow {
    symbols: Arc<Symbols>,
    stop: CancellationToken,
}

impl Namer for NamesNow {
    fn symbols(&self, code: &Batch) -> Vec<Symbol> {
        self.symbols.resolve_made(code, &self.stop).symbols
    }

    fn has_names(&self, object: &ObjectId) -> bool {
        self.symbols.has_names(object)
    }
}

/// Keeps the store in order until `stop` fires. Several collectors share the work.
pub(super) async fn run(
    store: ProfileStore,
    symbols: Arc<Symbols>,
    retention: Retention,
    stop: CancellationToken,
) {
    let namer: Arc<dyn Namer> = Arc::new(NamesNow { symbols, stop: stop.clone() });
    let worker = format!("{:032x}", fastrand::u128(..));
    let limits = MergeLimits::default();
    let (mut retained, mut swept): (Option<Instant>, Option<Instant>) = (None, None);
    let is_due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
    // Not all collectors of a fleet at the same moment.
    let first = MERGE_EVERY.mul_f64(fastrand::f64());
    let mut pause = first;
    while timeout(pause, stop.cancelled()).await.is_err() {
        pause = MERGE_EVERY;
        match store.merge(&worker, &limits, Some(namer.clone()), || stop.is_cancelled()).await {
            Ok(merged) => debug!(?merged, "merged"),
            Err(error) => warn!(%error, "cannot merge files of the store; tried again soon"),
        }
        if is_due(retained, RETAIN_EVERY) {
            retained = Some(Instant::now());
            if let Err(error) = store.retain(&retention).await {
                warn!(%error, "cannot remove old files of the store; tried again later");
            }
        }
        if is_due(swept, SWEEP_EVERY) {
            swept = Some(Instant::now());
            if let Err(error) = store.sweep(ORPHAN_AGE).await {
                warn!(%error, "cannot look for files that nobody knows; tried again later");
            }
        }
    }
}
