//! The metrics named `fleetprof_agent_…`; the registry they are in adds that prefix.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{Extra, ExtraRead, Read};
use crate::{
    accounting::{KernelCounts, Ledger, Snapshot},
    stream::DeliveryStatus,
};

pub(super) struct AgentCollector {
    pub(super) ledger: Arc<Ledger>,
    pub(super) kernel: Read<Option<KernelCounts>>,
    pub(super) delivery: Option<Read<DeliveryStatus>>,
    pub(super) extras: Vec<Extra>,
}

/// Writes whole metrics.
struct Writer<'a>(DescriptorEncoder<'a>);

type Result = std::result::Result<(), fmt::Error>;

// === impl AgentCollector ===

impl fmt::Debug for AgentCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentCollector").finish_non_exhaustive()
    }
}

impl Collector for AgentCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut writer = Writer(encoder);
        ledger(&mut writer, &self.ledger.snapshot_with(|| (self.kernel)()))?;
        if let Some(read) = &self.delivery {
            delivery(&mut writer, &read())?;
        }
        self.extras.iter().try_for_each(|extra| writer.extra(extra))?;
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        writer.info("build", "Version of the agent", &[version])
    }
}

// === impl Writer ===

impl Writer<'_> {
    fn start<'s>(
        &'s mut self,
        name: &'s str,
        help: &'s str,
        kind: MetricType,
    ) -> std::result::Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result {
        let mut metric = self.start(name, help, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result {
        self.start(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> Result {
        let mut metric = self.start(name, help, MetricType::Counter)?;
        values.into_iter().try_for_each(|(key, value)| {
            let labels = [(label, key)];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> Result {
        let mut metric = self.start(name, help, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(key, value)| {
            let labels = [(label, key)];
            metric.encode_family(&labels)?.encode_gauge(&value)
        })
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, String)]) -> Result {
        self.start(name, help, MetricType::Info)?.encode_info(&labels)
    }

    fn extra(&mut self, extra: &Extra) -> Result {
        let Extra { name, help, read } = extra;
        match read {
            ExtraRead::Counter(read) => self.counter(name, help, read()),
            ExtraRead::Counters(label, read) => {
                let values = read();
                let values = values.iter().map(|(key, value)| (key.as_str(), *value));
                self.counters(name, help, label, values)
            }
            ExtraRead::Gauge(read) => self.gauge(name, help, read()),
            ExtraRead::Gauges(label, read) => {
                let values = read();
                let values = values.iter().map(|(key, value)| (key.as_str(), *value));
                self.gauges(name, help, label, values)
            }
            ExtraRead::Info(labels) => self.info(name, help, labels),
        }
    }
}

fn ledger(writer: &mut Writer<'_>, ledger: &Snapshot) -> Result {
    writer.counter("samples_taken", "Samples taken by the kernel side", ledger.taken)?;
    let help = "Samples in batches that a collector acknowledged";
    writer.counter("samples_delivered", help, ledger.delivered)?;
    let dropped = ledger.dropped.iter().copied();
    writer.counters("samples_dropped", "Samples lost, by reason", "reason", dropped)?;
    let pending = &ledger.pending;
    let help = "Samples on their way: taken = delivered + dropped + pending";
    // Exact up to 2^53 samples; it is integers that are written, so that the sum is exact, too.
    writer.start("samples_pending", help, MetricType::Gauge)?.encode_gauge(&pending.total())?;
    let stages = [
        ("kernel", pending.in_kernel),
        ("window", pending.in_window),
        ("memory", pending.in_memory),
        ("spool", pending.in_spool),
    ];
    writer.gauges("samples_pending_by_stage", "Samples on their way, by stage", "stage", stages)?;
    let help = "taken - (delivered + dropped + pending): anything but 0 is a bug of the agent";
    writer.start("samples_imbalance", help, MetricType::Gauge)?.encode_gauge(&imbalance(ledger))?;
    let help = "Samples read beyond what the kernel counted: anything that stays above 0 is a bug";
    writer
        .start("samples_ahead_of_kernel", help, MetricType::Gauge)?
        .encode_gauge(&ledger.ahead)?;
    writer.counter("samples_sealed", "Samples in sealed batches", ledger.sealed)?;
    let results = ledger.results.iter().copied();
    writer.counters("samples_results", "Samples taken, by result", "result", results)?;

    let recovered = &ledger.recovered;
    let help = "Samples of earlier starts of the agent that wait in the spool";
    writer
        .start("recovered_samples_pending", help, MetricType::Gauge)?
        .encode_gauge(&recovered.pending)?;
    let help = "Samples of earlier starts of the agent that a collector acknowledged";
    writer.counter("recovered_samples_delivered", help, recovered.delivered)?;
    let dropped = recovered.dropped.iter().copied();
    let help = "Samples of earlier starts of the agent that were lost, by reason";
    writer.counters("recovered_samples_dropped", help, "reason", dropped)
}

fn imbalance(ledger: &Snapshot) -> i64 {
    let imbalance = ledger.imbalance();
    i64::try_from(imbalance).unwrap_or(if imbalance < 0 { i64::MIN } else { i64::MAX })
}

fn delivery(writer: &mut Writer<'_>, status: &DeliveryStatus) -> Result {
    let help = "1 while a stream to the collector is open";
    writer.gauge("collector_connected", help, f64::from(u8::from(status.connected)))?;
    writer.counter("collector_connections", "Streams opened", status.connections_total)?;
    let help = "Streams and attempts that ended in an error";
    writer.counter("collector_faults", help, status.connection_faults_total)?;

    let states = [
        ("memory", status.memory_batches),
        ("spool", status.spool_batches),
        ("in_flight", status.in_flight_batches),
    ];
    let help = "Batches by state; those in flight are in memory or in the spool as well";
    writer.gauges("batches", help, "state", states)?;
    writer.counter("batches_sent", "Batches sent, resends included", status.batches_sent_total)?;
    let answers = [
        ("acknowledged", status.batches_acknowledged_total),
        ("rejected", status.batches_rejected_total),
        ("unexpected", status.answers_unexpected_total),
    ];
    writer.counters("batch_answers", "Answers of the collector", "answer", answers)?;
    let help = "Acknowledged batches that the collector had already";
    writer.counter("batches_duplicate", help, status.batches_duplicate_total)?;

    let bytes = [
        ("buffer_bytes", "Batches in memory, bytes", status.memory_bytes),
        ("buffer_limit_bytes", "Bound of the batches in memory, bytes", status.memory_limit_bytes),
        ("spool_bytes", "Batches in the spool, bytes", status.spool_bytes),
        ("spool_limit_bytes", "Bound of the spool, bytes; 0 = no spool", status.spool_limit_bytes),
        ("upload_queue", "Objects waiting to be uploaded", status.upload_queue),
    ];
    for (name, help, value) in bytes {
        writer.start(name, help, MetricType::Gauge)?.encode_gauge(&value)?;
    }
    let help = "Failed file operations of the spool";
    writer.counter("spool_errors", help, status.spool_errors_total)?;
    let help = "Damaged files found in the spool";
    writer.counter("spool_damaged_files", help, status.spool_damaged_total)?;

    let outcomes = [
        ("done", status.uploads_done_total),
        ("duplicate", status.uploads_duplicate_total),
        ("failed", status.uploads_failed_total),
        ("refused", status.uploads_refused_total),
    ];
    writer.counters("uploads", "Objects the collector asked for", "outcome", outcomes)?;
    writer.counter("upload_bytes", "Bytes of objects sent", status.upload_bytes_total)
}
