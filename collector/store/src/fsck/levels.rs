//! Whether two levels hold the same samples: what is said to be in the next level is there, once.
//!
//! Retention removes files of the finer level first, the earliest first. So where the finer level has
//! less, that is wrong only if age has not reached it: if there are still finer files of the day before
//! all of whose data are older. Where it has more, samples were lost on the way.

use std::collections::BTreeMap;

use fleetprof_proto::time_range::format_instant;

use super::{Finding, FindingKind, Fsck};
use crate::{
    catalog::BucketSum,
    error::StoreError,
    level::{DAY, Level},
    store::ProfileStore,
};

/// Samples and CPU time.
type Amount = (u64, u64);

/// The two levels of a service in an hour or a day.
#[derive(Default)]
struct Pair {
    finer: Amount,
    coarser: Amount,
}

// === impl ProfileStore ===

impl ProfileStore {
    pub(super) async fn check_levels(&self, found: &mut Fsck) -> Result<(), StoreError> {
        for day in self.catalog.days().await? {
            let sums =
                self.catalog.sums((day.saturating_sub(DAY), day.saturating_add(DAY))).await?;
            for (finer, coarser) in [(Level::Fine, Level::Hourly), (Level::Hourly, Level::Daily)] {
                compare(&sums, day, finer, coarser, found);
            }
        }
        Ok(())
    }
}

/// Compares what two levels have of a day. `sums` are those of the day before, too.
fn compare(sums: &[BucketSum], day: i64, finer: Level, coarser: Level, found: &mut Fsck) {
    let mut pairs: BTreeMap<(i64, &str), Pair> = BTreeMap::new();
    let add = |amount: &mut Amount, sum: &BucketSum| {
        *amount = (amount.0.saturating_add(sum.samples), amount.1.saturating_add(sum.nanos));
    };
    for sum in sums.iter().filter(|sum| sum.bucket >= day) {
        if sum.level == coarser {
            add(&mut pairs.entry((sum.bucket, &sum.service)).or_default().coarser, sum);
        } else if sum.level == finer && sum.rolled {
            let bucket = sum.bucket - sum.bucket.rem_euclid(coarser.span());
            add(&mut pairs.entry((bucket, &sum.service)).or_default().finer, sum);
        }
    }
    for ((bucket, service), pair) in pairs {
        // Where one of the levels has nothing, its time is over.
        if pair.finer == Amount::default() || pair.coarser == Amount::default() {
            continue;
        }
        let has_less = pair.finer.0 < pair.coarser.0 || pair.finer.1 < pair.coarser.1;
        if has_less && !is_before_age(sums, finer, bucket, service) {
            found.not_compared += 1;
            continue;
        }
        found.compared += 1;
        if pair.finer != pair.coarser {
            let ((samples, nanos), (of_coarser, nanos_of_coarser)) = (pair.finer, pair.coarser);
            let (finer, coarser) = (finer.as_str(), coarser.as_str());
            let what = format!(
                "{finer} files have {samples} samples and {nanos} ns of CPU that are said to be in {coarser} ones, which have {of_coarser} and {nanos_of_coarser}"
            );
            let place = format!("{coarser}/{} {service:?}", format_instant(bucket));
            found.add(Finding::at(FindingKind::Levels, place, what));
        }
    }
}

/// Whether older files than those of a bucket are still there: then none of it has expired. Fine files go
/// together; those of other levels by service.
fn is_before_age(sums: &[BucketSum], level: Level, bucket: i64, service: &str) -> bool {
    sums.iter().any(|sum| {
        let is_alike = level == Level::Fine || sum.service == service;
        let is_older = (bucket.saturating_sub(DAY)..bucket).contains(&sum.bucket);
        sum.level == level && sum.rolled && is_alike && is_older && sum.first_end <= bucket
    })
}
