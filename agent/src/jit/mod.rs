//! Names of generated code, as the runtimes of processes write them: perf maps and jitdumps.
//!
//! ```text
//! a sample hits memory that no file stands behind
//!   → program.rs looks for the files of its process (now and then, again)
//!   → follow.rs reads what was added, perf_map.rs and jitdump.rs make records of it
//!   → table.rs knows which function is where, names.rs what it is called
//! ```
//!
//! In: the program a sample was taken in, and an address of it. Out: its [`FrameSource`], or nothing.
//! Everything read is somebody else's: files must belong to the process's user, and what is kept is
//! bounded by [`JitConfig`], for each program and for all. Not done here: which addresses are of
//! generated code (`normalize`).

mod follow;
#[doc(hidden)]
pub mod fuzz;
mod jitdump;
mod names;
mod perf_map;
mod program;
mod record;
mod table;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use fleetprof_proto::{batch::SourceName, ids::ObjectKind};
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, Timespec, clock_gettime};
use tracing::debug;

use self::program::{Program, Turn};
use crate::{
    object::{CodeObject, Registry},
    process::{Bound, ImageId, MappingSet},
    sampler::ProcessEvent,
};

/// How much may be kept.
#[derive(Clone, Debug)]
pub struct JitConfig {
    /// Most bytes for one program: half for each of its two files. What goes beyond has no names.
    pub max_program_bytes: usize,
    /// Most bytes for all: above it, the programs that were not sampled for longest are forgotten.
    pub max_bytes: usize,
}

/// What a runtime says of some code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSource {
    /// Name of the function, as it was given.
    pub function: Box<str>,
    /// Source file.
    pub file: Option<Box<str>>,
    /// Source line, 1-based; 0 when unknown.
    pub line: u32,
}

/// Sizes and events, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitCounts {
    /// Programs that were sampled in generated code.
    pub programs: usize,
    /// Functions known of them.
    pub entries: usize,
    /// Memory for that, bytes, estimated.
    pub bytes: usize,
    /// What happened.
    pub events: JitEvents,
}

/// Events since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitEvents {
    /// Files that were read again from their beginning: replaced, cut short or written anew.
    pub files_replaced: u64,
    /// Attempts to read what is no regular file of the process's user.
    pub files_refused: u64,
    /// Attempts to read that failed or took too long.
    pub reads_failed: u64,
    /// Lines and records that are not as they must be.
    pub malformed: u64,
    /// Functions there was no room for.
    pub entries_refused: u64,
    /// Programs forgotten to keep within the memory limit.
    pub evicted: u64,
}

/// The names of all programs.
#[derive(Debug)]
pub struct JitSymbols {
    config: JitConfig,
    registry: Arc<Registry>,
    /// What frames with a name are of.
    object: Arc<CodeObject>,
    programs: FxHashMap<ImageId, Program>,
    /// No file is looked at before this.
    next_ns: u64,
    tidied_ns: u64,
    events: JitEvents,
}

/// Whose generated code is asked for, and when.
#[derive(Clone, Copy, Debug)]
struct Subject<'a> {
    image: ImageId,
    pid: u32,
    ended: bool,
    mappings: &'a MappingSet,
    time_ns: u64,
}

/// Path of the object that all frames with a name share: which memory it was means nothing elsewhere.
pub const JIT_PATH: &str = "[jit]";

/// How long nothing is read after a MiB was, whosever it is: 16 MiB a second take some 6 % of a core, and
/// anybody can write files that need to be read all the time.
const NS_PER_MIB: u64 = 1_000_000_000 / 16;

/// How often ended programs are dropped, and memory is added up.
const TIDY_NS: u64 = 1_000_000_000;

/// How long an ended program is kept: samples wait that long for unwind tables.
const KEEP_NS: u64 = crate::unwind::WAIT_NS + 1_000_000_000;

/// A program that was not sampled for so long is forgotten: its end may have been missed.
const IDLE_NS: u64 = 600_000_000_000;

// === impl FrameSource ===

impl FrameSource {
    /// As batches take it.
    pub fn name(&self) -> SourceName<'_> {
        let Self { function, file, line } = self;
        SourceName { function, file: file.as_deref(), line: *line }
    }
}

// === impl JitConfig ===

impl Default for JitConfig {
    fn default() -> Self {
        Self { max_program_bytes: 48 << 20, max_bytes: 64 << 20 }
    }
}

// === impl JitSymbols ===

impl JitSymbols {
    /// Knows nothing yet.
    pub fn new(config: JitConfig, registry: Arc<Registry>) -> Self {
        let path = registry.path(JIT_PATH.as_bytes());
        let object = registry.code_object(ObjectKind::Anonymous, None, &path);
        Self {
            config,
            registry,
            object,
            programs: FxHashMap::default(),
            next_ns: 0,
            tidied_ns: 0,
            events: JitEvents::default(),
        }
    }

    /// What frames with a name are of.
    pub fn object(&self) -> &Arc<CodeObject> {
        &self.object
    }

    /// What a runtime says of the code at an address when a sample was taken. Reads its files when that
    /// was not just done.
    pub fn name(
        &mut self,
        program: &Bound,
        address: u64,
        time_ns: u64,
    ) -> Option<Arc<FrameSource>> {
        let info = program.info();
        self.name_in(
            &Subject {
                image: info.image,
                pid: info.pid,
                ended: program.has_ended(),
                mappings: program.mappings(),
                time_ns,
            },
            address,
        )
    }

    fn name_in(&mut self, subject: &Subject<'_>, address: u64) -> Option<Arc<FrameSource>> {
        let config = &self.config;
        let new = || Program::new(config, subject.pid);
        let program = self.programs.entry(subject.image).or_insert_with(new);
        program.used_ns = program.used_ns.max(subject.time_ns);
        if program.ended_ns.is_some_and(|ended_ns| subject.time_ns > ended_ns) && !subject.ended {
            // What ended was one of its threads.
            program.ended_ns = None;
        }
        if program.is_due(subject) && subject.time_ns >= self.next_ns {
            let (registry, events) = (&self.registry, &mut self.events);
            let mut turn = Turn { registry, to_boottime: &from_monotonic, events, cost_bytes: 0 };
            program.refresh(subject, &mut turn);
            let cost_ns = turn.cost_bytes.saturating_mul(NS_PER_MIB) >> 20;
            self.next_ns = subject.time_ns.saturating_add(cost_ns);
        }
        program.find(address, subject.time_ns)
    }

    /// Takes note of programs that end.
    pub fn apply(&mut self, event: &ProcessEvent) {
        let (ProcessEvent::Exit { time_ns, pid } | ProcessEvent::Exec { time_ns, pid, .. }) = event
        else {
            return;
        };
        for program in self.programs.values_mut().filter(|program| program.pid == *pid) {
            program.ended_ns.get_or_insert(*time_ns);
        }
    }

    /// Says that every sample taken before `time_ns` was handed out: what ended long enough before is
    /// dropped, and the memory limit is enforced.
    pub fn drained(&mut self, time_ns: u64) {
        if time_ns.saturating_sub(self.tidied_ns) < TIDY_NS {
            return;
        }
        self.tidied_ns = time_ns;
        let is_over = |since_ns: u64, keep_ns| since_ns.saturating_add(keep_ns) < time_ns;
        self.programs.retain(|_, program| {
            program.forget(time_ns);
            let ended = program.ended_ns.is_some_and(|ended_ns| is_over(ended_ns, KEEP_NS));
            !ended && !is_over(program.used_ns, IDLE_NS)
        });
        self.evict();
    }

    /// Sizes and events.
    pub fn counts(&self) -> JitCounts {
        JitCounts {
            programs: self.programs.len(),
            entries: self.programs.values().map(Program::entries).sum(),
            bytes: self.bytes(),
            events: self.events,
        }
    }

    fn bytes(&self) -> usize {
        self.programs.values().map(Program::bytes).sum()
    }

    fn evict(&mut self) {
        let mut bytes = self.bytes();
        while bytes > self.config.max_bytes {
            let oldest = self.programs.iter().min_by_key(|(_, program)| program.used_ns);
            let Some((image, size)) = oldest.map(|(image, oldest)| (*image, oldest.bytes())) else {
                return;
            };
            debug!(bytes, size, "names of generated code forgotten to keep within the limit");
            self.programs.remove(&image);
            self.events.evicted += 1;
            bytes = bytes.saturating_sub(size);
        }
    }
}

/// The same instant on the clock of samples. The clocks differ by the time the host slept; of what was
/// written before it slept, by less. A time that is still to come is of another clock: not known.
fn from_monotonic(time_ns: u64) -> u64 {
    if time_ns == 0 {
        return 0;
    }
    let nanos = |time: Timespec| {
        let whole = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
        whole + u64::try_from(time.tv_nsec).unwrap_or(0)
    };
    let boottime_ns = nanos(clock_gettime(ClockId::Boottime));
    let monotonic_ns = nanos(clock_gettime(ClockId::Monotonic));
    if time_ns > monotonic_ns {
        return 0;
    }
    time_ns.saturating_add(boottime_ns.saturating_sub(monotonic_ns))
}

#[cfg(test)]
mod tests;
