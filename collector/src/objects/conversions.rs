//! Objects become symbol tables: once each, in the background, what a query waits for first.
//!
//! In: ids of objects that are there. Out: the catalog knows their tables, or why they have none. The
//! work is done by the symbolizer's processes; here are the queue and a few threads that wait for them.
//! One of these takes small objects only, so that a huge one delays nobody else's. Nothing is lost in
//! a crash: what has no table at the start is queued again.

use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use fleetprof_proto::{ids::ObjectId, symbol::Reason};
use fleetprof_symbolizer::{
    Conversion, ConversionError, Converter, LeftOut, Made, Refusal, TableFile, TableFileError,
};
use tracing::{debug, info, warn};

use super::{
    catalog::{Catalog, Failure, ToConvert},
    pool::Pool,
};
use crate::{
    log_limit::LogLimit,
    metrics::{Metrics, ResultLabel},
};

/// Objects up to this size are small, bytes.
const SMALL_BYTES: u64 = 64 << 20;

/// An object has this long, and as much again for each such part of it: sixty times what one of a
/// compiler takes.
const TIME: Duration = Duration::from_secs(30);
const TIME_FOR_BYTES: u64 = 128 << 20;
const MAX_TIME: Duration = Duration::from_secs(600);

/// Pause after a conversion that could not be tried: no space is left, say.
const PAUSE: Duration = Duration::from_secs(5);

/// Conversions of objects. Cloning shares them; the threads end with the last clone.
#[derive(Clone, Debug)]
pub struct Conversions {
    shared: Arc<Shared>,
    _ends: Arc<Ends>,
}

/// What conversions need.
#[derive(Debug)]
pub struct ConversionParts {
    /// Objects and tables.
    pub catalog: Catalog,
    /// Makes tables.
    pub converter: Converter,
    /// Where they are written at first; on the same file system as the catalog.
    pub scratch: PathBuf,
    /// Conversions at a time, at least two.
    pub threads: usize,
    /// Most bytes that one object may unpack to.
    pub max_unpacked_bytes: u64,
    /// The other collectors, which may need what is made.
    pub pool: Pool,
    /// What is counted.
    pub metrics: Metrics,
}

#[derive(Debug)]
struct Shared {
    parts: ConversionParts,
    queue: Mutex<Queue>,
    /// Something was queued or done.
    changed: Condvar,
    log: LogLimit,
}

/// Ids of objects that wait; whether they still do is the catalog's to say.
#[derive(Debug, Default)]
struct Queue {
    small: VecDeque<ObjectId>,
    large: VecDeque<ObjectId>,
    running: HashSet<ObjectId>,
    ended: bool,
}

#[derive(Debug)]
struct Ends(Arc<Shared>);

/// What a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Small,
    Any,
}

// === impl Conversions ===

impl Conversions {
    /// Starts the threads and queues what has no table yet.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(parts: ConversionParts) -> io::Result<Self> {
        let threads = parts.threads.max(2);
        let waiting = parts.catalog.to_convert();
        if !waiting.is_empty() {
            info!(objects = waiting.len(), "objects wait for their symbol tables");
        }
        let mut queue = Queue::default();
        for job in &waiting {
            queue.add(job);
        }
        let (queue, changed, log) = (Mutex::new(queue), Condvar::new(), LogLimit::default());
        let shared = Arc::new(Shared { parts, queue, changed, log });
        let ends = Arc::new(Ends(shared.clone()));
        for number in 0..threads {
            let lane = Lane::of_thread(number);
            let shared = shared.clone();
            let work = move || shared.work(lane);
            thread::Builder::new().name("convert".to_owned()).spawn(work)?;
        }
        Ok(Self { shared, _ends: ends })
    }

    /// Queues an object that has a new file behind the others, and those that need parts of the file.
    pub(crate) fn add(&self, id: &ObjectId) {
        let jobs = self.shared.parts.catalog.waiting_for(id);
        let mut queue = self.shared.lock();
        for job in &jobs {
            queue.add(job);
        }
        drop(queue);
        self.shared.changed.notify_all();
        if jobs.is_empty() {
            // It is read as it is.
            self.shared.parts.pool.offer(id);
        }
    }

    /// Somebody waits for these objects: they are next.
    pub(crate) fn hurry(&self, ids: &[ObjectId]) {
        let mut queue = self.shared.lock();
        for id in ids {
            if let Some(job) = self.shared.parts.catalog.waits(id) {
                queue.add_first(&job);
            }
        }
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Waits until a conversion ends, or the time is up.
    pub(crate) fn wait(&self, time: Duration) {
        let queue = self.shared.lock();
        // Whatever woke it, the caller looks at what it waits for.
        let _ = self.shared.changed.wait_timeout(queue, time);
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

// === impl Lane ===

impl Lane {
    /// The first of at least two threads is left to small objects.
    fn of_thread(number: usize) -> Self {
        if number == 0 { Self::Small } else { Self::Any }
    }
}

// === impl Queue ===

impl Queue {
    fn add(&mut self, job: &ToConvert) {
        self.lane(job).push_back(job.id.clone());
    }

    fn add_first(&mut self, job: &ToConvert) {
        if self.running.contains(&job.id) {
            return;
        }
        let lane = self.lane(job);
        lane.retain(|id| *id != job.id);
        lane.push_front(job.id.clone());
    }

    fn lane(&mut self, job: &ToConvert) -> &mut VecDeque<ObjectId> {
        if job.bytes <= SMALL_BYTES { &mut self.small } else { &mut self.large }
    }

    /// The next object that waits and that nobody works on.
    fn next(&mut self, lane: Lane, catalog: &Catalog) -> Option<ToConvert> {
        loop {
            let large = if lane == Lane::Any { self.large.pop_front() } else { None };
            let id = large.or_else(|| self.small.pop_front())?;
            let job = catalog.waits(&id).filter(|job| !self.running.contains(&job.id));
            if let Some(job) = job {
                self.running.insert(id);
                return Some(job);
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, lane: Lane) {
        while let Some(job) = self.take(lane) {
            let done = self.convert(&job);
            self.parts.pool.offer(&job.id);
            let mut queue = self.lock();
            queue.running.remove(&job.id);
            // Not done, or of files that have changed meanwhile.
            if let Some(job) = self.parts.catalog.waits(&job.id) {
                queue.add(&job);
            }
            drop(queue);
            self.changed.notify_all();
            if !done {
                self.pause();
            }
        }
    }

    /// Waits for an object; `None` at the end.
    fn take(&self, lane: Lane) -> Option<ToConvert> {
        let mut queue = self.lock();
        loop {
            if queue.ended {
                return None;
            }
            if let Some(job) = queue.next(lane, &self.parts.catalog) {
                return Some(job);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pause(&self) {
        let until = Instant::now() + PAUSE;
        let mut queue = self.lock();
        while !queue.ended
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            let woken = self.changed.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Answers whether the object is settled.
    fn convert(&self, job: &ToConvert) -> bool {
        let ConversionParts { catalog, converter, scratch, metrics, .. } = &self.parts;
        let table = scratch.join(format!("table-{:032x}", fastrand::u128(..)));
        let conversion = Conversion {
            object: job.path.clone(),
            debug: job.debug.clone(),
            shared: job.shared.clone(),
            package: job.package.clone(),
            table: table.clone(),
            max_unpacked_bytes: self.parts.max_unpacked_bytes,
            time: time_for(job.bytes),
            symbols_only: false,
        };
        let started = Instant::now();
        let made = converter.convert(&conversion).and_then(|made| {
            let bytes = check(&conversion)?;
            let kept = catalog.adopt_table(job, &table, bytes);
            kept.map(|kept| (made, kept))
                .map_err(|error| ConversionError::Unavailable(error.to_string()))
        });
        if !matches!(made, Ok((_, true))) {
            // It may not exist, and is removed at the next start otherwise.
            let _ = fs::remove_file(&table);
        }
        metrics.conversion_seconds.observe(started.elapsed().as_secs_f64());
        let (result, settled) = match made {
            Ok((_, false)) => ("outdated", true),
            made => self.settle(job, made.map(|(made, _)| made)),
        };
        metrics.conversions.get_or_create(&ResultLabel { result }).inc();
        settled
    }

    /// A word for counters, and whether the object is settled.
    fn settle(&self, job: &ToConvert, made: Result<Made, ConversionError>) -> (&'static str, bool) {
        let id = &job.id;
        match made {
            Ok(Made { report, left_out }) => {
                debug!(object = %id, bytes = report.table_bytes, "symbol table made");
                if let Some(why) = report.damage.filter(|_| self.log.allow().is_some()) {
                    warn!(object = %id, why, "object is damaged: some of it has no names");
                }
                match left_out {
                    None => ("table", true),
                    Some((LeftOut::Companions, why)) => {
                        let text = "object is named without its shared or split debug information";
                        warn!(object = %id, why, "{text}");
                        ("incomplete", true)
                    }
                    Some((LeftOut::DebugInfo, why)) => {
                        let text = "object has no lines: its debug information was refused";
                        warn!(object = %id, why, "{text}");
                        ("symbols_only", true)
                    }
                }
            }
            Err(ConversionError::Refused(refusal)) => {
                let reason = match refusal {
                    Refusal::Unsupported(_) => Reason::Unsupported,
                    Refusal::BadObject(_) | Refusal::Io(_) => Reason::BadObject,
                };
                self.refuse(job, Failure::of_object(&refusal.to_string(), reason));
                ("refused", true)
            }
            Err(ConversionError::Lost(why)) => {
                self.refuse(job, Failure::perhaps_of_object(&why));
                ("lost", true)
            }
            Err(ConversionError::Unavailable(why)) => {
                if let Some(silent) = self.log.allow() {
                    warn!(object = %id, why, silent, "conversion is tried again");
                }
                // Were its file gone, there would be no end of it.
                let gone = !job.path.exists();
                if gone {
                    self.refuse(job, Failure::perhaps_of_object("its file is gone"));
                }
                ("unavailable", gone)
            }
        }
    }

    fn refuse(&self, job: &ToConvert, failure: Failure) {
        if let Some(silent) = self.log.allow() {
            warn!(object = %job.id, why = &*failure.why, silent, "object refused: it has no symbol table");
        }
        self.parts.catalog.refuse(job, failure);
    }
}

/// Reads a new table once: whoever wrote it was given an untrusted object.
fn check(conversion: &Conversion) -> Result<u64, ConversionError> {
    match TableFile::open(&conversion.table) {
        Ok(table) => Ok(table.bytes()),
        Err(TableFileError::Io(error)) => Err(ConversionError::Unavailable(error.to_string())),
        Err(TableFileError::Table(error)) => Err(ConversionError::Lost(error.to_string())),
    }
}

fn time_for(bytes: u64) -> Duration {
    let parts = u32::try_from(bytes / TIME_FOR_BYTES).unwrap_or(u32::MAX);
    TIME.saturating_mul(parts.saturating_add(1)).min(MAX_TIME)
}

#[cfg(test)]
mod tests;
