//! The stages in a row, on one thread: what `run` and `record` share.
//!
//! In: a running kernel. Out: [`ClosedWindow`]s, each sample accounted for in the [`Ledger`]. What
//! becomes of a window is the caller's.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fleetprof_abi::ResultCode;
use tracing::info;

use crate::{
    accounting::{DropReason, KernelCounts, Ledger},
    aggregate::{Aggregator, AggregatorConfig, Clocks, ClosedWindow},
    identity::{Evidence, Identity},
    jit::{JitConfig, JitCounts, JitSymbols},
    kernel::{Kernel, KernelConfig},
    normalize::Normalizer,
    object::{Registry, RegistryConfig},
    process::{ProcessInfo, ProcessTable, TableConfig, TableCounts},
    sampler::{CpuCounts, Event, KernelCounters, RawSample, Sampler, SamplerConfig, UnwindMaps},
    unwind::{KernelSide, UnwindConfig, UnwindCounts, Unwinder, Unwound},
};

/// How long a round waits for samples. Ten rounds a second cost next to nothing, and a process that
/// just started is still there when it is looked at.
const ROUND: Duration = Duration::from_millis(100);

/// How long to wait for unwind tables at the end, between two looks.
const TABLE_PAUSE: Duration = Duration::from_millis(20);

/// Everything between the kernel and a closed window.
pub struct Pipeline {
    sampler: Sampler,
    stages: Stages,
    started: Instant,
    unreadable: u64,
}

/// The stages behind the sampler.
struct Stages {
    table: ProcessTable,
    unwinder: Unwinder<Arc<UnwindMaps>>,
    normalizer: Normalizer,
    aggregator: Aggregator,
    ledger: Arc<Ledger>,
}

/// What other threads need of a pipeline: objects for uploads.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Files.
    pub registry: Arc<Registry>,
    /// The kernel and its modules.
    pub kernel: Arc<Kernel>,
}

/// Takes what comes out of the pipeline.
pub type Sink<'a> = &'a mut dyn FnMut(ClosedWindow);

// === impl Sources ===

impl Sources {
    /// Surveys the kernel; knows no files yet.
    pub fn survey() -> Self {
        Self {
            registry: Arc::new(Registry::new(&RegistryConfig::default())),
            kernel: Arc::new(Kernel::survey(KernelConfig::default())),
        }
    }
}

// === impl Pipeline ===

impl Pipeline {
    /// Starts sampling, then looks at what runs already: what changes meanwhile is told by events.
    ///
    /// # Errors
    /// When this host does not let us sample; the message says what to do.
    pub fn start(
        sampler: &SamplerConfig,
        aggregator: &AggregatorConfig,
        unwind: &UnwindConfig,
        sources: &Sources,
        ledger: Arc<Ledger>,
    ) -> anyhow::Result<Self> {
        let mut table = ProcessTable::new(TableConfig::default(), Arc::clone(&sources.registry));
        let jit = JitSymbols::new(JitConfig::default(), Arc::clone(&sources.registry));
        let normalizer = Normalizer::new(Arc::clone(&sources.kernel), jit);
        let sampler = Sampler::start(sampler).context("cannot sample this host")?;
        let unwinder = Unwinder::start(unwind, &sources.registry, sampler.unwind_maps())?;
        // The first window starts with the first sample, not after the scan.
        let aggregator = Aggregator::new(aggregator);
        let started = Instant::now();
        let summary = table.scan()?;
        info!(processes = summary.processes, mappings = summary.mappings, "processes found");
        let stages = Stages { table, unwinder, normalizer, aggregator, ledger };
        Ok(Self { sampler, stages, started, unreadable: 0 })
    }

    /// How long it has been sampling.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// CPUs by what samples them.
    pub fn cpus(&self) -> CpuCounts {
        self.sampler.cpu_counts()
    }

    /// What was counted while processes were tracked.
    pub fn processes(&self) -> TableCounts {
        self.stages.table.counts()
    }

    /// What was counted while stacks were unwound.
    pub fn unwinding(&self) -> UnwindCounts {
        self.stages.unwinder.counts()
    }

    /// What is known of generated code.
    pub fn jit(&self) -> JitCounts {
        self.stages.normalizer.jit_counts()
    }

    /// Samples until `next` says `None`, then stops and hands out all that is left, windows that have
    /// not ended included. `next` is asked before each turn of the loop: how long it may wait.
    ///
    /// # Errors
    /// When the kernel takes the sampler's resources away. What had been read is handed out then, too.
    pub fn run(
        mut self,
        mut next: impl FnMut(&Self) -> Option<Duration>,
        sink: Sink<'_>,
    ) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while outcome.is_ok()
            && let Some(longest) = next(&self)
        {
            outcome = self.round(longest, sink);
        }
        let finished = self.finish(sink);
        outcome.and(finished)
    }

    fn round(&mut self, longest: Duration, sink: Sink<'_>) -> anyhow::Result<()> {
        self.sampler.wait(longest.min(ROUND))?;
        self.drain(sink)
    }

    fn finish(&mut self, sink: Sink<'_>) -> anyhow::Result<()> {
        self.sampler.stop_sampling();
        // The second time takes what was younger than the first one's reading of the clock.
        let mut outcome = self.drain(sink).and_then(|()| self.drain(sink));
        // Each waits for a bounded time only.
        while self.stages.unwinder.has_waiting() {
            thread::sleep(TABLE_PAUSE);
            match outcome {
                Ok(()) => outcome = self.drain(sink),
                // What waits was read, and needs no sampler any more.
                Err(_) => self.stages.unwind(sink),
            }
        }
        while let Some(window) = self.stages.aggregator.flush() {
            sink(window);
        }
        outcome
    }

    fn drain(&mut self, sink: Sink<'_>) -> anyhow::Result<()> {
        let before_ns = Clocks::now().boottime_ns;
        let stages = &mut self.stages;
        self.sampler.poll(&mut |event| stages.handle(event, sink))?;
        let counters = self.sampler.counters()?;
        let unreadable = counters.unreadable.saturating_sub(self.unreadable);
        if unreadable > 0 {
            stages.ledger.received(unreadable);
            stages.ledger.dropped(DropReason::Undecodable, unreadable);
            self.unreadable = counters.unreadable;
        }
        stages.unwind(sink);
        stages.ledger.update_kernel(&kernel_counts(&counters, &stages.unwinder));
        stages.table.drained(before_ns);
        stages.unwinder.drained(before_ns);
        stages.normalizer.drained(before_ns);
        while let Some(window) = stages.aggregator.close(before_ns) {
            sink(window);
        }
        Ok(())
    }
}

// === impl Stages ===

impl Stages {
    fn handle(&mut self, event: Event<'_>, sink: Sink<'_>) {
        match event {
            Event::Process(event) => {
                self.table.apply(&event);
                self.unwinder.apply(&event);
                self.normalizer.apply(&event);
            }
            Event::Sample(raw) => {
                self.ledger.received(1);
                let raw = self.unwinder.certain(raw);
                if raw.copied.is_none() {
                    self.add(&raw, sink);
                } else {
                    self.add_copied(&raw, sink);
                }
            }
        }
    }

    fn add(&mut self, raw: &RawSample<'_>, sink: Sink<'_>) {
        let sample = self.normalizer.normalize(raw, &mut self.table);
        if let Some(window) = self.aggregator.add(&sample, labels_of) {
            sink(window);
        }
    }

    /// Walks a copied stack first; it may have to wait for a table.
    fn add_copied(&mut self, raw: &RawSample<'_>, sink: Sink<'_>) {
        let mut bound = self.table.bind(raw);
        if raw.copied.is_some_and(|copied| bound.mapping(copied.walk().lookup()).is_none())
            && self.table.reread(raw)
        {
            bound = self.table.bind(raw);
        }
        if let Unwound::Frames(user, result) = self.unwinder.unwind(raw, &bound) {
            self.add(&RawSample { user: &user, result, copied: None, ..*raw }, sink);
        }
    }

    /// Takes in what was built meanwhile, and the samples that waited for it.
    fn unwind(&mut self, sink: Sink<'_>) {
        let Self { unwinder, normalizer, aggregator, .. } = self;
        unwinder.poll(Clocks::now().boottime_ns, &mut |kept, user, result| {
            let sample = kept.sample(&user, result);
            let sample = normalizer.normalize_in(&sample, kept.bound());
            if let Some(window) = aggregator.add(&sample, labels_of) {
                sink(window);
            }
        });
    }
}

fn labels_of(process: &ProcessInfo) -> Vec<(&'static str, String)> {
    let evidence = Evidence {
        exe: process.exe.as_deref(),
        comm: &process.comm,
        kernel_thread: process.kernel_thread,
        cgroup: process.cgroup.as_deref(),
        otel_service_name: process.environ("OTEL_SERVICE_NAME"),
        otel_resource_attributes: process.environ("OTEL_RESOURCE_ATTRIBUTES"),
    };
    Identity::resolve(&evidence).into_labels()
}

/// Each sample ends in one result. One whose stack was copied ends in that of the walk that followed;
/// until then it has none. One whose callers were doubted ends in that.
fn kernel_counts<K: KernelSide>(counters: &KernelCounters, unwinder: &Unwinder<K>) -> KernelCounts {
    let (walked, withdrawn) = (unwinder.finished(), unwinder.withdrawn());
    let mut counts = KernelCounts { taken: counters.taken, ..KernelCounts::default() };
    for (code, count) in counters.results() {
        let number = usize::from(code.number());
        // The kernel side counts a sample after it has sent it.
        let kept = count.saturating_sub(withdrawn[number]);
        let kept = if code == ResultCode::StackCopied { 0 } else { kept };
        counts.results[number] = kept + walked[number];
    }
    counts
}

#[cfg(test)]
mod tests;
