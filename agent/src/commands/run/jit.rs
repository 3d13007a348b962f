//! Metrics of names of generated code.

use super::named;
use crate::{
    jit::{JitCounts, JitEvents},
    metrics::Metrics,
};

pub(super) fn show(
    metrics: Metrics,
    counts: impl Fn() -> JitCounts + Clone + Send + Sync + 'static,
) -> Metrics {
    let gauge = |read: fn(JitCounts) -> usize| {
        let counts = counts.clone();
        // Exact up to 2^53.
        move || read(counts()) as f64
    };
    metrics
        .gauge(
            "jit_processes",
            "Processes sampled in generated code",
            gauge(|counts| counts.programs),
        )
        .gauge(
            "jit_functions",
            "Functions of generated code that have names",
            gauge(|counts| counts.entries),
        )
        .gauge(
            "jit_memory_bytes",
            "Memory for names of generated code",
            gauge(|counts| counts.bytes),
        )
        .counters("jit_events", "What happened while reading names of generated code", "event", {
            let counts = counts.clone();
            move || events(&counts().events)
        })
}

fn events(events: &JitEvents) -> Vec<(String, u64)> {
    named([
        ("file_replaced", events.files_replaced),
        ("file_refused", events.files_refused),
        ("read_failed", events.reads_failed),
        ("malformed", events.malformed),
        ("function_refused", events.entries_refused),
        ("process_evicted", events.evicted),
    ])
}
