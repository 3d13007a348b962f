//! Counters for Prometheus: counted where things happen, gauges read when asked.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{memory, objects::PoolStatus};
use fleetprof_store::LevelStatus;
pub use frames::Frames;
use levels::StoreLevels;

mod frames;
mod levels;
mod process;

/// The collector's metrics. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Batches made durable.
    pub batches: Counter,
    /// Samples in them.
    pub samples: Counter,
    /// Compressed bytes of them.
    pub bytes: Counter,
    /// Batches that were there already.
    pub duplicates: Counter,
    /// Batches refused for good.
    pub rejected: Family<ReasonLabel, Counter>,
    /// Streams that ended with an error.
    pub stream_errors: Family<ReasonLabel, Counter>,
    /// Time of one group commit, disk sync included.
    pub commit_seconds: Histogram,
    /// Batches in one group commit.
    pub commit_batches: Histogram,
    /// Group commits that failed.
    pub commit_failures: Counter,
    /// Connected agents.
    pub streams: Gauge,
    /// Objects received.
    pub objects_received: Counter,
    /// Uploads that went on where an earlier one had broken off.
    pub objects_resumed: Counter,
    /// Uploads that failed.
    pub objects_failed: Family<ReasonLabel, Counter>,
    /// Requests to agents to upload an object.
    pub objects_asked: Counter,
    /// Requests to debuginfod servers, by what became of them.
    pub debuginfod_requests: Family<ResultLabel, Counter>,
    /// Conversions of objects to symbol tables, by what became of them.
    pub conversions: Family<ResultLabel, Counter>,
    /// Time of conversions.
    pub conversion_seconds: Histogram,
    /// Looks at own symbol tables for other collectors, by what became of them.
    pub symbol_publications: Family<ResultLabel, Counter>,
    /// Fetches of other collectors' symbol tables, by what became of them.
    pub symbol_fetches: Family<ResultLabel, Counter>,
    /// Times at which the catalog could not be asked about symbol tables.
    pub symbol_exchange_failures: Counter,
    /// Time of queries.
    pub query_seconds: Family<MethodLabel, Histogram, fn() -> Histogram>,
    /// Queries that failed.
    pub query_failures: Family<MethodLabel, Counter>,
    /// Addresses looked up, by what became of them.
    pub symbols: Family<ResultLabel, Counter>,
    /// How much of the code of each service has names.
    pub frames: Frames,
    gauges: Gauges,
}

/// Values that are read when somebody asks.
#[derive(Clone, Debug, Default)]
struct Gauges {
    store_batches: Gauge<u64, AtomicU64>,
    store_samples: Gauge<u64, AtomicU64>,
    store_bytes: Gauge<u64, AtomicU64>,
    store_damaged: Gauge<u64, AtomicU64>,
    store_levels: StoreLevels,
    ready: Gauge,
    objects_stored: Gauge<u64, AtomicU64>,
    objects_wanted: Gauge<u64, AtomicU64>,
    objects_waiting: Gauge<u64, AtomicU64>,
    objects_unusable: Gauge<u64, AtomicU64>,
    objects_bytes: Gauge<u64, AtomicU64>,
    symbols_shared: Gauge<u64, AtomicU64>,
    symbols_unpublished: Gauge<u64, AtomicU64>,
    symbols_copied: Gauge<u64, AtomicU64>,
    process_cpu: Gauge<f64, AtomicU64>,
    process_rss: Gauge<u64, AtomicU64>,
    process_start: Gauge<f64, AtomicU64>,
}

/// What the gauges show.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Readable batches in the store.
    pub store_batches: u64,
    /// Samples in them.
    pub store_samples: u64,
    /// Size of the store.
    pub store_bytes: u64,
    /// Damaged places in it.
    pub store_damaged: u64,
    /// What is in each of its levels.
    pub store_levels: Vec<LevelStatus>,
    /// Whether batches can be stored.
    pub ready: bool,
    /// Objects that are there.
    pub objects_stored: u64,
    /// Objects that agents were asked for.
    pub objects_wanted: u64,
    /// Objects that wait for their conversion.
    pub objects_waiting: u64,
    /// Objects that could not be converted.
    pub objects_unusable: u64,
    /// Size of the objects.
    pub objects_bytes: u64,
    /// What collectors share.
    pub pool: PoolStatus,
    /// Start of this process, Unix nanoseconds.
    pub start_unix_nanos: i64,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// One of a few words.
    pub reason: &'static str,
}

/// What became of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// `named`, or the reason why not.
    pub result: &'static str,
}

/// Which query.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MethodLabel {
    /// Its name.
    pub method: Method,
}

/// The queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "they are the methods of QueryService")]
pub enum Method {
    Services,
    Labels,
    Series,
    Profile,
    Top,
    Symbols,
    Status,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let latency = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let mut metrics = Self {
            registry: Arc::default(),
            batches: Counter::default(),
            samples: Counter::default(),
            bytes: Counter::default(),
            duplicates: Counter::default(),
            rejected: Family::default(),
            stream_errors: Family::default(),
            commit_seconds: latency(),
            commit_batches: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            commit_failures: Counter::default(),
            streams: Gauge::default(),
            objects_received: Counter::default(),
            objects_resumed: Counter::default(),
            objects_failed: Family::default(),
            objects_asked: Counter::default(),
            debuginfod_requests: Family::default(),
            conversions: Family::default(),
            conversion_seconds: latency(),
            symbol_publications: Family::default(),
            symbol_fetches: Family::default(),
            symbol_exchange_failures: Counter::default(),
            query_seconds: Family::new_with_constructor(latency),
            query_failures: Family::default(),
            symbols: Family::default(),
            frames: Frames::default(),
            gauges: Gauges::default(),
        };
        let mut registry = Registry::with_prefix("fleetprof_collector");
        metrics.register(&mut registry);
        metrics.gauges.register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register("ingested_batches", "Batches made durable", self.batches.clone());
        r.register("ingested_samples", "Samples made durable", self.samples.clone());
        let help = "Compressed bytes of the batches made durable";
        r.register_with_unit("ingested", help, Unit::Bytes, self.bytes.clone());
        let help = "Batches that were there already (resends)";
        r.register("duplicate_batches", help, self.duplicates.clone());
        r.register("rejected_batches", "Batches refused for good", self.rejected.clone());
        let help = "Agent streams that ended with an error";
        r.register("stream_errors", help, self.stream_errors.clone());
        let help = "Time of one group commit, disk sync included";
        r.register_with_unit("commit", help, Unit::Seconds, self.commit_seconds.clone());
        r.register("commit_batches", "Batches in one group commit", self.commit_batches.clone());
        r.register("commit_failures", "Group commits that failed", self.commit_failures.clone());
        r.register("streams", "Connected agents", self.streams.clone());
        let help = "Binaries and symbol files received";
        r.register("objects_received", help, self.objects_received.clone());
        let help = "Uploads that went on where an earlier one had broken off";
        r.register("objects_resumed", help, self.objects_resumed.clone());
        r.register("object_failures", "Uploads that failed", self.objects_failed.clone());
        let help = "Requests to agents to upload an object";
        r.register("objects_asked", help, self.objects_asked.clone());
        let help = "Requests to debuginfod servers, by what became of them";
        r.register("debuginfod_requests", help, self.debuginfod_requests.clone());
        let help = "Conversions of objects to symbol tables, by what became of them";
        r.register("conversions", help, self.conversions.clone());
        let help = "Time of conversions";
        r.register_with_unit("conversion", help, Unit::Seconds, self.conversion_seconds.clone());
        let help = "Own symbol tables looked at for other collectors, by what became of them";
        r.register("symbol_publications", help, self.symbol_publications.clone());
        let help = "Fetches of other collectors' symbol tables, by what became of them";
        r.register("symbol_fetches", help, self.symbol_fetches.clone());
        let help = "Times at which the catalog could not be asked about symbol tables";
        r.register("symbol_exchange_failures", help, self.symbol_exchange_failures.clone());
        r.register_with_unit("query", "Time of queries", Unit::Seconds, self.query_seconds.clone());
        r.register("query_failures", "Queries that failed", self.query_failures.clone());
        let help = "Addresses looked up, by what became of them";
        r.register("symbols", help, self.symbols.clone());
        self.frames.register(r);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self, levels: &Levels) -> Result<String, fmt::Error> {
        self.gauges.set(levels);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    /// Counts a query that took this long.
    pub fn query(&self, method: Method, took: Duration, ok: bool) {
        self.query_seconds.get_or_create(&MethodLabel { method }).observe(took.as_secs_f64());
        if !ok {
            self.query_failures.get_or_create(&MethodLabel { method }).inc();
        }
    }
}

// === impl Gauges ===

impl Gauges {
    fn register(&self, r: &mut Registry) {
        r.register("store_batches", "Readable batches in the store", self.store_batches.clone());
        r.register("store_samples", "Samples in the store", self.store_samples.clone());
        let help = "Size of the store";
        r.register_with_unit("store", help, Unit::Bytes, self.store_bytes.clone());
        r.register("store_damaged", "Damaged places in the store", self.store_damaged.clone());
        self.store_levels.register(r);
        r.register("ready", "1 while batches can be stored, else 0", self.ready.clone());
        r.register("objects_stored", "Objects that are there", self.objects_stored.clone());
        let help = "Objects that are not there and that agents were asked for";
        r.register("objects_wanted", help, self.objects_wanted.clone());
        let help = "Objects whose symbol tables are still to be made";
        r.register("objects_waiting", help, self.objects_waiting.clone());
        let help = "Objects of which no symbol table can be made";
        r.register("objects_unusable", help, self.objects_unusable.clone());
        r.register_with_unit("objects", "Size of objects", Unit::Bytes, self.objects_bytes.clone());
        let help = "Objects whose symbols are there for all collectors";
        r.register("symbols_shared", help, self.symbols_shared.clone());
        let help = "Objects whose symbol tables are still to be published";
        r.register("symbols_unpublished", help, self.symbols_unpublished.clone());
        let help = "Size of the copies of other collectors' symbol tables";
        r.register_with_unit("symbols_copied", help, Unit::Bytes, self.symbols_copied.clone());
        let help = "CPU time of this process since its start";
        r.register_with_unit("process_cpu", help, Unit::Seconds, self.process_cpu.clone());
        let help = "Resident memory of this process";
        r.register_with_unit("process_resident", help, Unit::Bytes, self.process_rss.clone());
        let help = "Start of this process, Unix time";
        r.register_with_unit("process_start", help, Unit::Seconds, self.process_start.clone());
    }

    fn set(&self, levels: &Levels) {
        self.store_batches.set(levels.store_batches);
        self.store_samples.set(levels.store_samples);
        self.store_bytes.set(levels.store_bytes);
        self.store_damaged.set(levels.store_damaged);
        self.store_levels.set(&levels.store_levels);
        self.ready.set(levels.ready.into());
        self.objects_stored.set(levels.objects_stored);
        self.objects_wanted.set(levels.objects_wanted);
        self.objects_waiting.set(levels.objects_waiting);
        self.objects_unusable.set(levels.objects_unusable);
        self.objects_bytes.set(levels.objects_bytes);
        self.symbols_shared.set(levels.pool.tables);
        self.symbols_unpublished.set(levels.pool.unpublished);
        self.symbols_copied.set(levels.pool.copied_bytes);
        self.process_cpu.set(process::cpu_time().as_secs_f64());
        self.process_rss.set(memory::resident_bytes().unwrap_or(0));
        self.process_start.set(levels.start_unix_nanos as f64 / 1e9);
    }
}
