//! What the sampler hands out: samples and process events.
//!
//! All instants are `CLOCK_BOOTTIME` nanoseconds; all process and thread ids are those of the
//! initial pid namespace.

use std::mem::offset_of;

use fleetprof_abi::{COMM_LEN, REGISTERS, ResultCode, WALK_BYTES};
use fleetprof_walk::Walk;

/// One sample as the kernel side took it, borrowed from the ring buffer.
#[derive(Clone, Copy, Debug)]
pub struct RawSample<'a> {
    /// Process (thread group) id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// When the process (its group leader) started; 0 when the kernel's BTF could not tell.
    pub start_boottime_ns: u64,
    /// When the sample was taken.
    pub time_ns: u64,
    /// CPU time the sample stands for, nanoseconds.
    pub weight_ns: u64,
    /// Id of the task's cgroup in the v2 hierarchy (the inode number of its directory).
    pub cgroup_id: u64,
    /// CPU the sample was taken on.
    pub cpu: u32,
    /// How the walk ended.
    pub result: ResultCode,
    /// Thread name, zero-padded.
    pub comm: [u8; COMM_LEN],
    /// How the walk of the kernel stack alone ended.
    pub kernel_result: ResultCode,
    /// Kernel frames, innermost first. When not empty, element 0 is the instruction pointer.
    pub kernel: &'a [u64],
    /// User frames, innermost first, with the marks of `fleetprof_walk`.
    pub user: &'a [u64],
    /// Address of the process's memory descriptor, which changes with every exec; 0 = unknown.
    pub mm: u64,
    /// The rest of the user stack, for the agent to walk, behind the frames in `user`.
    pub copied: Option<CopiedStack<'a>>,
}

/// A part of a thread's stack, and the registers of the frame that the walk had reached.
#[derive(Clone, Copy, Debug)]
pub struct CopiedStack<'a> {
    /// Where the walk goes on, as the kernel side has it: a [`Walk`] in words.
    pub registers: &'a [u64; WALK_WORDS],
    /// The stack from `RED_ZONE_BYTES` below its pointer on.
    pub words: &'a [u64],
}

/// Words of a [`Walk`].
pub const WALK_WORDS: usize = WALK_BYTES / size_of::<u64>();

/// Something happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// A new process; new threads are not reported.
    Fork {
        /// When.
        time_ns: u64,
        /// The new process.
        pid: u32,
        /// Who forked it.
        parent_pid: u32,
    },
    /// The process replaced its program: every earlier mapping is gone.
    Exec {
        /// When.
        time_ns: u64,
        /// The process.
        pid: u32,
        /// Its new name, zero-padded.
        comm: [u8; COMM_LEN],
    },
    /// The process has a new executable mapping.
    Mmap(Mapping),
    /// The first thread of the process ended, in general the process with it. Other threads may
    /// live on, and a thread that executes a new program ends the first one before it takes its
    /// place: then an `Exec` of the same process follows.
    Exit {
        /// When.
        time_ns: u64,
        /// The process.
        pid: u32,
    },
    /// Events were lost: whoever tracks processes has to look at `/proc` again.
    Lost {
        /// When the loss was noticed.
        time_ns: u64,
        /// How many events, at least.
        count: u64,
    },
}

/// A new executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// When.
    pub time_ns: u64,
    /// The process.
    pub pid: u32,
    /// First address.
    pub start: u64,
    /// Length, bytes.
    pub len: u64,
    /// Offset of the first byte in the file.
    pub file_offset: u64,
    /// Path as the kernel saw it, or a name such as `[vdso]` or `//anon`.
    pub path: Vec<u8>,
    /// What the kernel told about the file.
    pub file: MappedFile,
}

/// What the kernel told about a mapped file. Which of the two depends on the kernel (build IDs from
/// 6.1 on, and only for files that carry one in their first page).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappedFile {
    /// The GNU build ID.
    BuildId(KernelBuildId),
    /// The file's identity; all zero for memory without a file.
    Inode(Inode),
}

/// A GNU build ID as the kernel reports it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KernelBuildId {
    len: u8,
    bytes: [u8; KernelBuildId::MAX_LEN],
}

/// Identity of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inode {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
    /// Generation, which changes when an inode number is used again.
    pub generation: u64,
}

/// What [`Sampler::poll`](super::Sampler::poll) hands out.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Something happened to a process.
    Process(ProcessEvent),
    /// A sample was taken.
    Sample(RawSample<'a>),
}

// === impl CopiedStack ===

impl CopiedStack<'_> {
    /// Where the walk goes on.
    #[must_use]
    pub fn walk(&self) -> Walk {
        let word = |offset: usize| self.registers[offset / size_of::<u64>()];
        // Two fields share a word.
        let half = |offset: usize| {
            let [a, b, c, d, e, f, g, h] = word(offset).to_ne_bytes();
            let halves = [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])];
            halves[offset / size_of::<u32>() % 2]
        };
        Walk {
            registers: std::array::from_fn(|register| self.registers[register]),
            ip: word(offset_of!(Walk, ip)),
            known: half(offset_of!(Walk, known)),
            in_memory: half(offset_of!(Walk, in_memory)),
            exact: half(offset_of!(Walk, exact)),
            by_pointer: half(offset_of!(Walk, by_pointer)),
            any_by_pointer: half(offset_of!(Walk, any_by_pointer)),
            reserved: 0,
        }
    }
}

const _: () = {
    assert!(WALK_WORDS * size_of::<u64>() == size_of::<Walk>());
    assert!(offset_of!(Walk, registers) == 0 && REGISTERS <= WALK_WORDS);
};

// === impl ProcessEvent ===

impl ProcessEvent {
    /// When it happened (for `Lost`: when that was noticed), `CLOCK_BOOTTIME` nanoseconds.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Fork { time_ns, .. }
            | Self::Exec { time_ns, .. }
            | Self::Exit { time_ns, .. }
            | Self::Lost { time_ns, .. } => *time_ns,
            Self::Mmap(mapping) => mapping.time_ns,
        }
    }

    /// Whom it happened to; `None` for `Lost`.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Fork { pid, .. } | Self::Exec { pid, .. } | Self::Exit { pid, .. } => Some(*pid),
            Self::Mmap(mapping) => Some(mapping.pid),
            Self::Lost { .. } => None,
        }
    }
}

// === impl KernelBuildId ===

impl KernelBuildId {
    /// The kernel reports no more bytes than a SHA-1 has.
    pub const MAX_LEN: usize = 20;

    /// `None` when `bytes` is empty or longer than [`Self::MAX_LEN`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return None;
        }
        let mut padded = [0; Self::MAX_LEN];
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Self { len: u8::try_from(bytes.len()).ok()?, bytes: padded })
    }

    /// The descriptor of the file's `NT_GNU_BUILD_ID` note.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for KernelBuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
