//! Opening and steering perf events.
#![expect(
    unsafe_code,
    reason = "perf_event_open and its ioctls have no safe wrapper in a kept crate"
)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{
    PERF_EVENT_IOC_DISABLE, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FLAG_FD_CLOEXEC,
    perf_event_attr, perf_event_sample_format, perf_hw_id, perf_sw_ids, perf_type_id,
};

use super::super::EventSource;

/// `PERF_FORMAT_TOTAL_TIME_ENABLED`: reading the event gives its value, then this time.
const FORMAT_TOTAL_TIME_ENABLED: u64 = 1;

/// An open perf event that counts on one CPU, whatever runs there.
#[derive(Debug)]
pub(in crate::sampler) struct PerfEvent {
    fd: OwnedFd,
}

/// What an event says when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sampler) struct Reading {
    /// Units counted.
    pub(in crate::sampler) count: u64,
    /// Nanoseconds it has been enabled. Stands still when the event's CPU was taken away.
    pub(in crate::sampler) enabled_ns: u64,
}

/// A timer that fires each time a CPU has worked for `period` of the source's units.
///
/// Always a period, never a frequency: the kernel then does not adapt it, so that each sample stands
/// for exactly the same time, however idle the CPU is.
pub(in crate::sampler) fn sampling_attr(source: EventSource, period: u64) -> perf_event_attr {
    let mut attr = counting_attr(source);
    attr.__bindgen_anon_1.sample_period = period;
    attr
}

/// Counts a source's units without sampling.
pub(in crate::sampler) fn counting_attr(source: EventSource) -> perf_event_attr {
    let mut attr = empty_attr();
    match source {
        EventSource::CpuClock => {
            attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
            attr.config = perf_sw_ids::PERF_COUNT_SW_CPU_CLOCK as u64;
            attr.set_exclude_idle(1);
        }
        EventSource::HardwareCycles => {
            // Reference cycles: they tick at one rate whatever the clock of the core is, so a number
            // of them is a time. Halted CPUs do not count.
            attr.type_ = perf_type_id::PERF_TYPE_HARDWARE as u32;
            attr.config = perf_hw_id::PERF_COUNT_HW_REF_CPU_CYCLES as u64;
            // Never shared with other events in turns, which would lose samples.
            attr.set_pinned(1);
        }
    }
    attr.read_format = FORMAT_TOTAL_TIME_ENABLED;
    attr.set_disabled(1);
    attr
}

/// An event that never fires and reports what happens to processes beside it.
pub(in crate::sampler) fn process_event_attr(build_id: bool, wakeup_bytes: u32) -> perf_event_attr {
    let mut attr = empty_attr();
    attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
    attr.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
    attr.sample_type = perf_event_sample_format::PERF_SAMPLE_TIME as u64;
    attr.set_sample_id_all(1);
    attr.set_use_clockid(1);
    attr.clockid = libc::CLOCK_BOOTTIME;
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_comm(1);
    attr.set_comm_exec(1);
    attr.set_task(1);
    attr.set_build_id(u64::from(build_id));
    attr.set_watermark(1);
    attr.__bindgen_anon_2.wakeup_watermark = wakeup_bytes;
    attr.set_disabled(1);
    attr
}

fn empty_attr() -> perf_event_attr {
    // SAFETY: the kernel's structure is made of integers, for which zero is a value.
    let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
    attr.size = size_of::<perf_event_attr>() as u32;
    attr
}

impl PerfEvent {
    /// Opens an event on `cpu` for all processes.
    pub(in crate::sampler) fn open(attr: &perf_event_attr, cpu: u32) -> io::Result<Self> {
        let all_processes = -1;
        Self::open_for(attr, all_processes, i32::try_from(cpu).map_err(io::Error::other)?)
    }

    /// Opens an event that follows the calling thread over all CPUs.
    pub(in crate::sampler) fn open_for_this_thread(attr: &perf_event_attr) -> io::Result<Self> {
        let (this_thread, any_cpu) = (0, -1);
        Self::open_for(attr, this_thread, any_cpu)
    }

    /// As one in error state.
    #[cfg(test)]
    pub(in crate::sampler) fn that_reads_empty() -> Self {
        Self { fd: std::fs::File::open("/dev/null").unwrap().into() }
    }

    fn open_for(attr: &perf_event_attr, process: i32, cpu: i32) -> io::Result<Self> {
        let no_group = -1;
        // SAFETY: the kernel reads `attr.size` bytes from `attr`, which is that long.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                std::ptr::from_ref(attr),
                process,
                cpu,
                no_group,
                u64::from(PERF_FLAG_FD_CLOEXEC),
            )
        };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us; nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Runs a BPF program at each overflow.
    pub(in crate::sampler) fn set_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.ioctl(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())
    }

    pub(in crate::sampler) fn enable(&self) -> io::Result<()> {
        self.ioctl(PERF_EVENT_IOC_ENABLE, 0)
    }

    /// When this returns, the event's program runs no more on any CPU.
    pub(in crate::sampler) fn disable(&self) -> io::Result<()> {
        self.ioctl(PERF_EVENT_IOC_DISABLE, 0)
    }

    fn ioctl(&self, request: u32, argument: i32) -> io::Result<()> {
        // SAFETY: the three requests used here take an integer, no pointer.
        let status = unsafe { libc::ioctl(self.fd.as_raw_fd(), request.into(), argument) };
        if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads an event made by [`sampling_attr`] or [`counting_attr`].
    pub(in crate::sampler) fn read(&self) -> io::Result<Reading> {
        let mut bytes = [0; 16];
        // An event in error state, such as a pinned one that found no counter, reads as empty.
        if rustix::io::read(&self.fd, &mut bytes)? != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let [count, enabled_ns] =
            [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index])));
        Ok(Reading { count, enabled_ns })
    }
}

impl AsFd for PerfEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
