//! Unwinding without frame pointers: tables for the walk in the kernel, and the walk of the stacks
//! that were copied because it could not go on.
//!
//! ```text
//! sample of a process or code the kernel side does not know: its stack is copied
//!   → stack.rs walks the copy; what it hits and has no table is asked for, and the sample waits
//!   → builder.rs makes the table (cache.rs keeps it), objects.rs puts it into the kernel
//!   → processes.rs puts the process's mappings there: the next samples need no copy
//! ```
//!
//! In: copied stacks with the [`Bound`] program they are of, process events. Out: user frames, each
//! sample once: now, when its tables are there, or when it has waited for too long. Memory is
//! bounded by [`UnwindConfig`].

mod arena;
mod builder;
mod cache;
#[doc(hidden)]
pub mod fuzz;
mod kernel;
mod objects;
mod outdated;
mod processes;
mod stack;
#[cfg(test)]
mod testing;
mod waiting;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fleetprof_abi::ResultCode;
use thiserror::Error;
use tracing::{debug, warn};

use self::{
    builder::{Builder, Job},
    cache::TableCache,
    objects::{ObjectNumber, Objects},
    outdated::Outdated,
    processes::{Processes, Program},
    stack::{PageCache, Walked, walk},
    waiting::Waiting,
};
pub use self::{
    kernel::KernelSide,
    objects::ObjectCounts,
    waiting::{Kept, WAIT_NS},
};
use crate::{
    aggregate::Clocks,
    object::Registry,
    process::Bound,
    sampler::{CopiedStack, ProcessEvent, RawSample},
};

/// How much unwinding may use.
#[derive(Clone, Debug)]
pub struct UnwindConfig {
    /// Kernel memory for tables, mappings and processes, bytes.
    pub memory_bytes: usize,
    /// Where tables are kept from one start to the next; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes kept there.
    pub cache_bytes: u64,
    /// Most bytes of samples that wait for tables.
    pub waiting_bytes: usize,
}

/// Unwinding cannot begin.
#[derive(Debug, Error)]
pub enum UnwindError {
    /// No thread.
    #[error("no thread could be started to build unwind tables: {0}")]
    Thread(#[source] io::Error),
    /// No memory.
    #[error("no memory to keep samples that wait for unwind tables: {0}")]
    Memory(#[source] io::Error),
}

/// What became of a copied stack.
#[derive(Debug)]
pub enum Unwound {
    /// The user frames, those that the kernel found included.
    Frames(Vec<u64>, ResultCode),
    /// It waits for a table; [`Unwinder::poll`] hands it out.
    Waits,
}

/// What is counted, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindCounts {
    /// Objects and their tables.
    pub objects: ObjectCounts,
    /// Processes whose mappings are in the kernel.
    pub processes: usize,
    /// Processes that made way for others.
    pub processes_evicted: u64,
    /// Samples that wait for tables.
    pub waiting: usize,
    /// Tables being built.
    pub building: usize,
    /// Stacks that were copied, and are finished.
    pub copied: u64,
    /// Kernel memory, bytes.
    pub kernel_bytes: usize,
}

/// The unwinder.
pub struct Unwinder<K> {
    kernel: K,
    objects: Objects,
    processes: Processes,
    builder: Builder,
    waiting: Waiting,
    cache: PageCache,
    outdated: Outdated,
    /// Stacks that are finished here, by how they ended.
    finished: [u64; ResultCode::ALL.len()],
    /// Those of them that had ended in the kernel, by how they had.
    withdrawn: [u64; ResultCode::ALL.len()],
}

/// A process younger than this may be gone before its mappings are in the kernel.
const MIN_AGE_NS: u64 = 150_000_000;

// === impl UnwindConfig ===

impl Default for UnwindConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            cache_dir: None,
            cache_bytes: 256 << 20,
            waiting_bytes: 8 << 20,
        }
    }
}

// === impl Unwinder ===

impl<K: KernelSide> Unwinder<K> {
    /// Starts with empty tables.
    ///
    /// # Errors
    /// When there is no thread, or no memory.
    pub fn start(
        config: &UnwindConfig,
        registry: &Arc<Registry>,
        kernel: K,
    ) -> Result<Self, UnwindError> {
        let cache = config.cache_dir.as_ref().and_then(|path| {
            let opened = TableCache::open(path, config.cache_bytes);
            opened.map_err(|error| no_cache(path, &error)).ok()
        });
        let table_bytes = config.memory_bytes.saturating_sub(kernel.kernel_bytes());
        Ok(Self {
            builder: Builder::start(registry, cache.as_ref()).map_err(UnwindError::Thread)?,
            objects: Objects::new(table_bytes),
            processes: Processes::default(),
            waiting: Waiting::new(config.waiting_bytes).map_err(UnwindError::Memory)?,
            cache: PageCache::default(),
            outdated: Outdated::default(),
            finished: [0; ResultCode::ALL.len()],
            withdrawn: [0; ResultCode::ALL.len()],
            kernel,
        })
    }

    /// Takes note of what a process does.
    pub fn apply(&mut self, event: &ProcessEvent) {
        match event {
            // What it maps now is told by its next sample, which has its stack copied.
            ProcessEvent::Exec { pid, .. } | ProcessEvent::Exit { pid, .. } => self.forget(*pid),
            ProcessEvent::Mmap(mapping) => {
                let was_known = self.processes.has(mapping.pid);
                self.forget(mapping.pid);
                if was_known {
                    self.outdated.add(mapping, Clocks::now().boottime_ns);
                }
            }
            ProcessEvent::Fork { .. } => {}
            ProcessEvent::Lost { .. } => self.processes.clear(&mut self.objects, &self.kernel),
        }
    }

    /// The sample without the frames that the kernel side found by the table of code which had been
    /// replaced by other code a moment before.
    pub fn certain<'a>(&mut self, sample: RawSample<'a>) -> RawSample<'a> {
        let certain = self.outdated.certain(&sample);
        let Some(user) = sample.user.get(..certain).filter(|user| user.len() < sample.user.len())
        else {
            return sample;
        };
        if sample.copied.is_none() {
            self.withdrawn[usize::from(sample.result.number())] += 1;
        }
        let result = ResultCode::MappingChanged;
        self.count(result);
        RawSample { user, result, copied: None, ..sample }
    }

    /// Takes note that no sample from before `time_ns` will come any more.
    pub fn drained(&mut self, time_ns: u64) {
        self.outdated.forget(time_ns);
    }

    /// Walks a copied stack.
    pub fn unwind(&mut self, sample: &RawSample<'_>, bound: &Bound) -> Unwound {
        let Some(copied) = sample.copied else {
            return Unwound::Frames(sample.user.to_vec(), sample.result);
        };
        self.introduce(sample, bound);
        let mut frames = sample.user.to_vec();
        match self.walk(&copied, bound, &mut frames) {
            Walked::Done(code) => self.finish(frames, overall(code, sample.kernel_result)),
            Walked::Missing(number, frame) => {
                self.request(number);
                if !self.waiting.add(sample, bound, number) {
                    self.objects.release(number);
                    frames.push(frame);
                    return self.finish(frames, ResultCode::TableLate);
                }
                Unwound::Waits
            }
        }
    }

    /// Brings tables that were built into the kernel, and hands out the samples that need not wait
    /// any longer, with their frames. To be called between two readings of the samples' ring: no
    /// walk is as long as that. `now_ns` is `CLOCK_BOOTTIME`.
    pub fn poll(&mut self, now_ns: u64, sink: &mut dyn FnMut(&Kept, Vec<u64>, ResultCode)) {
        while let Some(built) = self.builder.next() {
            // Its number may be another object's by now.
            if self.objects.id(built.number) == Some(&built.id) {
                self.objects.built(built.number, built.table, &self.kernel);
            }
        }
        self.processes.settle();
        let cache = &mut self.cache;
        self.objects.load(&self.kernel, now_ns, &mut |run| cache.forget(run));
        for mut kept in self.waiting.take_ready(now_ns, |number| !self.objects.is_requested(number))
        {
            self.objects.release(kept.number);
            let mut frames = kept.user.clone();
            let is_late = kept.is_late(now_ns);
            // Without memory for it, the walk ends where it is.
            let stack = kept.stack().unwrap_or_default();
            let code = match self.walk(&kept.copied(&stack), &kept.bound, &mut frames) {
                Walked::Done(code) => overall(code, kept.kernel_result()),
                Walked::Missing(number, _) if !is_late => {
                    self.request(number);
                    kept.number = number;
                    self.waiting.put_back(kept);
                    continue;
                }
                Walked::Missing(number, frame) => {
                    self.objects.release(number);
                    frames.push(frame);
                    ResultCode::TableLate
                }
            };
            self.count(code);
            sink(&kept, frames, code);
        }
    }

    /// Whether samples wait for tables.
    pub fn has_waiting(&self) -> bool {
        self.waiting.len() > 0
    }

    /// Stacks that are finished here, by how they ended, indexed by the code's number.
    pub fn finished(&self) -> &[u64; ResultCode::ALL.len()] {
        &self.finished
    }

    /// Those of them that the kernel side had counted, by how they had ended there.
    pub fn withdrawn(&self) -> &[u64; ResultCode::ALL.len()] {
        &self.withdrawn
    }

    /// Sizes and events.
    pub fn counts(&self) -> UnwindCounts {
        let (processes, processes_evicted) = self.processes.counts();
        UnwindCounts {
            objects: self.objects.counts(),
            processes,
            processes_evicted,
            waiting: self.waiting.len(),
            building: self.builder.outstanding(),
            copied: self.finished.iter().sum(),
            kernel_bytes: self.kernel.kernel_bytes(),
        }
    }

    /// Memory held here, bytes, estimated; without the kernel's.
    pub fn approx_bytes(&self) -> usize {
        self.objects.approx_bytes()
            + self.waiting.bytes()
            + self.cache.approx_bytes()
            + self.outdated.approx_bytes()
    }

    fn walk(&mut self, copied: &CopiedStack<'_>, bound: &Bound, frames: &mut Vec<u64>) -> Walked {
        walk(copied, bound, &mut self.objects, &self.kernel, &mut self.cache, frames)
    }

    /// Puts the process's mappings into the kernel, unless that is not worth it.
    fn introduce(&mut self, sample: &RawSample<'_>, bound: &Bound) {
        let program =
            Program { pid: sample.pid, start_ns: sample.start_boottime_ns, mm: sample.mm };
        let age_ns = sample.time_ns.saturating_sub(sample.start_boottime_ns);
        let may = sample.mm != 0 && !bound.has_ended() && age_ns >= MIN_AGE_NS;
        if !may || self.processes.knows(program) {
            return;
        }
        let added = self.processes.add(program, bound, &mut self.objects, &self.kernel);
        if let Err(error) = added {
            debug!(%error, pid = sample.pid, "process not put into the kernel's maps");
        }
    }

    fn request(&mut self, number: ObjectNumber) {
        if !self.objects.request(number) {
            self.builder.insist(number);
        } else if let Some(id) = self.objects.id(number) {
            self.builder.submit(Job { number, id: id.clone() });
        }
    }

    fn finish(&mut self, frames: Vec<u64>, code: ResultCode) -> Unwound {
        self.count(code);
        Unwound::Frames(frames, code)
    }

    fn count(&mut self, code: ResultCode) {
        self.finished[usize::from(code.number())] += 1;
    }

    fn forget(&mut self, pid: u32) {
        self.processes.remove(pid, &mut self.objects, &self.kernel);
    }
}

/// It only saves time.
fn no_cache(path: &Path, error: &io::Error) {
    warn!(
        %error,
        folder = %path.display(),
        "unwind tables are not kept from one start to the next; see --unwind-cache-dir"
    );
}

/// How a whole stack ended, its user part with `user`.
fn overall(user: ResultCode, kernel: ResultCode) -> ResultCode {
    if user == ResultCode::Complete { kernel } else { user }
}

#[cfg(test)]
mod tests;
