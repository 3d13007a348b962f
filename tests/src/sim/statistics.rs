//! How realistic the drawn windows are: how many distinct stacks they have, and services have in an hour.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use fleetprof_proto::{
    batch::Window,
    ids::{BatchId, InstanceId},
    v1::Accounting,
};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{library::Library, paint::Painter, plan::Plan};

/// Numbers about windows that were made and sent to nobody.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// Host-windows made.
    pub windows: usize,
    /// Samples in them.
    pub samples: u64,
    /// CPU seconds it took to draw and seal them.
    pub cpu_seconds: f64,
    /// Samples made per CPU second.
    pub samples_per_cpu_second: f64,
    /// Compressed bytes per sample.
    pub bytes_per_sample: f64,
    /// Bytes per sample before compression.
    pub raw_bytes_per_sample: f64,
    /// Samples per host and window.
    pub samples_per_window: Quantiles,
    /// Distinct stacks per host and window.
    pub stacks_per_window: Quantiles,
    /// Distinct stacks per service (all hosts) and hour.
    pub stacks_per_service_hour: Quantiles,
    /// Samples per service and hour.
    pub samples_per_service_hour: Quantiles,
    /// Distinct stacks of each captured program: the most a service can have.
    pub captured: BTreeMap<String, usize>,
}

/// Of a set of counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// Smallest.
    pub min: u64,
    /// Half are below.
    pub median: u64,
    /// Largest.
    pub max: u64,
}

// === impl Statistics ===

impl Statistics {
    /// Makes `windows` windows of every host, on this thread.
    ///
    /// # Panics
    /// When a batch that was made is not valid.
    pub fn measure(
        library: &Arc<Library>,
        plan: &Arc<Plan>,
        start: i64,
        window_nanos: i64,
        windows: usize,
    ) -> Self {
        let mut painter = Painter::new(Arc::clone(library), Arc::clone(plan));
        let mut random = fastrand::Rng::with_seed(plan.config.seed);
        let instance = InstanceId::random();
        let (mut samples, mut bytes, mut raw) = (Vec::new(), 0, 0);
        let mut stacks = Vec::new();
        let mut hours: HashMap<(usize, i64), (HashSet<u32>, u64)> = HashMap::new();
        let mut cpu = 0.0;
        let mut drawn = Vec::new();
        for number in 0..windows {
            let at = start + i64::try_from(number).unwrap_or(0) * window_nanos;
            let window = Window { start_unix_nanos: at, end_unix_nanos: at + window_nanos };
            for host in &plan.hosts {
                drawn.clear();
                let began = thread_seconds();
                let visit = |service, item| drawn.push((service, item));
                let body = painter.paint(host, window, &mut random, visit);
                let tail = body.tail(library, plan, host, window, Accounting::default());
                let sealed = body.seal(BatchId { instance, sequence: 1 }, tail);
                cpu += thread_seconds() - began;
                bytes += sealed.payload.len();
                raw += sealed.raw_size;
                samples.push(sealed.samples);
                stacks.push(body.distinct as u64);
                let hour = at / 3_600_000_000_000;
                for (service, item) in &drawn {
                    hours.entry((*service, hour)).or_default().0.insert(*item);
                }
                for part in &body.parts {
                    hours.entry((part.service, hour)).or_default().1 += part.samples;
                }
            }
        }
        let total: u64 = samples.iter().sum();
        let captured = library.programs().map(|(name, stacks)| (name.to_owned(), stacks));
        Self {
            windows: samples.len(),
            samples: total,
            cpu_seconds: cpu,
            samples_per_cpu_second: total as f64 / cpu,
            bytes_per_sample: bytes as f64 / total as f64,
            raw_bytes_per_sample: raw as f64 / total as f64,
            samples_per_window: Quantiles::of(samples),
            stacks_per_window: Quantiles::of(stacks),
            stacks_per_service_hour: Quantiles::of(
                hours.values().map(|(stacks, _)| stacks.len() as u64).collect(),
            ),
            samples_per_service_hour: Quantiles::of(
                hours.into_values().map(|(_, samples)| samples).collect(),
            ),
            captured: captured.collect(),
        }
    }
}

// === impl Quantiles ===

impl Quantiles {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        let at = |index: usize| counts.get(index).copied().unwrap_or(0);
        Self { min: at(0), median: at(counts.len() / 2), max: at(counts.len().saturating_sub(1)) }
    }
}

/// CPU time of this thread.
pub(super) fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
