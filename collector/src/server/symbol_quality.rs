//! Looks now and then how much of the code of each service has names, for the metrics.
//!
//! One minute of data every five is enough for a share and costs little; `fleetprof status --symbols`
//! asks for more.

use std::time::Duration;

use fleetprof_proto::{selector::Selector, time_range::TimeRange};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    clock,
    metrics::Frames,
    query::{Plan, Queries},
};

/// Between two looks. The first comes when there is a minute of data.
const PERIOD: Duration = Duration::from_secs(300);
const FIRST: Duration = Duration::from_secs(90);

/// What is looked at: a minute that ended so long ago that agents have sent all of it.
const RANGE_NANOS: i64 = 60_000_000_000;
const AGE_NANOS: i64 = 20_000_000_000;

pub(super) async fn watch(queries: Queries, frames: Frames, stop: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = PERIOD;
        let end = clock::unix_nanos().saturating_sub(AGE_NANOS);
        let Ok(range) = TimeRange::new(end.saturating_sub(RANGE_NANOS), end) else { continue };
        let plan = Plan { range, selector: Selector::default() };
        let looked = tokio::select! {
            looked = queries.symbol_quality(plan) => looked,
            () = stop.cancelled() => return,
        };
        match looked {
            Ok(services) => frames.show(&services),
            Err(error) => {
                // What was true some time ago may not be any more.
                debug!(%error, "no look at the quality of symbols");
                frames.show(&[]);
            }
        }
    }
}
