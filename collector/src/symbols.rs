//! Names for the frames of a batch.
//!
//! In: a (merged) batch. Out: one [`Symbol`] per frame row. Answers of objects that are there are kept
//! in a bounded cache; that an object is missing is never kept, so a profile that was stored before
//! its symbols came shows names after. A query waits for names for a bounded time; what was not ready
//! is named as such, and is there for the next query. Not done here: parsing, which happens in the
//! symbolizer's worker processes.

mod cache;
mod workers;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use fleetprof_proto::{
    batch::Batch,
    ids::ObjectId,
    symbol::{Reason, Symbol},
};
use fleetprof_symbolizer::SymbolizerPool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    metrics::{Metrics, ResultLabel},
    objects::Catalog,
};
use cache::Cache;
use workers::{Done, Job, Workers};

/// How often a waiting query looks whether its client is still there.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Names code. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Symbols {
    catalog: Catalog,
    workers: Arc<Workers>,
    cache: Arc<Mutex<Cache>>,
    patience: Duration,
    metrics: Metrics,
}

/// How names are made.
#[derive(Clone, Copy, Debug)]
pub struct SymbolLimits {
    /// Answers kept, at most about.
    pub cached: usize,
    /// Objects that are worked on at a time.
    pub threads: usize,
    /// How long one batch waits for names.
    pub patience: Duration,
}

/// Names for a batch.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Parallel to the batch's frame rows.
    pub symbols: Vec<Symbol>,
    /// What has no names though it could, one sentence each.
    pub problems: Vec<String>,
}

/// Frames of one object that are not in the cache: offset and row, by offset.
struct Unnamed {
    object: ObjectId,
    rows: Vec<(u64, usize)>,
    answered: bool,
}

// === impl Symbols ===

impl Symbols {
    /// Names from the objects of `catalog`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        catalog: Catalog,
        symbolizer: SymbolizerPool,
        limits: SymbolLimits,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let cache = Arc::new(Mutex::new(Cache::new(limits.cached)));
        let workers = Workers::start(limits.threads, &Arc::new(symbolizer), &cache)?;
        let patience = limits.patience;
        Ok(Self { catalog, workers: Arc::new(workers), cache, patience, metrics })
    }

    /// Names every frame of a batch, as far as names are there in time; stops early when cancelled.
    /// Blocks.
    pub fn resolve(&self, batch: &Batch, cancel: &CancellationToken) -> Resolved {
        let missing = Symbol::Unknown(Reason::NoObject);
        let mut symbols = vec![missing; batch.frame_count()];
        let mut by_object: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (row, symbol) in symbols.iter_mut().enumerate() {
            match batch.frame(row).locate() {
                Ok(object) => by_object.entry(object).or_default().push(row),
                Err(reason) => *symbol = Symbol::Unknown(reason),
            }
        }
        let mut resolved = Resolved { symbols, problems: Vec::new() };
        let mut unnamed = Vec::new();
        let (reply, answers) = mpsc::channel();
        for (object, rows) in by_object {
            let Some(source) = self.catalog.source(&object) else { continue };
            let rows = self.fill_cached(batch, &object, &rows, &mut resolved);
            if rows.is_empty() {
                continue;
            }
            self.workers.submit(Job {
                number: unnamed.len(),
                object: object.clone(),
                source,
                offsets: rows.iter().map(|(offset, _)| *offset).collect(),
                cancel: cancel.clone(),
                reply: reply.clone(),
            });
            unnamed.push(Unnamed { object, rows, answered: false });
        }
        // What is left belongs to the jobs: when they are done or dropped, so is the wait.
        drop(reply);
        self.wait(&answers, &mut unnamed, cancel, &mut resolved);
        self.count(&resolved.symbols);
        resolved
    }

    /// Fills in what is known; answers the rest, by offset, on which the symbolizer is fastest.
    fn fill_cached(
        &self,
        batch: &Batch,
        object: &ObjectId,
        rows: &[usize],
        out: &mut Resolved,
    ) -> Vec<(u64, usize)> {
        let mut unknown = Vec::new();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let offset = batch.frame(*row).offset;
            match cache.get(object, offset) {
                Some(symbol) => out.symbols[*row] = symbol,
                None => unknown.push((offset, *row)),
            }
        }
        drop(cache);
        unknown.sort_unstable();
        unknown
    }

    fn wait(
        &self,
        answers: &mpsc::Receiver<Done>,
        unnamed: &mut [Unnamed],
        cancel: &CancellationToken,
        out: &mut Resolved,
    ) {
        let started = Instant::now();
        while !cancel.is_cancelled() && started.elapsed() < self.patience {
            let left = self.patience.saturating_sub(started.elapsed());
            match answers.recv_timeout(left.min(LOOK_UP)) {
                Ok(done) => {
                    let Some(asked) = unnamed.get_mut(done.number) else { continue };
                    asked.answered = true;
                    match done.symbols {
                        Ok(symbols) => {
                            for ((_, row), symbol) in asked.rows.iter().zip(symbols) {
                                out.symbols[*row] = symbol;
                            }
                        }
                        Err(error) => {
                            let object = &asked.object;
                            warn!(%object, %error, "no symbolizer");
                            out.problems.push(format!("names of {object}: {error}"));
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let late = unnamed.iter().filter(|asked| !asked.answered);
        out.problems.extend(
            late.map(|asked| format!("names of {}: still being prepared, ask again", asked.object)),
        );
    }

    fn count(&self, symbols: &[Symbol]) {
        let mut by_result: HashMap<&'static str, u64> = HashMap::new();
        // Row 0 is reserved.
        for symbol in symbols.iter().skip(1) {
            let result = match symbol {
                Symbol::Named(_) => "named",
                Symbol::Unknown(reason) => reason.as_str(),
            };
            *by_result.entry(result).or_default() += 1;
        }
        for (result, count) in by_result {
            self.metrics.symbols.get_or_create(&ResultLabel { result }).inc_by(count);
        }
    }
}

#[cfg(test)]
mod tests;
