//! The record of one sample, the scratch memory it grows in, and the settings of the programs.

use core::mem::{align_of, offset_of, size_of};

/// Most kernel frames of a sample.
pub const MAX_KERNEL_FRAMES: usize = 127;

/// Most user frames of a sample. Frame pointers reach no further than
/// `kernel.perf_event_max_stack` (127 by default); the limit is the unwinder's to use.
pub const MAX_USER_FRAMES: usize = 512;

/// Most frames of a sample.
pub const MAX_FRAMES: usize = MAX_KERNEL_FRAMES + MAX_USER_FRAMES;

/// Bytes of the registers in a record with a copied stack: a `fleetprof_walk::Walk`.
pub const WALK_BYTES: usize = 288;

/// Bytes below the stack pointer that are copied, too: a function that is about to return has given
/// back the memory in which its unwind information still finds what it saved (the red zone).
pub const RED_ZONE_BYTES: usize = 128;

/// Most bytes of a stack that are copied, the red zone included.
pub const MAX_STACK_BYTES: usize = RED_ZONE_BYTES + 24 * 1024;

/// Longest record in the ring buffer, bytes.
pub const MAX_RECORD_LEN: usize =
    size_of::<SampleHeader>() + MAX_FRAMES * size_of::<u64>() + WALK_BYTES + MAX_STACK_BYTES;

/// Length of a thread name in the kernel, terminating zero included.
pub const COMM_LEN: usize = 16;

/// Index into the array of unwinder programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Unwinder {
    /// The kernel's own walk along frame pointers: for 32-bit programs.
    FramePointers = 0,
    /// The walk by unwind tables.
    Tables = 1,
    /// No walk, or none any further: the stack is copied for the agent.
    CopyStack = 2,
}

impl Unwinder {
    /// Slots in the array of unwinder programs.
    pub const SLOTS: u32 = 4;
}

/// Head of a record in the ring buffer. `kernel_frames`, then `user_frames` addresses of 8 bytes
/// follow, innermost first; user frames with the marks of `fleetprof_walk`. When the stack was
/// copied, the registers ([`WALK_BYTES`]) and `stack_bytes` of the stack follow, from
/// [`RED_ZONE_BYTES`] below its pointer on, and the walk goes on from there. All fields in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SampleHeader {
    /// When it was taken, `CLOCK_BOOTTIME` nanoseconds.
    pub time_ns: u64,
    /// CPU time it stands for, nanoseconds.
    pub weight_ns: u64,
    /// Start of the process (its group leader), `CLOCK_BOOTTIME` nanoseconds; 0 = unknown.
    pub start_boottime_ns: u64,
    /// Id of the task's cgroup in the v2 hierarchy.
    pub cgroup_id: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// CPU it was taken on.
    pub cpu: u32,
    /// Number of a [`ResultCode`](crate::ResultCode).
    pub result: u16,
    /// Number of the `ResultCode` of the kernel stack alone.
    pub kernel_result: u16,
    /// Kernel frames that follow.
    pub kernel_frames: u32,
    /// User frames that follow the kernel frames.
    pub user_frames: u32,
    /// Name of the thread, zero-padded.
    pub comm: [u8; COMM_LEN],
    /// Address of the process's `mm_struct`: another one is another program; 0 = unknown.
    pub mm: u64,
    /// Bytes of the stack that follow.
    pub stack_bytes: u32,
    /// Keeps the layout free of implicit padding; zero.
    pub reserved_too: u32,
}

/// One CPU's memory for the sample being taken: the record as it will be written.
///
/// The frames have room for the limits of both walks one after the other, so that a walk may write
/// behind what the walk before it wrote, wherever that ended.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// Head of the record.
    pub header: SampleHeader,
    /// Kernel frames, then user frames, then what was copied.
    pub frames: [u64; SCRATCH_WORDS],
}

/// Words of the scratch memory behind the head.
pub const SCRATCH_WORDS: usize = (MAX_RECORD_LEN - size_of::<SampleHeader>()) / size_of::<u64>();

/// Byte offsets inside the running kernel's `struct task_struct` and `struct mm_struct *`, read from
/// its BTF; 0 = not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TaskOffsets {
    /// `task_struct.group_leader`
    pub group_leader: u32,
    /// `task_struct.start_boottime`
    pub start_boottime: u32,
    /// `task_struct.mm`
    pub mm: u32,
    /// `task_struct.stack`
    pub stack: u32,
    /// Where on a task's kernel stack its user registers are (`struct pt_regs`), give or take the
    /// few bytes that some kernels leave free behind them.
    pub user_registers: u32,
    /// Keeps the layout free of implicit padding.
    pub reserved: u32,
}

/// What user space tells the programs before they are loaded; constant afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// CPU time one sample stands for, nanoseconds.
    pub weight_ns: u64,
    /// Bytes waiting in the ring buffer from which the reader is woken.
    pub wakeup_bytes: u64,
    /// Only this process is sampled; 0 = every process.
    pub pid: u32,
    /// `kernel.perf_event_max_stack`: where the kernel's own walk stops.
    pub max_stack: u32,
    /// Where to find things in a task.
    pub task: TaskOffsets,
}

const _: () = {
    assert!(size_of::<SampleHeader>() == 88 && align_of::<SampleHeader>() == 8);
    assert!(offset_of!(SampleHeader, pid) == 32);
    assert!(offset_of!(SampleHeader, result) == 44);
    assert!(offset_of!(SampleHeader, kernel_frames) == 48);
    assert!(offset_of!(SampleHeader, comm) == 56);
    assert!(offset_of!(SampleHeader, mm) == 72);
    assert!(offset_of!(Scratch, frames) == size_of::<SampleHeader>());
    assert!(size_of::<Scratch>() == MAX_RECORD_LEN);
    // The kernel limits a per-CPU value to 32 KiB.
    assert!(size_of::<Scratch>() <= 32 * 1024);
    assert!(size_of::<TaskOffsets>() == 24);
    assert!(size_of::<Settings>() == 48 && align_of::<Settings>() == 8);
    assert!(offset_of!(Settings, task) == 24);
};
