//! What this host has of the objects it runs most, for a collector that has less: debug information may
//! be here and nowhere else, or come later than the first upload.
//!
//! In: batches, and looks at files. Out: offers for the stream. A look reads section names, on a thread
//! that may block: [`LOOKS`] of them in each [`PARTS`]th of the interval, of the objects that used most
//! CPU time. Nothing is kept of what the collector answers: what it wants it asks for, and a later offer
//! is for what it did not.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fleetprof_proto::{
    batch::Batch,
    ids::{BuildIdKind, ObjectId, ObjectKind},
    v1,
};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{Phase, shared::now, upload::ObjectSource};

/// Turns in each interval.
const PARTS: u32 = 20;
/// Objects looked at in a turn.
const LOOKS: usize = 8;
/// Objects that are known; further ones wait until others are not used any more.
const MAX_OBJECTS: usize = 4096;
/// Longest time for a look.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Offers {
    state: Mutex<State>,
    /// There are some to be sent.
    pub(super) wake: Notify,
    /// The collector understands them.
    taken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    objects: HashMap<ObjectId, Object>,
    /// Looked at and not sent.
    ready: Vec<v1::ObjectOffer>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Object {
    /// CPU time in and below it, of late, nanoseconds.
    nanos: u64,
    looked: Option<Instant>,
}

// === impl Offers ===

impl Offers {
    /// Whether the collector at the other end takes offers.
    pub(super) fn set_taken(&self, taken: bool) {
        self.taken.store(taken, Relaxed);
    }

    /// Notes what a batch hit. A millisecond, and nothing where offers are not taken.
    pub(super) fn hit(&self, batch: &Batch) {
        if !self.taken.load(Relaxed) {
            return;
        }
        let hottest = batch.hottest_objects();
        let mut state = self.lock();
        for (id, nanos, _) in hottest {
            // A file without a build ID is known by its bytes: there is no better one.
            let can_be_better =
                id.kind == ObjectKind::File && id.build_id.kind() != BuildIdKind::Htl;
            let is_room = state.objects.len() < MAX_OBJECTS || state.objects.contains_key(&id);
            if can_be_better && is_room {
                let object = state.objects.entry(id).or_default();
                object.nanos = object.nanos.saturating_add(nanos);
            }
        }
    }

    /// The objects to look at now.
    fn due(&self, interval: Duration, now: Instant) -> Vec<ObjectId> {
        let mut state = self.lock();
        let is_due = |object: &Object| object.looked.is_none_or(|at| at + interval <= now);
        let due = state.objects.iter().filter(|(_, object)| is_due(object));
        let mut due: Vec<_> = due.map(|(id, object)| (object.nanos, id.clone())).collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        due.truncate(LOOKS);
        let due: Vec<_> = due.into_iter().map(|(_, id)| id).collect();
        for object in state.objects.values_mut() {
            object.nanos /= 2;
        }
        for id in &due {
            state.objects.entry(id.clone()).or_default().looked = Some(now);
        }
        state.objects.retain(|_, object| object.nanos > 0);
        due
    }

    fn found(&self, id: &ObjectId, level: v1::SymbolLevel) {
        let offer = v1::ObjectOffer { id: Some(id.into()), level: level.into() };
        self.lock().ready.push(offer);
    }

    /// What is to be sent, once.
    pub(super) fn take(&self) -> Option<v1::OfferObjects> {
        let objects = std::mem::take(&mut self.lock().ready);
        let is_taken = self.taken.load(Relaxed) && !objects.is_empty();
        is_taken.then_some(v1::OfferObjects { objects })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks until the phase is no longer [`Phase::Run`].
pub(super) async fn run(
    offers: Arc<Offers>,
    source: Arc<dyn ObjectSource>,
    interval: Duration,
    mut phase: watch::Receiver<Phase>,
) {
    loop {
        tokio::select! {
            () = sleep(interval / PARTS) => {}
            _ = phase.changed() => return,
        }
        for id in offers.due(interval, now()) {
            let (source, looked_at) = (Arc::clone(&source), id.clone());
            let look = timeout(PATIENCE, spawn_blocking(move || source.level(&looked_at)));
            // One that hangs or fails has nothing to offer.
            if let Ok(Ok(Some(level))) = look.await
                && level > v1::SymbolLevel::Dynamic
            {
                offers.found(&id, level);
            }
        }
        offers.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
