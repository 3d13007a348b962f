//! Which objects are missing or could be better, and which agent was asked for each.
//!
//! An object is asked of one agent at a time. That agent has a lease; when it lets the lease run out,
//! another one that hits the object is asked, with ever longer leases, so that an object that nobody
//! can read causes little traffic. A disconnected agent's leases end at once. Pure but for a lock:
//! the time comes in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fleetprof_proto::ids::ObjectId;
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::sync::watch;

use super::{
    Catalog,
    pool::{Pool, Turn, Work},
};

/// Objects that one agent is asked for at a time.
const PER_AGENT: usize = 16;
/// Missing objects that are remembered.
const MAX_WANTED: usize = 100_000;
/// When there are more, this part of them is forgotten, those that were hit longest ago: at once, because
/// finding them means to look at all.
const FORGOTTEN_PART: usize = 16;
/// Longest path that is remembered, bytes.
const MAX_PATH_BYTES: usize = 512;
/// Doublings of the lease.
const MAX_DOUBLINGS: u32 = 5;

/// What is missing. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Wants {
    catalog: Catalog,
    pool: Pool,
    lease: Duration,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: HashMap<ObjectId, Want>,
    /// What each agent was asked for: at most [`PER_AGENT`], some of them over.
    leases: HashMap<u64, Vec<ObjectId>>,
    next_asker: u64,
}

#[derive(Clone, Debug)]
struct Want {
    /// It is not there; else it is, and an agent has offered a better one or uploads a file of it.
    is_missing: bool,
    /// Where an agent has it.
    path: Arc<str>,
    /// Whose turn it is, and until when.
    asked: Option<(u64, Instant)>,
    /// Uploads of it that are running.
    uploads: u32,
    /// How often somebody was asked.
    attempts: u32,
    seen: Instant,
}

/// One agent that can be asked; dropping it ends its leases.
#[derive(Debug)]
pub struct Asker {
    wants: Wants,
    id: u64,
    /// What it is asked for as soon as it is this collector's turn; a level: it offers so much.
    waiting: Mutex<Vec<(ObjectId, Option<SymbolLevel>)>>,
}

/// A missing object, for people.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: ObjectId,
    pub(super) path: Arc<str>,
    pub(super) attempts: u32,
    /// It is on its way.
    pub(super) is_uploading: bool,
}

/// A running upload; dropping it before [`Wants::stored`] counts as failed.
#[derive(Debug)]
pub(super) struct Uploading {
    wants: Wants,
    id: ObjectId,
}

// === impl Wants ===

impl Wants {
    /// Nothing is missing yet.
    pub fn new(catalog: Catalog, pool: Pool, lease: Duration) -> Self {
        Self { catalog, pool, lease, shared: Arc::default() }
    }

    /// What other collectors have.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A newly connected agent.
    pub fn asker(&self) -> Asker {
        let mut shared = self.lock();
        shared.next_asker += 1;
        let id = shared.next_asker;
        shared.leases.insert(id, Vec::new());
        Asker { wants: self.clone(), id, waiting: Mutex::default() }
    }

    /// Number of objects that are missing.
    pub fn len(&self) -> usize {
        self.lock().wanted.values().filter(|want| want.is_missing).count()
    }

    /// Whether none is missing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All objects that are missing.
    pub(super) fn all(&self) -> Vec<Wanted> {
        let shared = self.lock();
        let missing = shared.wanted.iter().filter(|(_, want)| want.is_missing);
        let wanted = missing.map(|(id, want)| Wanted {
            id: id.clone(),
            path: want.path.clone(),
            attempts: want.attempts,
            is_uploading: want.uploads > 0,
        });
        wanted.collect()
    }

    /// Remembers where an agent has a missing object.
    pub(crate) fn describe(&self, id: &ObjectId, path: &str) {
        let path = &path[..path.floor_char_boundary(MAX_PATH_BYTES)];
        if let Some(want) = self.lock().wanted.get_mut(id)
            && *want.path != *path
        {
            want.path = Arc::from(path);
        }
    }

    /// The object is there now, or another file of it.
    pub(super) fn stored(&self, id: &ObjectId) {
        if self.lock().wanted.remove(id).is_some() {
            // Profiles have code of it: that is why it was wanted.
            self.catalog.is_hit(id);
        }
    }

    /// Another collector has a table of the object.
    pub(super) fn found(&self, id: &ObjectId) {
        let mut shared = self.lock();
        if shared.wanted.get(id).is_some_and(|want| want.is_missing && want.uploads == 0) {
            shared.wanted.remove(id);
        }
    }

    /// Whether somebody who was asked for the object may still answer, or uploads it.
    pub(super) fn is_busy(&self, id: &ObjectId) -> bool {
        let (shared, now) = (self.lock(), Instant::now());
        shared.wanted.get(id).is_some_and(|want| !want.is_free(now))
    }

    /// Notes that an upload runs: nobody else is asked meanwhile.
    pub(super) fn uploading(&self, id: &ObjectId) -> Uploading {
        let now = Instant::now();
        self.lock().entry(id, now).uploads += 1;
        Uploading { wants: self.clone(), id: id.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    fn entry(&mut self, id: &ObjectId, now: Instant) -> &mut Want {
        if self.wanted.len() >= MAX_WANTED && !self.wanted.contains_key(id) {
            self.forget_oldest();
        }
        let path = Arc::from("");
        let new = Want { is_missing: false, path, asked: None, uploads: 0, attempts: 0, seen: now };
        self.wanted.entry(id.clone()).or_insert(new)
    }

    fn forget_oldest(&mut self) {
        let mut seen: Vec<Instant> = self.wanted.values().map(|want| want.seen).collect();
        let count = (seen.len() / FORGOTTEN_PART).max(1);
        let newest = *seen.select_nth_unstable(count - 1).1;
        // Those that were hit at the very same moment as the last of them may be more than that.
        let mut left = count;
        self.wanted.retain(|_, want| {
            let forget = want.seen <= newest && left > 0;
            left -= usize::from(forget);
            !forget
        });
    }

    /// How many objects more an agent may be asked for.
    fn room(&mut self, asker: u64, now: Instant) -> usize {
        let Self { wanted, leases, .. } = self;
        let leases = leases.entry(asker).or_default();
        leases.retain(|id| {
            let asked = wanted.get(id).and_then(|want| want.asked);
            asked.is_some_and(|(whom, until)| whom == asker && until > now)
        });
        PER_AGENT.saturating_sub(leases.len())
    }
}

// === impl Want ===

impl Want {
    /// Whether it is nobody's turn.
    fn is_free(&self, now: Instant) -> bool {
        self.uploads == 0 && self.asked.is_none_or(|(_, until)| until <= now)
    }

    /// Makes it somebody's turn.
    fn lease(&mut self, whom: u64, first: Duration, now: Instant) {
        let lease = first.saturating_mul(1 << self.attempts.min(MAX_DOUBLINGS));
        self.attempts = self.attempts.saturating_add(1);
        self.asked = now.checked_add(lease).map(|until| (whom, until));
    }
}

// === impl Asker ===

impl Asker {
    /// Of objects that this agent hit, those to ask it for now, in the order given.
    pub fn ask(&self, objects: &[ObjectId]) -> Vec<ObjectId> {
        self.ask_at(objects, Instant::now())
    }

    pub(super) fn ask_at(&self, objects: &[ObjectId], now: Instant) -> Vec<ObjectId> {
        let Wants { catalog, pool, .. } = &self.wants;
        pool.seen(objects);
        let missing = objects
            .iter()
            .filter(|id| !catalog.is_hit(id) && !pool.has(id) && catalog.can_hold(id));
        self.lease(missing.map(|id| (id, None)), now)
    }

    /// Tells when there may be something to ask for in [`Asker::ask_again`].
    pub fn grants(&self) -> watch::Receiver<()> {
        self.wants.pool.grants()
    }

    /// Of objects for which it was not this collector's turn yet, those to ask for now.
    pub fn ask_again(&self) -> Vec<ObjectId> {
        let waiting = std::mem::take(&mut *self.waiting());
        self.lease(waiting.iter().map(|(id, offer)| (id, *offer)), Instant::now())
    }

    /// Whether it is about to be asked for an object.
    pub fn waits_for(&self, id: &ObjectId) -> bool {
        self.waiting().iter().any(|(waiting, _)| waiting == id)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(ObjectId, Option<SymbolLevel>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of objects that this agent offers, those to ask it for now: of which it has more than is there.
    /// What is not there at all is asked for when it is hit. Looks into files, so it may block.
    pub fn offered(&self, offers: &[(ObjectId, SymbolLevel)]) -> Vec<ObjectId> {
        self.offered_at(offers, Instant::now())
    }

    pub(super) fn offered_at(
        &self,
        offers: &[(ObjectId, SymbolLevel)],
        now: Instant,
    ) -> Vec<ObjectId> {
        let Wants { catalog, pool, .. } = &self.wants;
        let is_better = |(id, level): &&(ObjectId, SymbolLevel)| {
            let own = catalog.contains(id).then(|| catalog.level(id));
            own.max(pool.level(id)).is_some_and(|known| *level > known)
        };
        let better = offers.iter().filter(is_better);
        self.lease(better.map(|(id, level)| (id, Some(*level))), now)
    }

    /// What to ask for now: it is this collector's turn, and nobody else of it is asked. An offer goes
    /// with what is not missing.
    fn lease<'a>(
        &self,
        objects: impl Iterator<Item = (&'a ObjectId, Option<SymbolLevel>)>,
        now: Instant,
    ) -> Vec<ObjectId> {
        let mut objects = objects.peekable();
        if objects.peek().is_none() {
            return Vec::new();
        }
        let Wants { catalog, pool, .. } = &self.wants;
        let mut shared = self.wants.lock();
        let mut room = shared.room(self.id, now);
        let (mut asked, mut waiting) = (Vec::new(), Vec::new());
        for (id, offer) in objects {
            let is_missing = offer.is_none();
            // The first one was looked for before the lock was had: it may have come since, for good.
            if is_missing && (catalog.contains(id) || pool.has(id)) {
                continue;
            }
            let want = shared.entry(id, now);
            want.seen = now;
            want.is_missing |= is_missing;
            if room == 0 || !want.is_free(now) {
                continue;
            }
            match pool.turn(Work::Upload, id, offer) {
                Turn::Ours => {
                    want.lease(self.id, self.wants.lease, now);
                    asked.push(id.clone());
                }
                Turn::Soon => waiting.push((id.clone(), offer)),
                Turn::NotNow => continue,
            }
            room -= 1;
        }
        shared.leases.entry(self.id).or_default().extend(asked.iter().cloned());
        drop(shared);
        if !waiting.is_empty() {
            let mut known = self.waiting();
            known.retain(|(id, _)| !waiting.iter().any(|(waiting, _)| waiting == id));
            known.extend(waiting);
            known.truncate(PER_AGENT);
        }
        asked
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut shared = self.wants.lock();
        for id in shared.leases.remove(&self.id).unwrap_or_default() {
            let want = shared.wanted.get_mut(&id);
            if let Some(want) = want.filter(|want| want.asked.is_some_and(|it| it.0 == self.id)) {
                want.asked = None;
            }
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        let mut shared = self.wants.lock();
        let Some(want) = shared.wanted.get_mut(&self.id) else { return };
        want.uploads = want.uploads.saturating_sub(1);
        // Of a file that nobody was asked for.
        if want.uploads == 0 && !want.is_missing && want.asked.is_none() {
            shared.wanted.remove(&self.id);
        }
    }
}
