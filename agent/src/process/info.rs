//! What identifies a process: plain data, from which `identity` makes labels.

use std::sync::Arc;

use super::image::ImageId;

/// Variables looked up in environments.
pub type EnvironNames = &'static [&'static str];

/// What is known of a process while it runs one program. Whatever could not be read is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// The program image this is about: unique for the life of the agent, changes with every exec.
    pub image: ImageId,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// When the process started, `CLOCK_BOOTTIME` nanoseconds, as exactly as is known.
    pub start_ns: u64,
    /// Its parent.
    pub parent: Option<u32>,
    /// Name of its main thread.
    pub comm: String,
    /// Path of its executable, as far as it can be seen from the host.
    pub exe: Option<String>,
    /// A thread of the kernel.
    pub kernel_thread: bool,
    /// Id of its cgroup in the v2 hierarchy (the inode number of its directory); 0 = not known.
    pub cgroup_id: u64,
    /// Content of `/proc/PID/cgroup`; its parent's when it was gone before that could be read.
    pub cgroup: Option<Arc<str>>,
    /// The variables asked for that are set; its parent's when it was gone before.
    pub environ: Arc<[(&'static str, String)]>,
    /// It was gone before any of this could be read; some of it may be its parent's.
    pub gone: bool,
}

// === impl ProcessInfo ===

impl ProcessInfo {
    /// The value of a variable that was asked for.
    pub fn environ(&self, name: &str) -> Option<&str> {
        self.environ.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn approx_bytes(&self) -> usize {
        let environ: usize = self.environ.iter().map(|(_, value)| value.len() + 40).sum();
        let cgroup = self.cgroup.as_ref().map_or(0, |text| text.len() / Arc::strong_count(text));
        size_of::<Self>()
            + self.comm.len()
            + self.exe.as_ref().map_or(0, String::len)
            + cgroup
            + environ / Arc::strong_count(&self.environ)
    }
}
