//! What this host allows, tried one by one: for `fleetprof-agent doctor`.

use std::path::Path;

use fleetprof_abi::{Settings, TaskOffsets};

use super::{
    EventSource, SamplerConfig, SamplerError, cpus,
    perf::{NoCycles, PerfEvent, counting_attr, process_event_attr, reference_cycles_per_ns},
    programs::Programs,
    read_task_offsets,
};

/// Reads the kernel's type information where it usually is.
pub(crate) fn task_offsets() -> Result<TaskOffsets, SamplerError> {
    read_task_offsets(Path::new(&SamplerConfig::default().btf))
}

/// Loads the programs, without attaching them, and unloads them. Returns the instructions the
/// verifier looked at (0 where the kernel does not say, before Linux 5.16).
pub(crate) fn programs() -> Result<u32, SamplerError> {
    let programs = Programs::load(Settings::default(), SamplerConfig::default().ring_size(1))?;
    Ok(programs.verified_instructions().map(|(_, count)| count).sum())
}

/// Decides as a start does whether hardware cycles are counted.
pub(crate) fn hardware_cycles() -> Result<(), NoCycles> {
    reference_cycles_per_ns().map(drop)
}

/// Opens a timer by the kernel's clock on one CPU.
pub(crate) fn cpu_clock() -> Result<(), SamplerError> {
    open(&counting_attr(EventSource::CpuClock), "open the sampling event")
}

/// Opens a stream of process events on one CPU.
pub(crate) fn process_events(build_ids: bool) -> Result<(), SamplerError> {
    open(&process_event_attr(build_ids, 1), "open the process event stream")
}

fn open(
    attr: &aya_obj::generated::perf_event_attr,
    action: &'static str,
) -> Result<(), SamplerError> {
    let cpu = cpus::online().ok().and_then(|cpus| cpus.first().copied()).unwrap_or(0);
    match PerfEvent::open(attr, cpu) {
        Ok(_) => Ok(()),
        Err(source) => Err(SamplerError::Perf { action, cpu, source }),
    }
}
