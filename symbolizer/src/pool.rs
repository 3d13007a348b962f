//! Symbolization as a service for several threads.
//!
//! In: questions from any thread. Out: answers, from one of a fixed number of slots. A slot is a
//! worker process, so that an object that crashes, stalls or bloats a parser costs its own names and
//! nothing else. Each object has a home slot, where it stays parsed. Not done here: queues (callers wait
//! for their slot; use a blocking pool).

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use fleetprof_proto::symbol::{Reason, Symbol};
use thiserror::Error;
use tracing::{debug, warn};

use crate::{
    options::Options,
    process::{Worker, WorkerCommand, WorkerFailure},
    symbolizer::{Depth, ObjectSource, Version},
    wire::{Hello, Question, Reply, WireOptions, Work},
};

/// Addresses in one question to a slot: bounds the size of the answer.
const MAX_QUESTION: usize = 4096;

/// Objects up to this size are parsed a second time elsewhere rather than waited for, bytes.
const SMALL_OBJECT_BYTES: u64 = 4 << 20;

/// Objects remembered for what they did to a worker.
const MAX_VERDICTS: usize = 4096;

/// How long they are remembered: the cause may have been a busy host, and no answer is final.
const VERDICT_LIFETIME: Duration = Duration::from_secs(3600);

/// What a worker process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Heap and stacks of one worker, bytes; beyond it the worker dies.
    pub memory_bytes: u64,
    /// Longest time for one question of up to 4096 addresses, its object's parsing included.
    pub timeout: Duration,
}

/// Symbolizes for many threads. Blocks the caller; for a blocking pool.
#[derive(Debug)]
pub struct SymbolizerPool {
    slots: Vec<Mutex<Slot>>,
    command: WorkerCommand,
    hello: Hello,
    limits: WorkerLimits,
    /// Objects that workers failed on.
    verdicts: Mutex<HashMap<ObjectSource, Record>>,
}

/// Nobody could be asked; says nothing about the object, so the question may be repeated.
#[derive(Debug, Error)]
pub enum PoolError {
    /// A process could not be started.
    #[error("cannot start a symbolizer: {0}")]
    Start(#[source] io::Error),
}

#[derive(Debug, Default)]
struct Slot {
    /// `None` until it is first needed, and after a failure.
    worker: Option<Worker<Reply>>,
    /// Questions it was asked.
    asked: u64,
}

/// What is done with an object after its full parsing cost a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    TablesOnly,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    version: Version,
    verdict: Verdict,
    since: Instant,
}

// === impl WorkerLimits ===

impl Default for WorkerLimits {
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, timeout: Duration::from_secs(120) }
    }
}

// === impl SymbolizerPool ===

impl SymbolizerPool {
    /// A pool of at most `workers` processes, started when needed. `options` apply to each.
    pub fn isolated(
        command: WorkerCommand,
        workers: usize,
        options: &Options,
        limits: WorkerLimits,
    ) -> Self {
        let work = Some(Work::Symbolize(WireOptions::new(options)));
        let hello = Hello { memory_bytes: limits.memory_bytes, work };
        let slots = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        Self { slots, command, hello, limits, verdicts: Mutex::default() }
    }

    /// Looks up addresses of one object; one answer each, in their order. Blocks until a slot is
    /// free and for as long as the object takes.
    ///
    /// # Errors
    /// When no worker can be started. What is wrong with an object is in the answers.
    pub fn symbolize(
        &self,
        source: &ObjectSource,
        addresses: &[u64],
    ) -> Result<Vec<Symbol>, PoolError> {
        let mut symbols = Vec::with_capacity(addresses.len());
        let mut slot = self.slot(source);
        for part in addresses.chunks(MAX_QUESTION) {
            symbols.extend(self.ask_isolated(&mut slot, source, part)?);
        }
        Ok(symbols)
    }

    /// Asks with ever less ambition until a worker survives.
    fn ask_isolated(
        &self,
        slot: &mut Slot,
        source: &ObjectSource,
        addresses: &[u64],
    ) -> Result<Vec<Symbol>, PoolError> {
        let refused = || vec![Symbol::Unknown(Reason::BadObject); addresses.len()];
        let ask = |slot: &mut Slot, depth| {
            let question = Question::new(source, depth, addresses);
            slot.ask(&self.command, &self.hello, self.limits, &question)
        };
        let version = Version::of(source.path()).ok();
        let verdict = self.verdict(source, version);
        if verdict.is_none() {
            // A worker that has served other objects may have died of them.
            let attempts = if slot.is_fresh() { 1 } else { 2 };
            for _ in 0..attempts {
                match ask(slot, Depth::Full)? {
                    Ok(symbols) => return Ok(symbols),
                    Err(failure) => {
                        warn!(path = %source.path().display(), %failure, "object cost a worker");
                    }
                }
            }
            self.judge(source, version, Verdict::TablesOnly);
        }
        if verdict == Some(Verdict::Refused) {
            return Ok(refused());
        }
        match ask(slot, Depth::Tables)? {
            Ok(symbols) => Ok(symbols),
            Err(failure) => {
                warn!(path = %source.path().display(), %failure, "object refused: it costs workers");
                self.judge(source, version, Verdict::Refused);
                Ok(refused())
            }
        }
    }

    /// The object's home, or another slot when that is quicker.
    fn slot(&self, source: &ObjectSource) -> MutexGuard<'_, Slot> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(source);
        let count = self.slots.len() as u64;
        let home = usize::try_from(hash % count).unwrap_or(0);
        if let Some(guard) = idle(&self.slots[home]) {
            return guard;
        }
        let size = std::fs::metadata(source.path()).map_or(0, |meta| meta.len());
        let elsewhere = (size <= SMALL_OBJECT_BYTES).then(|| self.slots.iter().find_map(idle));
        elsewhere
            .flatten()
            .unwrap_or_else(|| self.slots[home].lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn verdict(&self, source: &ObjectSource, version: Option<Version>) -> Option<Verdict> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let record = verdicts.get(source)?;
        let applies = Some(record.version) == version && record.since.elapsed() < VERDICT_LIFETIME;
        applies.then_some(record.verdict)
    }

    fn judge(&self, source: &ObjectSource, version: Option<Version>, verdict: Verdict) {
        let Some(version) = version else { return };
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_VERDICTS && !verdicts.contains_key(source) {
            debug!("too many bad objects remembered: starting anew");
            verdicts.clear();
        }
        verdicts.insert(source.clone(), Record { version, verdict, since: Instant::now() });
    }
}

/// `None` while another thread uses the slot.
fn idle(slot: &Mutex<Slot>) -> Option<MutexGuard<'_, Slot>> {
    match slot.try_lock() {
        Ok(guard) => Some(guard),
        // Whatever a slot holds is checked before it is used.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

// === impl Slot ===

impl Slot {
    /// Nothing but the next question can be blamed for what happens.
    fn is_fresh(&self) -> bool {
        self.worker.is_none() || self.asked == 0
    }

    fn ask(
        &mut self,
        command: &WorkerCommand,
        hello: &Hello,
        limits: WorkerLimits,
        question: &Question,
    ) -> Result<Result<Vec<Symbol>, WorkerFailure>, PoolError> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            empty => {
                self.asked = 0;
                empty.insert(Worker::start(command, hello).map_err(PoolError::Start)?)
            }
        };
        let outcome = worker.ask(question, limits.timeout).and_then(|reply| {
            let unfit = || WorkerFailure::Protocol(io::ErrorKind::InvalidData.into());
            reply.into_symbols(question.addresses.len()).ok_or_else(unfit)
        });
        self.asked += 1;
        if outcome.is_err() {
            self.worker = None;
        }
        Ok(outcome)
    }
}
