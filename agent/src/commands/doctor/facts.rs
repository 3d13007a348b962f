//! What is so on this host. Only looks; [`judge`](super::judge) says what it means.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::thread::CapabilitySet;

use crate::sampler::{SamplerError, privilege, probe};

/// The outcome of trying something; the error is a sentence.
pub(super) type Tried<T = ()> = Result<T, String>;

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// `uname -r`
    pub(super) release: String,
    pub(super) capabilities: CapabilitySet,
    /// Capabilities of another user namespace mean nothing to BPF and perf.
    pub(super) initial_user_namespace: bool,
    /// The type information was read; `true` when it tells where a process's start time is.
    pub(super) btf: Tried<bool>,
    /// Instructions the verifier looked at.
    pub(super) programs: Tried<u32>,
    pub(super) jit: Option<u64>,
    /// `none`, `integrity` or `confidentiality`; `None` when the kernel has no lockdown.
    pub(super) lockdown: Option<String>,
    /// What `run` would decide.
    pub(super) hardware_cycles: Tried,
    pub(super) cpu_clock: Tried,
    pub(super) paranoid: Option<i64>,
    pub(super) max_sample_rate: Option<u64>,
    pub(super) max_stack: Option<u64>,
    pub(super) process_events: Tried,
    pub(super) build_ids: Tried,
    pub(super) tracefs: bool,
    pub(super) kptr_restrict: Option<u64>,
    /// `/proc/kallsyms` shows addresses, not zeros.
    pub(super) kallsyms: Tried<bool>,
    /// Where the v2 hierarchy is mounted.
    pub(super) cgroup2: Option<PathBuf>,
    pub(super) initial_pid_namespace: bool,
    pub(super) processes: Processes,
    pub(super) map_files: Tried,
}

/// How many processes there are, and of how many the mappings and files can be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    pub(super) all: usize,
    pub(super) readable: usize,
    /// The first one that is not readable, and why.
    pub(super) refused: Option<String>,
}

/// Processes looked at: enough to see a pattern, few enough to be quick anywhere.
const MAX_PROCESSES: usize = 500;

/// Inodes of the first namespaces (`PROC_PID_INIT_INO`, `PROC_USER_INIT_INO` of the kernel), the same
/// on every host.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

impl Facts {
    pub(super) fn gather() -> Self {
        let cause = |error: SamplerError| error.cause();
        let tried = |result: Result<(), SamplerError>| result.map_err(cause);
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            capabilities: privilege::effective(),
            initial_user_namespace: is_namespace("user", INITIAL_USER_NAMESPACE),
            btf: probe::task_offsets()
                .map(|offsets| offsets.group_leader != 0 && offsets.start_boottime != 0)
                .map_err(cause),
            programs: probe::programs().map_err(cause),
            jit: sysctl("net/core/bpf_jit_enable"),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown")
                .ok()
                .and_then(|text| selected(&text)),
            hardware_cycles: probe::hardware_cycles().map_err(|why| why.to_string()),
            cpu_clock: tried(probe::cpu_clock()),
            paranoid: sysctl("kernel/perf_event_paranoid"),
            max_sample_rate: sysctl("kernel/perf_event_max_sample_rate"),
            max_stack: sysctl("kernel/perf_event_max_stack"),
            process_events: tried(probe::process_events(false)),
            build_ids: tried(probe::process_events(true)),
            tracefs: ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
                .iter()
                .any(|dir| Path::new(dir).join("events").exists()),
            kptr_restrict: sysctl("kernel/kptr_restrict"),
            kallsyms: kallsyms_visible().map_err(sentence),
            cgroup2: fs::read_to_string("/proc/self/mountinfo")
                .ok()
                .and_then(|mounts| cgroup2_mount(&mounts)),
            initial_pid_namespace: is_namespace("pid", INITIAL_PID_NAMESPACE),
            processes: look_at_processes(),
            map_files: open_map_file().map_err(sentence),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn sentence(error: io::Error) -> String {
    error.to_string()
}

fn is_namespace(kind: &str, inode: u64) -> bool {
    fs::metadata(Path::new("/proc/self/ns").join(kind))
        .is_ok_and(|namespace| namespace.ino() == inode)
}

fn look_at_processes() -> Processes {
    let mut processes = Processes::default();
    let Ok(entries) = fs::read_dir("/proc") else { return processes };
    let pids = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .take(MAX_PROCESSES);
    for pid in pids {
        let dir = Path::new("/proc").join(pid.to_string());
        match fs::read(dir.join("maps")).and_then(|_| fs::read_dir(dir.join("root/"))) {
            Ok(_) => processes.readable += 1,
            // It ended meanwhile, or is a thread of the kernel, which has no files.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                processes.refused.get_or_insert_with(|| format!("process {pid}: {error}"));
            }
        }
        processes.all += 1;
    }
    processes
}

fn sysctl<T: std::str::FromStr>(name: &str) -> Option<T> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// `none [integrity] confidentiality` → `integrity`
pub(super) fn selected(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(choice, _)| choice.to_owned())
}

/// Mount point of the v2 hierarchy.
pub(super) fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let is_v2 = source.split(' ').next() == Some("cgroup2");
        is_v2.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

/// Whether the first symbols have addresses.
fn kallsyms_visible() -> io::Result<bool> {
    use io::{BufRead as _, BufReader};
    let symbols = BufReader::new(fs::File::open("/proc/kallsyms")?);
    for line in symbols.lines().take(100) {
        let line = line?;
        let address = line.split(' ').next().unwrap_or_default();
        if address.bytes().any(|digit| digit != b'0') {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens a file by its mapping: how a deleted binary is read.
fn open_map_file() -> io::Result<()> {
    let entry = fs::read_dir("/proc/self/map_files")?.next().transpose()?;
    let entry = entry.ok_or(io::ErrorKind::NotFound)?;
    fs::File::open(entry.path()).map(drop)
}
