//! A worker that ends in the middle of its work, at every step of it.
//!
//! What is dropped here is the work's future, once at each of the points where it waits for the catalog, the
//! object store or a thread: nothing that comes after that point happens, as after a SIGKILL. The real one is
//! sent at random moments by `tests/tests/fleet`.

use std::{
    fs,
    path::Path,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{Catalog, DAY, FindingKind, HOUR, MINUTE, MergeLimits, ProfileStore};

use crate::{
    fixture::{Place, Sums, batch, merge_all, past_day, sums, wish},
    fsck::{check, full},
};

/// More than a round of merging takes: it ends by itself before that.
const MANY: usize = 5000;

/// Work that ends after so many steps.
struct Cut<F> {
    work: F,
    steps: usize,
}

impl<F: Future + Unpin> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.steps.checked_sub(1) else { return Poll::Ready(None) };
        self.steps = left;
        Pin::new(&mut self.work).poll(context).map(Some)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

async fn all(store: &ProfileStore) -> Sums {
    let everything = wish(past_day(), past_day() + DAY);
    let key = |labels: &std::collections::BTreeMap<&str, &str>, hour: i64, depth: usize| {
        format!("{} {hour} {depth}", labels["service"])
    };
    sums(store, &everything, key).await.0
}

/// Check that wherever merging ends, nothing is lost or doubled, before and after somebody goes on with it,
/// and that the files it leaves behind are swept.
#[tokio::test(flavor = "multi_thread")]
async fn merging_may_end_anywhere() {
    let full_place = Place::new();
    let (day, instance) = (past_day(), InstanceId::random());
    let expected = {
        let store = full_place.open().await;
        for n in 0..4_u32 {
            let start = day + HOUR * i64::from(n / 2) + MINUTE * i64::from(n);
            let batch = batch(instance, u64::from(n) + 1, start, "h");
            store.append(vec![batch]).await.expect("appends");
        }
        let sums = all(&store).await;
        // It is copied: nothing may be on its way to the disk.
        let url = format!("sqlite:{}", full_place.dir.path().join("catalog.sqlite").display());
        drop(store);
        Catalog::open(&url).await.expect("opens").close().await;
        sums
    };
    assert_eq!(expected.values().map(|sum| sum.0).sum::<u64>(), 4 * 7);
    let mut left_behind = 0;
    for steps in 1..MANY {
        let place = Place::new();
        copy(full_place.dir.path(), place.dir.path());
        let store = place.open().await;
        let limits = MergeLimits::default();
        let ended = {
            let work = pin!(store.merge("w", &limits, None, || false));
            Cut { work, steps }.await
        };
        if let Some(ended) = ended {
            assert!(ended.expect("merges").jobs > 0);
            assert!(steps > 20, "it was over after {steps} steps");
            assert!(left_behind > 0, "no end was in the middle of anything");
            return;
        }
        drop(store);
        let store = place.open().await;
        assert_eq!(all(&store).await, expected, "after {steps} steps");
        merge_all(&store).await;
        assert_eq!(all(&store).await, expected, "after {steps} steps, and the rest");
        let found = check(&store, &full()).await;
        for finding in &found.findings {
            assert_eq!(finding.kind, FindingKind::Orphan, "after {steps} steps: {found:?}");
        }
        left_behind += store.sweep(Duration::ZERO).await.expect("sweeps");
        let found = check(&store, &full()).await;
        assert!(found.is_clean(), "after {steps} steps: {found:?}");
    }
    panic!("it never ended by itself");
}
