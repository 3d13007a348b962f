//! How much memory this process has and may have. A query is refused before the kernel ends the whole
//! process, agents' batches included.

use std::{env, fs, io::Error, os::unix::process::CommandExt as _, process::Command};

/// What is assumed where nothing can be read: a small machine.
const FALLBACK_BYTES: u64 = 2 << 30;

/// Variable that says how many heaps glibc's allocator may make.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Starts this program again, as the same process, with two heaps instead of eight for each CPU, unless somebody has
/// decided how many. A heap does not lend what was freed in it to others: merging on one thread after the other
/// held twice to three times the memory that it needed. The allocator reads the variable at its start only.
///
/// Returns why it could not; where there is nothing to do, nothing.
pub fn restart_with_few_heaps() -> Option<Error> {
    if env::var_os(ARENAS).is_some() {
        return None;
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return Some(error),
    };
    Some(Command::new(program).args(env::args_os().skip(1)).env(ARENAS, "2").exec())
}

/// Resident memory; `None` where /proc is not to be read.
pub fn resident_bytes() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Memory that only this process has, which the kernel cannot take back: without the mapped files, symbol
/// tables most of all. `None` where /proc is not to be read.
pub fn own_bytes() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// Half of what the container or, without a limit, the host has.
pub fn default_limit() -> u64 {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib_of(&text, "MemTotal:"));
    // Version 2 and version 1 of control groups, as a container sees its own.
    let paths = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let container = paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        // `max`, or a number near 2^63, where there is no limit.
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    let smallest = [host, container].into_iter().flatten().min();
    smallest.unwrap_or(FALLBACK_BYTES) / 2
}

/// The value of a line such as `VmRSS:     1234 kB`, bytes.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the lines of /proc are read, and that other text is not.
    #[test]
    fn memory_is_read() {
        assert_eq!(kib_of("VmPeak: 9 kB\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kib_of("VmRSS: 12\n", "VmRSS:"), None);
        let resident = resident_bytes().expect("Linux");
        assert!(resident > 1 << 20 && resident < default_limit(), "{resident}");
        let own = own_bytes().expect("Linux");
        assert!(own > 1 << 16 && own < resident, "{own} of {resident}");
    }
}
