//! The standard metrics of a process, read from `/proc/self` at every scrape.

use std::fmt;

use procfs::{WithCurrentSystemInfo as _, process::Process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};
use tracing::debug;

#[derive(Debug)]
pub(super) struct ProcessCollector;

/// What is shown.
struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_files: usize,
    threads: i64,
    start_seconds: f64,
}

// === impl ProcessCollector ===

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A missing metric tells more than a zero; the scrape goes on without it.
        let usage = match usage() {
            Ok(usage) => usage,
            Err(error) => {
                debug!(%error, "own usage cannot be read");
                return Ok(());
            }
        };
        let help = "CPU time of the agent in user and kernel mode";
        let kind = MetricType::Counter;
        encoder
            .encode_descriptor("process_cpu_seconds", help, None, kind)?
            .encode_counter::<NoLabelSet, _, u64>(&usage.cpu_seconds, None)?;
        let mut gauge = |name, help, value: f64| {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
        };
        gauge("process_resident_memory_bytes", "Resident memory", as_f64(usage.resident_bytes))?;
        gauge("process_virtual_memory_bytes", "Virtual memory", as_f64(usage.virtual_bytes))?;
        gauge("process_open_fds", "Open file descriptors", as_f64(usage.open_files as u64))?;
        gauge("process_threads", "Threads", as_f64(usage.threads.unsigned_abs()))?;
        gauge("process_start_time_seconds", "Start, Unix time", usage.start_seconds)
    }
}

fn usage() -> Result<Usage, procfs::ProcError> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks_per_second = procfs::ticks_per_second();
    let seconds = |ticks: u64| as_f64(ticks) / as_f64(ticks_per_second);
    let boot = procfs::boot_time_secs()?;
    Ok(Usage {
        cpu_seconds: seconds(stat.utime.saturating_add(stat.stime)),
        resident_bytes: stat.rss_bytes().get(),
        virtual_bytes: stat.vsize,
        open_files: process.fd_count()?,
        threads: stat.num_threads,
        start_seconds: as_f64(boot) + seconds(stat.starttime),
    })
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "the text format has floating point numbers only")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
