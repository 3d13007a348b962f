//! What the kernel tells of processes and of itself; names in it are the processes' choice.

use std::sync::Arc;

use fleetprof_abi::ResultCode;
use fleetprof_agent::{
    identity::{Evidence, Identity},
    jit, kernel, process,
    process::{ProcessTable, TableConfig},
    sampler,
    sampler::{ProcessEvent, RawSample},
    unwind,
};

/// Longest value of a label.
const MAX_LABEL_BYTES: usize = 256;

/// Memory that a table of processes may take: inputs are small, and hold less than a thousand events.
const MAX_TABLE_BYTES: usize = 4 << 20;

/// Texts of `/proc/PID`, and the labels that come of them.
pub(crate) fn proc_texts(bytes: &[u8]) {
    process::fuzz::texts(bytes);
    let text = String::from_utf8_lossy(bytes);
    let comm = &text;
    let told = Evidence { otel_service_name: Some(&text), comm, ..Evidence::default() };
    let attributes =
        Evidence { otel_resource_attributes: Some(&text), comm, ..Evidence::default() };
    let placed = Evidence { cgroup: Some(&text), exe: Some(&text), comm, ..Evidence::default() };
    let nameless = Evidence { comm, ..Evidence::default() };
    for evidence in [told, attributes, placed, nameless] {
        let labels = Identity::resolve(&evidence).into_labels();
        assert_eq!(labels.first().map(|(name, _)| *name), Some("service"));
        for (number, (name, value)) in labels.iter().enumerate() {
            assert!(!value.is_empty() && value.len() <= MAX_LABEL_BYTES, "{name}={value}");
            assert!(!value.chars().any(char::is_control), "{name}={value}");
            assert!(!labels[..number].iter().any(|(earlier, _)| earlier == name), "{name} twice");
        }
    }
}

/// Rings of process events, and the table of processes that they make.
pub(crate) fn process_events(bytes: &[u8]) {
    let events = sampler::fuzz::side_band(bytes);
    let mut table = ProcessTable::new(TableConfig::default(), unwind::fuzz::registry());
    for event in &events {
        table.apply(event);
    }
    assert!(table.approx_bytes() <= MAX_TABLE_BYTES, "{} bytes", table.approx_bytes());
    let mut last_ns = 0;
    for (pid, time_ns) in events.iter().filter_map(|event| Some((event.pid()?, event.time_ns()))) {
        is_sound(&mut table, &sample(pid, time_ns));
        last_ns = time_ns;
    }
    table.drained(last_ns);
    for pid in events.iter().filter_map(ProcessEvent::pid) {
        is_sound(&mut table, &sample(pid, last_ns));
    }
    table.drained(u64::MAX);
}

/// A sample's process has mappings one after the other.
fn is_sound(table: &mut ProcessTable, sample: &RawSample<'_>) {
    let bound = table.bind(sample);
    assert_eq!(bound.info().pid, sample.pid);
    let mappings = Arc::clone(bound.mappings());
    assert!(mappings.iter().all(|mapping| mapping.start < mapping.end));
    assert!(mappings.iter().zip(mappings.iter().skip(1)).all(|(one, next)| one.end <= next.start));
}

fn sample(pid: u32, time_ns: u64) -> RawSample<'static> {
    RawSample {
        pid,
        tid: pid,
        start_boottime_ns: 0,
        time_ns,
        weight_ns: 1,
        cgroup_id: 0,
        cpu: 0,
        result: ResultCode::Complete,
        comm: *b"fuzz\0\0\0\0\0\0\0\0\0\0\0\0",
        kernel_result: ResultCode::Complete,
        kernel: &[],
        user: &[],
        mm: 0,
        copied: None,
    }
}

/// Lists of the kernel's functions and modules.
pub(crate) fn kernel_texts(bytes: &[u8]) {
    kernel::fuzz::texts(bytes);
}

/// The kernel's type information.
pub(crate) fn kernel_types(bytes: &[u8]) {
    sampler::fuzz::types(bytes);
}

/// What runtimes write about the code they generate.
pub(crate) fn perf_map(bytes: &[u8]) {
    jit::fuzz::perf_map(bytes);
}

/// The same, with times and lines.
pub(crate) fn jitdump(bytes: &[u8]) {
    jit::fuzz::jitdump(bytes);
}
