//! All memory that an agent takes: its own pages, and what the kernel holds for it.

use std::fs;

use fleetprof_tests::{agent::Agent, cpu};

use crate::{kernel::Held, report::Report};

/// Bytes in the unit of the report.
const MB: f64 = 1024.0 * 1024.0;

/// The maps that the agent's own metric counts; those inside of `TABLES` have no name.
const UNWIND_MAPS: [&str; 5] = ["PROCESSES", "MAPPINGS", "OBJECTS", "TABLES", ""];

/// Resident memory of a process, MB.
pub(crate) fn rss(pid: u32) -> f64 {
    status(pid, "VmRSS")
}

/// The most it ever was, MB.
pub(crate) fn peak(pid: u32) -> f64 {
    status(pid, "VmHWM")
}

/// What the kernel holds for it, MB: eBPF maps and programs as it accounts for them, and the rings of
/// process events, which are mapped, but not resident.
pub(crate) fn in_kernel(pid: u32) -> f64 {
    let held = Held::of(pid);
    (held.map_bytes(|_| true) + held.program_bytes()) / MB + mapped(pid, "[perf_event]")
}

/// Reports where the memory is now, and whether the agent's metric says the same as the kernel.
pub(crate) fn report(report: &mut Report, label: &str, agent: &mut Agent) {
    let pid = agent.process().pid();
    let held = Held::of(pid);
    report.add(format!("{label}: memory, peak of RSS"), "MB", vec![peak(pid)]);
    report.add(format!("{label}: of RSS, its own pages"), "MB", vec![status(pid, "RssAnon")]);
    // The same pages as of the map, which are mapped twice in a row.
    let ring = mapped_resident(pid, "bpf-map");
    report.add(format!("{label}: of RSS, pages of the sample ring"), "MB", vec![ring]);
    let maps = held.map_bytes(|_| true) / MB;
    report.add(format!("{label}: kernel, eBPF maps (memlock)"), "MB", vec![maps]);
    let programs = held.program_bytes() / MB;
    report.add(format!("{label}: kernel, eBPF programs (memlock)"), "MB", vec![programs]);
    let rings = mapped(pid, "[perf_event]");
    report.add(format!("{label}: kernel, rings of process events"), "MB", vec![rings]);
    let counted = held.map_bytes(|name| UNWIND_MAPS.contains(&name)) / MB;
    report.add(format!("{label}: maps for unwinding (memlock)"), "MB", vec![counted]);
    let metrics = agent.try_metrics().expect("the agent answers");
    let own = metrics.sum("fleetprof_agent_unwind_kernel_memory_bytes").unwrap_or(f64::NAN) / MB;
    report.add(format!("{label}: the same by the agent's metric"), "MB", vec![own]);
}

fn status(pid: u32, name: &str) -> f64 {
    cpu::status_kb(pid, name).map_or(f64::NAN, |kb| kb as f64 / 1024.0)
}

/// Size of the mappings whose name contains `part`, MB.
fn mapped(pid: u32, part: &str) -> f64 {
    smaps(pid, part, "Size:")
}

/// How much of them is resident, MB.
fn mapped_resident(pid: u32, part: &str) -> f64 {
    smaps(pid, part, "Rss:")
}

fn smaps(pid: u32, part: &str, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut inside = false;
    let mut kb = 0.0;
    for line in text.lines() {
        // A mapping begins with its range; its fields have names with a capital letter.
        if !line.starts_with(|first: char| first.is_ascii_uppercase()) {
            inside = line.contains(part);
        } else if inside && let Some(value) = line.strip_prefix(field) {
            kb += value.trim().trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
        }
    }
    kb / 1024.0
}
