//! Symbol tables that all collectors of a fleet share: each object is asked for once and converted once,
//! whichever collector its agents are at.
//!
//! In: objects that were converted here, and what the other collectors have published in the catalog. Out:
//! which objects nobody needs to be asked for, whose turn it is to ask for others, and files to read names
//! from. A collector that keeps everything in its own directory has no pool: then nobody else has
//! anything, it is always its turn, and nothing is published.
//!
//! Nothing here holds up ingest or queries: what they ask is answered from memory, the catalog and the
//! object store are asked by tasks. Without the catalog no agent is asked for objects.

mod claims;
mod copies;
mod exchange;
mod fetch;
mod index;
mod merit;
mod publish;

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fleetprof_proto::{ids::ObjectId, symbol::Reason};
use fleetprof_store::{FileId, ProfileStore, SymbolContent, SymbolTable};
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, watch},
};

use super::catalog::Catalog;
use crate::{log_limit::LogLimit, metrics::Metrics};
use claims::{Claim, Claims};
use copies::Copies;
use fetch::Fetch;
use index::Index;
use publish::Queue;

pub(super) use claims::{Turn, Work};
pub(super) use publish::why_of;

/// Fetches at a time.
const FETCHES: usize = 8;

/// The shared tables. Cloning shares them.
#[derive(Clone, Default)]
pub struct Pool {
    shared: Option<Arc<Shared>>,
}

/// What a pool needs.
pub struct PoolParts<'a> {
    /// Where the tables are.
    pub store: ProfileStore,
    /// Objects and tables of this collector.
    pub catalog: Catalog,
    /// Where copies are.
    pub copies: &'a Path,
    /// Where they are written at first; on the same file system.
    pub scratch: PathBuf,
    /// How long the profiles are kept that may refer to an object.
    pub keep: Duration,
    /// How long a claim on an object lasts when a collector dies.
    pub claim: Duration,
    /// What is counted.
    pub metrics: Metrics,
}

/// How much is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Objects of which all collectors have what there is.
    pub tables: u64,
    /// Objects whose tables are still to be published.
    pub unpublished: u64,
    /// Size of the copies of other collectors' tables.
    pub copied_bytes: u64,
}

/// Where the names of an object come from, if not from this collector's own table.
#[derive(Clone, Debug)]
pub(crate) enum Pooled {
    /// A copy of what another collector has.
    Copy(PooledCopy),
    /// It is being fetched.
    Coming,
    /// It cannot be fetched now.
    Away,
    /// There can be none.
    None(Reason),
}

/// Another collector's table, on the local disk.
#[derive(Clone, Debug)]
pub(crate) struct PooledCopy {
    pub(crate) id: FileId,
    pub(crate) path: PathBuf,
    /// It is the listing of a kernel's symbols.
    pub(crate) is_listing: bool,
}

struct Shared {
    store: ProfileStore,
    catalog: Catalog,
    scratch: PathBuf,
    copies: Copies,
    /// Who this is, for the others.
    holder: String,
    keep: Duration,
    claim: Duration,
    index: RwLock<Index>,
    claims: Mutex<Claims>,
    queue: Mutex<Queue>,
    /// Something is in the queue.
    queued: Notify,
    /// Objects whose use is to be noted.
    used: Mutex<HashSet<ObjectId>>,
    fetches: Mutex<HashMap<FileId, Fetch>>,
    fetching: Arc<Semaphore>,
    /// Claims are wanted.
    wanted: Notify,
    /// Claims were settled.
    granted: watch::Sender<()>,
    /// Nothing is begun any more.
    ended: AtomicBool,
    runtime: Handle,
    metrics: Metrics,
    log: LogLimit,
}

// === impl Pool ===

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.shared.is_some() { "Pool(shared)" } else { "Pool(alone)" })
    }
}

impl Pool {
    /// Of a collector that shares nothing.
    pub fn alone() -> Self {
        Self::default()
    }

    /// Goes on with the copies that are there; [`Pool::start`] does the rest.
    ///
    /// # Errors
    /// When the directory of copies cannot be used.
    pub fn open(parts: PoolParts<'_>) -> io::Result<Self> {
        let PoolParts { store, catalog, copies, scratch, keep, claim, metrics } = parts;
        let shared = Shared {
            copies: Copies::open(copies, &catalog)?,
            store,
            catalog,
            scratch,
            holder: format!("{:032x}", fastrand::u128(..)),
            keep,
            claim,
            index: RwLock::default(),
            claims: Mutex::new(Claims::new(claim)),
            queue: Mutex::default(),
            queued: Notify::new(),
            used: Mutex::default(),
            fetches: Mutex::default(),
            fetching: Arc::new(Semaphore::new(FETCHES)),
            wanted: Notify::new(),
            granted: watch::Sender::new(()),
            ended: AtomicBool::new(false),
            runtime: Handle::current(),
            metrics,
            log: LogLimit::default(),
        };
        Ok(Self { shared: Some(Arc::new(shared)) })
    }

    /// How much is shared.
    pub fn status(&self) -> PoolStatus {
        let Some(shared) = &self.shared else { return PoolStatus::default() };
        PoolStatus {
            tables: shared.index().len() as u64,
            unpublished: shared.queue().len() as u64,
            copied_bytes: shared.copies.bytes(),
        }
    }

    /// An object's own table, listing or failure is settled: the others may need it.
    pub(crate) fn offer(&self, id: &ObjectId) {
        if let Some(shared) = &self.shared {
            shared.offer(id);
        }
    }

    /// Whether nobody needs to be asked for an object: it has a table, or can have none.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.index().has(id))
    }

    /// How much the files said of which the shared table of an object was made.
    pub(super) fn level(&self, id: &ObjectId) -> Option<SymbolLevel> {
        self.shared.as_ref()?.index().level(id)
    }

    /// Whether names of an object are there, though they may have to be fetched.
    pub(crate) fn has_names(&self, id: &ObjectId) -> bool {
        let Some(shared) = &self.shared else { return false };
        shared.index().best(id, false).is_some_and(|table| table.content.blob().is_some())
    }

    /// Notes that profiles have code of these objects now.
    pub(super) fn seen(&self, ids: &[ObjectId]) {
        let Some(shared) = &self.shared else { return };
        let index = shared.index();
        let unused = index.unused(ids, shared.store.today());
        let is_missed = |id: &&ObjectId| !index.knows(id) && shared.has_settled(id);
        let missed: Vec<ObjectId> = ids.iter().filter(is_missed).cloned().collect();
        drop(index);
        if !unused.is_empty() {
            shared.used().extend(unused);
        }
        missed.iter().for_each(|id| self.offer(id));
    }

    /// Whether it is this collector's turn to do something about an object, of which there is a better
    /// file, if one is `offered`.
    pub(super) fn turn(&self, work: Work, id: &ObjectId, offered: Option<SymbolLevel>) -> Turn {
        let Some(shared) = &self.shared else { return Turn::Ours };
        let claim = Claim { work, object: id.clone() };
        let turn = shared.claims().take(claim, offered, Instant::now());
        if turn == Turn::Soon {
            shared.wanted.notify_one();
        }
        turn
    }

    /// Tells when it has been found out whose turn it is.
    pub(super) fn grants(&self) -> watch::Receiver<()> {
        match &self.shared {
            Some(shared) => shared.granted.subscribe(),
            None => watch::channel(()).1,
        }
    }

    /// Where the names of an object come from, if this collector has none of its own or (`has_own`) worse
    /// ones. What is not there is fetched; does not wait for it.
    pub(crate) fn names_of(&self, id: &ObjectId, has_own: bool) -> Option<Pooled> {
        let shared = self.shared.as_ref()?;
        let table = shared.index().best(id, has_own)?.clone();
        let is_listing = match &table.content {
            SymbolContent::None(why) => return Some(Pooled::None(publish::reason_of(why))),
            SymbolContent::Table(_) => false,
            SymbolContent::Listing(_) => true,
        };
        Some(match shared.copies.find(table.id) {
            Some(path) => Pooled::Copy(PooledCopy { id: table.id, path, is_listing }),
            None if shared.fetch(table) => Pooled::Coming,
            None => Pooled::Away,
        })
    }

    /// The copy of a table cannot be read: it is fetched again when it is needed.
    pub(crate) fn drop_copy(&self, id: FileId) {
        if let Some(shared) = &self.shared {
            shared.copies.remove(id);
        }
    }

    /// Makes room for an object at the cost of a copy; `false` when there is none.
    pub(super) fn make_room(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.copies.make_room())
    }

    /// Every shared table.
    pub(super) fn tables(&self) -> Vec<SymbolTable> {
        self.shared
            .as_ref()
            .map_or_else(Vec::new, |shared| shared.index().tables().cloned().collect())
    }
}

// === impl Shared ===

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> MutexGuard<'_, HashSet<ObjectId>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetches(&self) -> MutexGuard<'_, HashMap<FileId, Fetch>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, id: &ObjectId) {
        if self.queue().add(id.clone()) {
            self.queued.notify_one();
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
