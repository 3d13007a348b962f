//! `fleetprof-agent run`: sample and deliver until told to stop.
//!
//! Two threads: the pipeline has one of its own, so that a slow network or disk never delays a
//! sample; everything else shares a single-threaded runtime.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use crate::{
    accounting::Ledger,
    aggregate::{AggregatorConfig, Clocks, ClosedWindow},
    config::RunConfig,
    jit::JitCounts,
    metrics::{self, Metrics},
    pipeline::{Pipeline, Sources},
    process::TableCounts,
    sampler::{CpuCounts, SamplerConfig},
    stream::{Delivery, DeliveryConfig, DeliveryHandle, Tuning, WRITER_GRACE},
    unwind::{UnwindConfig, UnwindCounts},
};

mod jit;
mod objects;

/// From the signal to the end of reading and sending.
const SHUTDOWN: Duration = Duration::from_secs(6);
/// For threads that hang in the file system.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);
/// `docker stop` kills after 10 s, and others grant more.
const _: () = assert!(SHUTDOWN.as_secs() + WRITER_GRACE.as_secs() + RUNTIME_GRACE.as_secs() < 10);

/// A pipeline that has not turned for this long does not do its work.
const STUCK_NS: u64 = 60_000_000_000;

/// What the pipeline's thread and the runtime share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// `CLOCK_BOOTTIME` of the last turn, nanoseconds.
    turned_ns: AtomicU64,
    counts: Mutex<Counts>,
}

/// What the pipeline counted until its last turn.
#[derive(Clone, Copy, Default)]
struct Counts {
    cpus: CpuCounts,
    processes: TableCounts,
    unwinding: UnwindCounts,
    jit: JitCounts,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the agent cannot start, or the pipeline fails; the message says what to do.
pub fn run(config: RunConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

async fn serve(config: RunConfig) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let ledger = Arc::new(Ledger::new());
    let shared = Arc::new(Shared::default());
    shared.turned_ns.store(Clocks::now().boottime_ns, Relaxed);
    let sources = Sources::survey();
    let delivery = start_delivery(&config, &sources, &ledger)?;
    let handle = delivery.handle();
    let _metrics = metrics::serve(
        config.metrics_listen,
        show(&config, Arc::clone(&ledger), handle.clone(), Arc::clone(&shared)),
    )
    .await?;
    let mut pipeline =
        start_pipeline(&config, &sources, Arc::clone(&ledger), handle, Arc::clone(&shared))?;
    let outcome = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        outcome = &mut pipeline => Some(outcome),
    };
    let end = Instant::now() + SHUTDOWN;
    shared.stop.store(true, Relaxed);
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            info!("stopping");
            let late = || Ok(Err(anyhow!("the last samples could not be read in time")));
            timeout_at(end, pipeline).await.unwrap_or_else(|_| late())
        }
    };
    let summary = delivery.shutdown(end.saturating_duration_since(Instant::now())).await;
    let left = ledger.snapshot().pending;
    info!(
        delivered_samples = summary.delivered_samples,
        spooled_samples = summary.spooled_samples,
        lost_samples = summary.lost_samples,
        unread_samples = left.in_kernel + left.in_window,
        "stopped"
    );
    outcome.unwrap_or_else(|_| Err(anyhow!("the sampling thread panicked; this is a bug")))
}

fn start_delivery(
    config: &RunConfig,
    sources: &Sources,
    ledger: &Arc<Ledger>,
) -> anyhow::Result<Delivery> {
    let delivery = DeliveryConfig {
        collector: config.collector.clone(),
        host: config.host.clone(),
        buffer_bytes: config.buffer_bytes,
        spool_dir: config.spool_dir.clone(),
        spool_bytes: config.spool_bytes,
        upload_rate_bytes: config.upload_rate_bytes,
        tuning: Tuning { offer_interval: config.look_again, ..Tuning::default() },
    };
    let objects = Arc::new(sources.clone());
    Ok(Delivery::start(delivery, Arc::clone(ledger), objects)?)
}

/// The outcome arrives when the thread has handed out its last window.
fn start_pipeline(
    config: &RunConfig,
    sources: &Sources,
    ledger: Arc<Ledger>,
    delivery: DeliveryHandle,
    shared: Arc<Shared>,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let sampler = SamplerConfig {
        frequency_hz: config.frequency_hz,
        build_ids: config.build_ids,
        ..SamplerConfig::default()
    };
    let aggregator = AggregatorConfig { window: config.window, ..AggregatorConfig::default() };
    let unwind = UnwindConfig {
        memory_bytes: usize::try_from(config.unwind_memory_bytes).unwrap_or(usize::MAX),
        cache_dir: Some(config.unwind_cache_dir.clone()).filter(|dir| !dir.as_os_str().is_empty()),
        ..UnwindConfig::default()
    };
    let pipeline = Pipeline::start(&sampler, &aggregator, &unwind, sources, Arc::clone(&ledger))?;
    let batch_labels = config.labels.clone();
    let mut submit = move |window: ClosedWindow| {
        let accounting = ledger.seal(window.samples(), || None);
        delivery.submit(&window.finish(batch_labels.iter(), accounting));
    };
    let (done, outcome) = oneshot::channel();
    let turn = move |pipeline: &Pipeline| {
        *shared.counts() = Counts {
            cpus: pipeline.cpus(),
            processes: pipeline.processes(),
            unwinding: pipeline.unwinding(),
            jit: pipeline.jit(),
        };
        shared.turned_ns.store(Clocks::now().boottime_ns, Relaxed);
        (!shared.stop.load(Relaxed)).then_some(Duration::MAX)
    };
    let sampling = move || {
        let result = pipeline.run(turn, &mut submit);
        if done.send(result).is_err() {
            warn!("the agent ended before its last window");
        }
    };
    thread::Builder::new()
        .name("sampling".to_owned())
        .spawn(sampling)
        .context("cannot start the sampling thread")?;
    Ok(outcome)
}

fn show(
    config: &RunConfig,
    ledger: Arc<Ledger>,
    delivery: DeliveryHandle,
    shared: Arc<Shared>,
) -> Metrics {
    let frequency = f64::from(config.frequency_hz);
    let counts = {
        let shared = Arc::clone(&shared);
        move || *shared.counts()
    };
    let gauge = {
        let counts = counts.clone();
        move |read: fn(Counts) -> usize| {
            let counts = counts.clone();
            // Exact up to 2^53.
            move || read(counts()) as f64
        }
    };
    let jit = {
        let counts = counts.clone();
        move || counts().jit
    };
    jit::show(Metrics::new(ledger), jit)
        .delivery(move || delivery.status())
        .gauge("frequency_hertz", "Samples per second and CPU", move || frequency)
        .gauges("cpus", "CPUs, by what samples them", "source", {
            let counts = counts.clone();
            move || cpus(&counts().cpus)
        })
        .counter("cpu_faults", "Failed attempts to sample CPUs", {
            let counts = counts.clone();
            move || counts().cpus.faults
        })
        .gauge("processes", "Processes known", gauge(|counts| counts.processes.processes))
        .gauge(
            "unwind_processes",
            "Processes whose stacks are walked in the kernel",
            gauge(|counts| counts.unwinding.processes),
        )
        .gauge(
            "unwind_tables",
            "Unwind tables in the kernel",
            gauge(|counts| counts.unwinding.objects.tables),
        )
        .gauge(
            "unwind_tables_building",
            "Unwind tables being built",
            gauge(|counts| counts.unwinding.building),
        )
        .gauge(
            "unwind_samples_waiting",
            "Samples that wait for unwind tables",
            gauge(|counts| counts.unwinding.waiting),
        )
        .gauge(
            "unwind_kernel_memory_bytes",
            "Kernel memory for unwinding",
            gauge(|counts| counts.unwinding.kernel_bytes),
        )
        .counters("process_events", "What happened while tracking processes", "event", {
            let counts = counts.clone();
            move || process_events(&counts().processes)
        })
        .counters("unwind_events", "What happened while unwinding", "event", move || {
            unwind_events(&counts().unwinding)
        })
        .health(move || {
            let now_ns = Clocks::now().boottime_ns;
            let still_ns = now_ns.saturating_sub(shared.turned_ns.load(Relaxed));
            if still_ns <= STUCK_NS {
                return Ok(());
            }
            Err(format!("no samples were read for {} s", still_ns / 1_000_000_000))
        })
}

/// `failed`: online, and the kernel does not let us sample it for now.
fn cpus(counts: &CpuCounts) -> Vec<(String, u64)> {
    let sources = [
        ("hardware_cycles", counts.hardware_cycles),
        ("cpu_clock", counts.cpu_clock),
        ("failed", counts.failed),
    ];
    named(sources.map(|(name, count)| (name, count as u64)))
}

fn process_events(counts: &TableCounts) -> Vec<(String, u64)> {
    named([
        ("maps_read", counts.maps_read),
        ("evicted", counts.evicted),
        ("mapping_refused", counts.mappings_refused),
        ("sampled_after_exit", counts.gone),
        ("events_lost", counts.events_lost),
    ])
}

fn unwind_events(counts: &UnwindCounts) -> Vec<(String, u64)> {
    named([
        ("stack_copied", counts.copied),
        ("table_built", counts.objects.built),
        ("table_failed", counts.objects.failed),
        ("table_evicted", counts.objects.evicted),
        ("process_evicted", counts.processes_evicted),
    ])
}

fn named<const N: usize>(counts: [(&str, u64); N]) -> Vec<(String, u64)> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}
