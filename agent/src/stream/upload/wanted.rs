//! Objects that the collector wants, in the order in which they are uploaded.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fleetprof_proto::{ids::ObjectId, v1};
use tokio::sync::Notify;
use tracing::debug;

/// Wanted objects waiting, at most. Requests beyond are refused; the collector repeats them.
pub const QUEUE_OBJECTS: usize = 4096;

/// What the collector wants and has not got yet.
#[derive(Debug, Default)]
pub(in crate::stream) struct Uploads {
    wanted: Mutex<Wanted>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    queue: VecDeque<ObjectId>,
    /// Objects that turned out to be large.
    large: VecDeque<ObjectId>,
    /// Both queues, and the one being uploaded.
    known: HashSet<ObjectId>,
    off: bool,
}

// === impl Uploads ===

impl Uploads {
    /// Takes over a request; how many of it were refused.
    pub(in crate::stream) fn want(&self, objects: &[v1::ObjectId]) -> u64 {
        let mut wanted = self.lock();
        let mut refused = 0;
        for object in objects {
            match ObjectId::try_from(object) {
                Ok(id) if wanted.known.contains(&id) => {}
                Ok(id) if wanted.known.len() < QUEUE_OBJECTS && !wanted.off => {
                    wanted.known.insert(id.clone());
                    wanted.queue.push_back(id);
                }
                Ok(_) => refused += 1,
                Err(error) => {
                    refused += 1;
                    debug!(%error, "collector wants an object whose id is malformed");
                }
            }
        }
        drop(wanted);
        self.wake.notify_one();
        refused
    }

    pub(in crate::stream) fn len(&self) -> usize {
        self.lock().known.len()
    }

    /// Takes over no further request.
    pub(super) fn refuse(&self) {
        self.lock().off = true;
    }

    /// Until there may be a next one.
    pub(super) async fn wanted(&self) {
        self.wake.notified().await;
    }

    /// The next object, and whether it may be large.
    pub(super) fn next(&self) -> Option<(ObjectId, bool)> {
        let mut wanted = self.lock();
        let small = wanted.queue.pop_front().map(|id| (id, false));
        small.or_else(|| wanted.large.pop_front().map(|id| (id, true)))
    }

    /// Puts a large object behind all others.
    pub(super) fn defer(&self, id: ObjectId) {
        self.lock().large.push_back(id);
    }

    pub(super) fn done(&self, id: &ObjectId) {
        self.lock().known.remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
