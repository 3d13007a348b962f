//! Builds unwind tables beside everything else: two threads, so that a huge binary delays nobody.
//!
//! In: objects that are needed. Out: their tables, or none, those first that most samples wait for.
//! Only binaries that were hit by a sample are built, each once.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use fleetprof_proto::ids::ObjectId;
use fleetprof_unwind::{Limits, ReadAt, UnwindTable};
use tracing::{debug, info};

use super::{cache::TableCache, objects::ObjectNumber};
use crate::object::{Registry, UploadSource};

/// An object whose table is needed.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Its number.
    pub(super) number: ObjectNumber,
    /// What it is.
    pub(super) id: ObjectId,
}

/// What became of a job.
pub(super) struct Built {
    /// The object's number.
    pub(super) number: ObjectNumber,
    /// The object.
    pub(super) id: ObjectId,
    /// Its table; `None` when there cannot be one.
    pub(super) table: Option<UnwindTable>,
}

/// The threads and their queue.
pub(super) struct Builder {
    queue: Arc<Queue>,
    built: Receiver<Built>,
    outstanding: usize,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order in which they came.
    jobs: Vec<Queued>,
    /// Those that turned out to be of large files.
    large: VecDeque<Job>,
    closed: bool,
}

struct Queued {
    job: Job,
    /// Samples that wait for it.
    samples: u64,
}

/// What a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Whatever is quickly done.
    Quick,
    /// Large files, and whatever else there is.
    Any,
}

/// Files larger than this are built by one thread only, so that the other remains for the rest.
const LARGE_BYTES: u64 = 64 << 20;

// === impl Builder ===

impl Builder {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the host has no room for a thread.
    pub(super) fn start(registry: &Arc<Registry>, cache: Option<&TableCache>) -> io::Result<Self> {
        let queue =
            Arc::new(Queue { state: Mutex::new(State::default()), changed: Condvar::new() });
        let (sender, built) = channel();
        for (lane, name) in [(Lane::Quick, "unwind-quick"), (Lane::Any, "unwind-any")] {
            let worker = Worker {
                lane,
                queue: Arc::clone(&queue),
                registry: Arc::clone(registry),
                cache: cache.cloned(),
                built: sender.clone(),
            };
            // They end when the queue is closed.
            thread::Builder::new().name(name.into()).spawn(move || worker.run())?;
        }
        Ok(Self { queue, built, outstanding: 0 })
    }

    /// Asks for a table.
    pub(super) fn submit(&mut self, job: Job) {
        self.outstanding += 1;
        self.queue.lock().jobs.push(Queued { job, samples: 1 });
        self.queue.changed.notify_all();
    }

    /// One more sample waits for a table that was asked for.
    pub(super) fn insist(&self, number: ObjectNumber) {
        let mut state = self.queue.lock();
        if let Some(queued) = state.jobs.iter_mut().find(|queued| queued.job.number == number) {
            queued.samples += 1;
        }
    }

    /// The next table that is done; `None` when there is none yet.
    pub(super) fn next(&mut self) -> Option<Built> {
        let built = self.built.try_recv().ok()?;
        self.outstanding -= 1;
        Some(built)
    }

    /// Jobs that are not done.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

// === impl Queue ===

impl Queue {
    /// Waits for a job; `None` when there will be none any more.
    fn next(&self, lane: Lane) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let job = match lane {
                Lane::Quick => state.most_wanted(),
                Lane::Any => state.large.pop_front().or_else(|| state.most_wanted()),
            };
            if job.is_some() {
                return job;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the queue whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// What most samples wait for; the first of several.
    fn most_wanted(&mut self) -> Option<Job> {
        let numbered = self.jobs.iter().enumerate().rev();
        let (at, _) = numbered.max_by_key(|(_, queued)| queued.samples)?;
        Some(self.jobs.remove(at).job)
    }
}

/// One of the threads.
struct Worker {
    lane: Lane,
    queue: Arc<Queue>,
    registry: Arc<Registry>,
    cache: Option<TableCache>,
    built: Sender<Built>,
}

// === impl Worker ===

impl Worker {
    fn run(&self) {
        while let Some(job) = self.queue.next(self.lane) {
            let Some(table) = self.work(&job) else { continue };
            let built = Built { number: job.number, id: job.id, table };
            if self.built.send(built).is_err() {
                return;
            }
        }
    }

    /// Builds a table; `None` when the job is the other thread's.
    fn work(&self, job: &Job) -> Option<Option<UnwindTable>> {
        if let Some(table) = self.cache.as_ref().and_then(|cache| cache.load(&job.id)) {
            return Some(Some(table));
        }
        let source = match self.registry.open_for_upload(&job.id) {
            Ok(source) => source,
            Err(error) => {
                debug!(%error, "no unwind table");
                return Some(None);
            }
        };
        if self.lane == Lane::Quick && source.size() > LARGE_BYTES {
            self.queue.lock().large.push_back(job.clone());
            self.queue.changed.notify_all();
            return None;
        }
        let debug = source.as_file().and_then(|file| self.registry.open_debug_file(&job.id, file));
        let built = match build(&source, debug.as_ref()) {
            Ok(table) => table,
            Err(error) => {
                info!(%error, path = source.path(), "no unwind table for a binary");
                return Some(None);
            }
        };
        // What lacks its debug file may have it at the next start.
        let is_final = debug.is_some() || !built.stats().wants_debug_file();
        if let Some(cache) = self.cache.as_ref().filter(|_| is_final) {
            cache.store(&job.id, &built);
        }
        Some(Some(built))
    }
}

fn build(
    source: &UploadSource,
    debug: Option<&File>,
) -> Result<UnwindTable, fleetprof_unwind::BuildError> {
    let limits = Limits::default();
    let debug = debug.map(|file| file as &dyn ReadAt);
    match (source.as_file(), source.as_bytes()) {
        (Some(file), _) => fleetprof_unwind::build(file, debug, &limits),
        (None, bytes) => {
            let bytes = bytes.unwrap_or_default().to_vec();
            fleetprof_unwind::build(&bytes, debug, &limits)
        }
    }
}

#[cfg(test)]
mod tests;
