//! `fleetprof-agent record`: sample for a while, symbolize here, write one pprof file.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use fleetprof_proto::{
    batch::{Batch, Merger},
    labels, pprof,
};
use fleetprof_symbolizer::WorkerCommand;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use tempfile::NamedTempFile;

use crate::{
    accounting::Ledger,
    aggregate::AggregatorConfig,
    config::RecordConfig,
    pipeline::{Pipeline, Sources},
    sampler::SamplerConfig,
    unwind::UnwindConfig,
};

mod symbols;

/// Most bytes of samples that wait for unwind tables. A recording is short, often at a high rate, and
/// begins without any table: more than an agent has that stays.
const WAITING_BYTES: usize = 64 << 20;

/// Bytes of the ring, for the same reason: all stacks of a second, at a thousand samples in it.
const RING_BYTES: usize = 32 << 20;

/// Records as asked. A SIGINT ends the recording early and writes what there is. `worker` starts the
/// processes that parse the binaries of this host.
///
/// # Errors
/// When the host does not let us sample, nothing was sampled, or the file cannot be written.
pub fn run(config: &RecordConfig, worker: WorkerCommand) -> anyhow::Result<()> {
    let output = Output::create(&config.output)?;
    check_pid(config.pid)?;
    let ledger = Arc::new(Ledger::new());
    let sources = Sources::survey();
    let batch = record(config, &sources, &ledger)?;
    let taken = ledger.snapshot();
    if batch.sample_total() == 0 {
        let whom = config.pid.map_or("any process".to_owned(), |pid| format!("process {pid}"));
        bail!("no samples: {whom} used no CPU in that time; record for longer");
    }
    progress(&format!("symbolizing {} addresses", batch.frame_count()));
    let symbols = symbols::symbolize(&batch, &sources, worker)?;
    let comments = [format!(
        "fleetprof-agent {} record: {} samples taken, {} lost",
        env!("CARGO_PKG_VERSION"),
        taken.taken,
        taken.dropped_total()
    )];
    let profile = pprof::gzip(&pprof::encode(&batch, &symbols, &comments))?;
    output.publish(&profile)?;
    let seconds = batch.samples().map(|row| row.nanos).sum::<u64>() as f64 / 1e9;
    progress(&format!(
        "{} samples, {seconds:.2} CPU seconds, {} lost\nstacks: {}\nwrote {path}; look at it with: go tool pprof -top {path}",
        batch.sample_total(),
        taken.dropped_total(),
        stacks(&taken.results),
        path = config.output.display(),
    ));
    Ok(())
}

/// Samples until the time is over, the process has ended or a signal came.
fn record(config: &RecordConfig, sources: &Sources, ledger: &Arc<Ledger>) -> anyhow::Result<Batch> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    let sampler = SamplerConfig {
        frequency_hz: config.frequency_hz,
        pid: config.pid,
        ring_bytes: Some(RING_BYTES),
        ..SamplerConfig::default()
    };
    // One window for all; it is closed early only when it would grow too large.
    let window = config.duration + Duration::from_secs(3600);
    let aggregator = AggregatorConfig { window, ..AggregatorConfig::default() };
    let pipeline = Pipeline::start(
        &sampler,
        &aggregator,
        &UnwindConfig { waiting_bytes: WAITING_BYTES, ..UnwindConfig::default() },
        sources,
        Arc::clone(ledger),
    )?;
    let mut merger = Merger::new();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut keep = |window: crate::aggregate::ClosedWindow| {
        let accounting = ledger.seal(window.samples(), || None);
        let batch = window.finish([(labels::HOST, host.as_str())], accounting);
        merger.add(&batch, |labels| {
            Some(labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
        });
    };
    let bar = progress_bar(config.duration);
    let left = |pipeline: &Pipeline| {
        bar.set_position(u64::try_from(pipeline.elapsed().as_millis()).unwrap_or(u64::MAX));
        let left = config.duration.saturating_sub(pipeline.elapsed());
        let over = left.is_zero() || stop.load(Relaxed) || !is_alive(config.pid);
        if over {
            bar.finish_and_clear();
        }
        (!over).then_some(left)
    };
    pipeline.run(left, &mut keep)?;
    Ok(merger.finish())
}

/// How the walks of the stacks ended, the most frequent first: "98.5 % complete, 1.5 % no_mapping".
fn stacks(results: &[(&'static str, u64)]) -> String {
    let mut results: Vec<_> = results.iter().filter(|(_, count)| *count > 0).collect();
    results.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let total: u64 = results.iter().map(|(_, count)| count).sum();
    let share = |count: u64| 100.0 * count as f64 / total as f64;
    let parts = results.iter().map(|(name, count)| format!("{:.1} % {name}", share(*count)));
    parts.collect::<Vec<_>>().join(", ")
}

fn check_pid(pid: Option<u32>) -> anyhow::Result<()> {
    match pid {
        Some(pid) if !is_alive(Some(pid)) => {
            bail!("there is no process {pid}; `ps -e` lists those there are")
        }
        _ => Ok(()),
    }
}

fn is_alive(pid: Option<u32>) -> bool {
    pid.is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

/// Shown on a terminal only.
fn progress_bar(duration: Duration) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("recording {wide_bar} {elapsed}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn progress(text: &str) {
    if io::stderr().is_terminal() || text.contains('\n') {
        eprintln!("{text}");
    }
}

/// A file that appears when it is complete, and not at all when something fails.
struct Output {
    file: NamedTempFile,
    path: PathBuf,
}

// === impl Output ===

impl Output {
    /// Fails before the recording rather than after it.
    fn create(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            bail!("{} is a directory; name a file in it", path.display());
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".fleetprof-record-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    fn publish(mut self, content: &[u8]) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        self.file.write_all(content).with_context(failed)?;
        self.file.persist(&self.path).map_err(|error| error.error).with_context(failed)?;
        Ok(())
    }
}
