//! Threads that wait for the symbolizer, so that a query need not: a large object's first address
//! takes seconds. What a query did not wait for is in the cache for the next one.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use fleetprof_proto::{
    ids::ObjectId,
    symbol::{Reason, Symbol},
};
use fleetprof_symbolizer::{ObjectSource, PoolError, SymbolizerPool};
use tokio_util::sync::CancellationToken;

use super::cache::Cache;

/// Addresses asked for at a time: between two questions a job can be cancelled.
const QUESTION: usize = 4096;

/// A queue of jobs and the threads that do them. The threads end when it is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    queue: mpsc::Sender<Job>,
}

/// Addresses of one object.
#[derive(Debug)]
pub(super) struct Job {
    /// Given back with the answer.
    pub number: usize,
    pub object: ObjectId,
    pub source: ObjectSource,
    pub offsets: Vec<u64>,
    /// When it fires, nobody wants the answer.
    pub cancel: CancellationToken,
    pub reply: mpsc::Sender<Done>,
}

/// A job's answer.
#[derive(Debug)]
pub(super) struct Done {
    pub number: usize,
    /// Parallel to the job's offsets.
    pub symbols: Result<Vec<Symbol>, PoolError>,
}

// === impl Workers ===

impl Workers {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        threads: usize,
        symbolizer: &Arc<SymbolizerPool>,
        cache: &Arc<Mutex<Cache>>,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads.max(1) {
            let (jobs, symbolizer, cache) = (jobs.clone(), symbolizer.clone(), cache.clone());
            let work = move || {
                loop {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    do_job(&job, &symbolizer, &cache);
                }
            };
            thread::Builder::new().name("symbols".to_owned()).spawn(work)?;
        }
        Ok(Self { queue })
    }

    /// Queues a job. The queue is bounded by the queries that run at a time and the objects in each.
    pub(super) fn submit(&self, job: Job) {
        // Without threads the job is dropped, and its reply with it, which ends the wait for it.
        let _ = self.queue.send(job);
    }
}

fn do_job(job: &Job, symbolizer: &SymbolizerPool, cache: &Mutex<Cache>) {
    let mut symbols = Vec::with_capacity(job.offsets.len());
    for offsets in job.offsets.chunks(QUESTION) {
        if job.cancel.is_cancelled() {
            return;
        }
        match symbolizer.symbolize(&job.source, offsets) {
            Ok(answers) => {
                let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                for (offset, symbol) in offsets.iter().zip(&answers) {
                    // A file that vanished may come back.
                    if *symbol != Symbol::Unknown(Reason::NoObject) {
                        cache.insert(&job.object, *offset, symbol.clone());
                    }
                }
                symbols.extend(answers);
            }
            Err(error) => {
                let _ = job.reply.send(Done { number: job.number, symbols: Err(error) });
                return;
            }
        }
    }
    // Nobody may wait for it any more.
    let _ = job.reply.send(Done { number: job.number, symbols: Ok(symbols) });
}
