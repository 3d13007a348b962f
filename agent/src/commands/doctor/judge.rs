//! What the facts mean. Pure.

use rustix::thread::CapabilitySet;

use super::{
    Check, Status,
    facts::{Facts, Tried},
};
use crate::sampler::privilege;

/// Every finding, the required ones first.
pub(super) fn all(facts: &Facts) -> Vec<Check> {
    vec![
        kernel(facts),
        rights(facts),
        btf(facts),
        programs(facts),
        event_source(facts),
        process_events(facts),
        lockdown(facts),
        pid_namespace(facts),
        other_processes(facts),
        mapped_files(facts),
        kernel_symbols(facts),
        jit(facts),
        cgroups(facts),
        stack_depth(facts),
        sample_rate(facts),
        paranoid(facts),
        tracefs(facts),
        bpffs(),
    ]
}

/// Oldest kernel with ring buffers (5.8) and oldest that is tested (5.10).
const OLDEST_POSSIBLE: (u32, u32) = (5, 8);
const OLDEST_TESTED: (u32, u32) = (5, 10);

fn kernel(facts: &Facts) -> Check {
    let status = match version(&facts.release) {
        Some(version) if version >= OLDEST_TESTED => Status::Ok,
        Some(version) if version < OLDEST_POSSIBLE => Status::Missing,
        _ => Status::Degraded,
    };
    let found = format!("Linux {} on {}", facts.release, std::env::consts::ARCH);
    required("kernel", status, found, "Linux 5.10 or later is needed")
}

/// `6.18.44-cloud` → (6, 18)
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn rights(facts: &Facts) -> Check {
    if !facts.initial_user_namespace {
        return required(
            "capabilities",
            Status::Missing,
            "in a user namespace".into(),
            "its capabilities do not reach the kernel: run in the host's user namespace (no rootless \
             container, no userns-remap, hostUsers: true)",
        );
    }
    match privilege::missing_to_sample(facts.capabilities) {
        None => required("capabilities", Status::Ok, "may load BPF programs and sample".into(), ""),
        Some(missing) => required(
            "capabilities",
            Status::Missing,
            format!("{missing} missing"),
            "run as root, or grant CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)",
        ),
    }
}

fn btf(facts: &Facts) -> Check {
    let name = "kernel type information (BTF)";
    match &facts.btf {
        Ok(true) => required(name, Status::Ok, "/sys/kernel/btf/vmlinux".into(), ""),
        Ok(false) => required(
            name,
            Status::Degraded,
            "tells no start time of processes".into(),
            "process ids that are used again cannot be told apart; report this kernel",
        ),
        Err(error) => required(
            name,
            Status::Missing,
            error.clone(),
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y and let the agent see /sys",
        ),
    }
}

fn programs(facts: &Facts) -> Check {
    match &facts.programs {
        Ok(instructions) => {
            let found = format!("accepted, {instructions} instructions verified");
            required("BPF programs", Status::Ok, found, "")
        }
        Err(error) => required(
            "BPF programs",
            Status::Missing,
            error.clone(),
            "first repair what is missing above; a container's seccomp profile must allow bpf()",
        ),
    }
}

fn event_source(facts: &Facts) -> Check {
    match (&facts.hardware_cycles, &facts.cpu_clock) {
        (Ok(()), _) => required("sampling event", Status::Ok, "hardware cycles".into(), ""),
        (Err(why), Ok(())) => required(
            "sampling event",
            Status::Degraded,
            format!("cpu-clock: {why}"),
            "nothing in most virtual machines; kernel code that disables interrupts is charged to \
             where it enables them",
        ),
        (Err(_), Err(error)) => required(
            "sampling event",
            Status::Missing,
            error.clone(),
            "grant CAP_PERFMON; the kernel needs CONFIG_PERF_EVENTS=y",
        ),
    }
}

fn process_events(facts: &Facts) -> Check {
    let name = "process events";
    match (&facts.process_events, &facts.build_ids) {
        (Ok(()), Ok(())) => required(name, Status::Ok, "with build IDs".into(), ""),
        (Ok(()), Err(_)) => required(
            name,
            Status::Degraded,
            "without build IDs".into(),
            "Linux 5.12 or later reports them; until then files are read, and may be gone by then",
        ),
        (Err(error), _) => {
            required(name, Status::Missing, error.clone(), "grant CAP_PERFMON or CAP_SYS_ADMIN")
        }
    }
}

fn lockdown(facts: &Facts) -> Check {
    let found = facts.lockdown.as_deref().unwrap_or("not in this kernel");
    let status = if found == "confidentiality" { Status::Missing } else { Status::Ok };
    let remedy = "boot with lockdown=integrity or none: confidentiality forbids to read stacks";
    required("kernel lockdown", status, found.to_owned(), remedy)
}

fn pid_namespace(facts: &Facts) -> Check {
    if facts.initial_pid_namespace {
        return optional("pid namespace", Status::Ok, "the host's".into(), "");
    }
    optional(
        "pid namespace",
        Status::Degraded,
        "not the host's".into(),
        "the kernel's process ids do not match /proc here: set hostPID: true, or --pid=host",
    )
}

fn other_processes(facts: &Facts) -> Check {
    let processes = &facts.processes;
    let found = format!("{} of {} readable", processes.readable, processes.all);
    let Some(refused) = &processes.refused else {
        return optional("other processes", Status::Ok, found, "");
    };
    let remedy = if facts.capabilities.contains(CapabilitySet::SYS_PTRACE) {
        "a security module or a sandbox refuses the others; their functions have no names"
    } else {
        "grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, else mappings, files and environment of \
         other users' processes stay unknown"
    };
    optional("other processes", Status::Degraded, format!("{found}; {refused}"), remedy)
}

fn mapped_files(facts: &Facts) -> Check {
    from_tried(
        "deleted binaries (map_files)",
        &facts.map_files,
        "readable",
        "grant CAP_CHECKPOINT_RESTORE (Linux 5.9) or CAP_SYS_ADMIN, else binaries that were replaced \
         while running have no symbols",
    )
}

fn kernel_symbols(facts: &Facts) -> Check {
    let restrict = facts.kptr_restrict.map_or("unknown".to_owned(), |level| level.to_string());
    let name = "kernel symbols";
    let remedy = if facts.capabilities.contains(CapabilitySet::SYSLOG) {
        "sysctl kernel.kptr_restrict=1 (or 0), else kernel functions have no names"
    } else {
        "grant CAP_SYSLOG and set kernel.kptr_restrict to 1 or 0, else kernel functions have no names"
    };
    match &facts.kallsyms {
        Ok(true) => optional(name, Status::Ok, format!("readable, kptr_restrict {restrict}"), ""),
        Ok(false) => {
            let found = format!("/proc/kallsyms hides addresses, kptr_restrict {restrict}");
            optional(name, Status::Degraded, found, remedy)
        }
        Err(error) => optional(name, Status::Degraded, format!("/proc/kallsyms: {error}"), remedy),
    }
}

fn jit(facts: &Facts) -> Check {
    match facts.jit {
        Some(0) => optional(
            "BPF compiler (JIT)",
            Status::Degraded,
            "off".into(),
            "sysctl net.core.bpf_jit_enable=1, else each sample costs several times more",
        ),
        Some(_) => optional("BPF compiler (JIT)", Status::Ok, "on".into(), ""),
        None => optional(
            "BPF compiler (JIT)",
            Status::Ok,
            "setting not visible in this network namespace".into(),
            "",
        ),
    }
}

fn cgroups(facts: &Facts) -> Check {
    match &facts.cgroup2 {
        Some(path) if path == std::path::Path::new("/sys/fs/cgroup") => {
            optional("cgroup v2", Status::Ok, path.display().to_string(), "")
        }
        Some(path) => optional(
            "cgroup v2",
            Status::Degraded,
            format!("hybrid, at {}", path.display()),
            "services are found by their v1 cgroups; boot with systemd.unified_cgroup_hierarchy=1",
        ),
        None => optional(
            "cgroup v2",
            Status::Degraded,
            "not mounted".into(),
            "mount it (mount -t cgroup2 none /sys/fs/cgroup) or let the agent see the host's",
        ),
    }
}

/// The kernel's default.
const USUAL_MAX_STACK: u64 = 127;

fn stack_depth(facts: &Facts) -> Check {
    let name = "stack depth (perf_event_max_stack)";
    match facts.max_stack {
        Some(depth) if depth < USUAL_MAX_STACK => optional(
            name,
            Status::Degraded,
            depth.to_string(),
            "sysctl kernel.perf_event_max_stack=127, else deep stacks are cut",
        ),
        depth => optional(name, Status::Ok, number(depth), ""),
    }
}

/// The highest rate anyone would ask for in practice.
const USUAL_RATE: u64 = 1_000;

fn sample_rate(facts: &Facts) -> Check {
    let name = "sample rate (perf_event_max_sample_rate)";
    match facts.max_sample_rate {
        Some(rate) if rate < USUAL_RATE => optional(
            name,
            Status::Degraded,
            rate.to_string(),
            "the kernel lowered it because sampling took too long; \
             sysctl kernel.perf_event_max_sample_rate=100000",
        ),
        rate => optional(name, Status::Ok, number(rate), ""),
    }
}

fn paranoid(facts: &Facts) -> Check {
    let level = facts.paranoid.map_or("unknown".to_owned(), |level| level.to_string());
    let privileged = privilege::missing_to_sample(facts.capabilities).is_none();
    let status = if privileged || facts.paranoid.is_some_and(|level| level < 0) {
        Status::Ok
    } else {
        Status::Degraded
    };
    let remedy = "only matters without CAP_PERFMON; grant that";
    optional("perf_event_paranoid", status, level, remedy)
}

fn tracefs(facts: &Facts) -> Check {
    if facts.tracefs {
        return optional("tracefs", Status::Ok, "mounted".into(), "");
    }
    optional("tracefs", Status::Ok, "not mounted (sampling does without it)".into(), "")
}

fn bpffs() -> Check {
    optional("bpffs", Status::Ok, "not needed: nothing is pinned".into(), "")
}

fn number(value: Option<u64>) -> String {
    value.map_or("unknown".to_owned(), |value| value.to_string())
}

fn from_tried(name: &'static str, tried: &Tried, good: &str, remedy: &str) -> Check {
    match tried {
        Ok(()) => optional(name, Status::Ok, good.to_owned(), ""),
        Err(error) => optional(name, Status::Degraded, error.clone(), remedy),
    }
}

fn required(name: &'static str, status: Status, found: String, remedy: &str) -> Check {
    check(name, status, found, remedy, true)
}

fn optional(name: &'static str, status: Status, found: String, remedy: &str) -> Check {
    check(name, status, found, remedy, false)
}

/// A finding; one that is good needs no remedy.
fn check(name: &'static str, status: Status, found: String, remedy: &str, required: bool) -> Check {
    let remedy = if status == Status::Ok { String::new() } else { remedy.to_owned() };
    Check { name, status, required, found, remedy }
}
