//! Everything that talks to the kernel's BPF and perf subsystems: the agent's only unsafe code.
//!
//! In: a [`SamplerConfig`]. Out: [`Event`]s (process events in order of time, then samples) and
//! [`KernelCounters`]. It does not read `/proc`, knows no files, no symbols and no policy.
//!
//! ```text
//! kernel: timer per CPU → BPF programs → ring buffer (about 1 s of samples; full: counted, lost)
//!         exec/fork/mmap/exit → perf ring per CPU (full: Lost event, the reader rescans /proc)
//! here:   poll() every 100 ms, or when wait() says that a ring is half full
//! ```

mod btf;
mod config;
mod counters;
mod cpus;
mod error;
mod event;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod perf;
pub(crate) mod privilege;
pub(crate) mod probe;
mod programs;
mod record;
mod sideband;
mod timers;
mod unwind_maps;

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fleetprof_abi::{Settings, TaskOffsets};
use rustix::{
    event::{Timespec, epoll},
    time::{ClockId, clock_gettime},
};

pub use self::{
    btf::BtfError,
    config::{BuildIds, SamplerConfig},
    counters::KernelCounters,
    error::SamplerError,
    event::{
        CopiedStack, Event, Inode, KernelBuildId, MappedFile, Mapping, ProcessEvent, RawSample,
        WALK_WORDS,
    },
    follow::CpuCounts,
    unwind_maps::{TablePage, UnwindMaps},
};
use self::{
    follow::{Follow, first_cpus},
    programs::{Programs, words},
    sideband::SideBand,
    timers::Timers,
};

/// What the timer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// Reference cycles, counted by hardware: also samples code that runs with interrupts disabled.
    HardwareCycles,
    /// The kernel's clock, where there is no such hardware (most virtual machines).
    CpuClock,
}

/// Memory mapped by the sampler, bytes. Pages count as resident once they were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedMemory {
    /// The ring buffer for samples. The kernel maps its data twice in a row; both count as resident.
    pub samples: usize,
    /// The rings for process events, of all CPUs.
    pub process_events: usize,
}

/// Samples the CPUs of this host until it is dropped.
pub struct Sampler {
    programs: Programs,
    side_band: SideBand,
    timers: Timers,
    epoll: OwnedFd,
    ring_bytes: usize,
    /// A sample that was read but is younger than the round it was read in.
    held: Option<Vec<u64>>,
    /// Records that were read but not understood.
    unreadable: u64,
    follow: Follow,
}

// === impl Sampler ===

impl Sampler {
    /// Loads the programs, follows process events, then starts sampling on every online CPU.
    ///
    /// Process events arrive from before the first sample on, so a scan of `/proc` after this call
    /// misses nothing.
    pub fn start(config: &SamplerConfig) -> Result<Self, SamplerError> {
        Self::start_with(config, |_| {})
    }

    /// As [`Self::start`], with settings of the kernel side that a test may change.
    fn start_with(
        config: &SamplerConfig,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, SamplerError> {
        config.validate()?;
        privilege::check()?;
        let task = read_task_offsets(&config.btf)?;
        let cpus = first_cpus()?;
        let first_cpu = cpus.first().copied().unwrap_or(0);
        let ring_bytes = config.ring_size(cpus.len());
        let mut settings = Settings {
            weight_ns: config.weight_ns(),
            wakeup_bytes: ring_bytes as u64 / 2,
            pid: config.pid.unwrap_or(0),
            max_stack: max_stack(),
            task,
        };
        change(&mut settings);
        let programs = Programs::load(settings, ring_bytes)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(io_error("create an epoll instance"))?;
        watch(&epoll, programs.ring.as_fd())?;
        let mut sampler = Self {
            programs,
            side_band: SideBand::new(
                config.process_ring_size(cpus.len()),
                config.build_ids,
                first_cpu,
            ),
            timers: Timers::new(config),
            epoll,
            ring_bytes,
            held: None,
            unreadable: 0,
            follow: Follow::new(boottime_ns()),
        };
        sampler.follow_all(cpus.iter().copied())?;
        tracing::info!(
            cpus = sampler.cpus().count(),
            source = ?sampler.event_source(),
            frequency_hz = config.frequency_hz,
            build_ids = sampler.side_band.has_build_ids(),
            "sampling started"
        );
        Ok(sampler)
    }

    /// Hands out what there is now: process events ordered by time, then samples. Does not block.
    ///
    /// A sample is handed out after every process event that preceded it. Samples of one CPU come in
    /// order; those of different CPUs may be swapped by microseconds.
    pub fn poll(&mut self, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), SamplerError> {
        let cutoff_ns = boottime_ns();
        self.follow_cpus(cutoff_ns)?;
        self.side_band.poll(cutoff_ns, &mut |event| sink(Event::Process(event)));
        self.poll_samples(cutoff_ns, sink);
        Ok(())
    }

    /// Waits until a ring is half full or the timeout ends, whichever is first.
    pub fn wait(&self, timeout: Duration) -> Result<(), SamplerError> {
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 8];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            // A signal: the caller looks at what it asked for, then comes back.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io_error("wait for samples")(error)),
        }
    }

    /// What the kernel side counted since the start.
    pub fn counters(&self) -> Result<KernelCounters, SamplerError> {
        self.programs.counters(self.unreadable)
    }

    /// Stops taking samples. The next [`Self::poll`] hands out all that are left: after it,
    /// `taken == handed out + dropped`.
    pub fn stop_sampling(&mut self) {
        self.timers.stop();
    }

    /// The kernel side's memory for unwinding.
    #[must_use]
    pub fn unwind_maps(&self) -> Arc<UnwindMaps> {
        Arc::clone(&self.programs.unwind)
    }

    /// What the timer counts.
    #[must_use]
    pub fn event_source(&self) -> EventSource {
        self.timers.source()
    }

    /// Whether process events carry build IDs (Linux 6.1 and later).
    #[must_use]
    pub fn has_kernel_build_ids(&self) -> bool {
        self.side_band.has_build_ids()
    }

    /// CPUs that are sampled now; none after [`Self::stop_sampling`].
    pub fn cpus(&self) -> impl Iterator<Item = u32> + '_ {
        self.timers.cpus()
    }

    /// Memory mapped for rings now.
    #[must_use]
    pub fn mapped_memory(&self) -> MappedMemory {
        MappedMemory { samples: 2 * self.ring_bytes, process_events: self.side_band.mapped_bytes() }
    }

    /// From here on [`Self::wait`] fails.
    #[cfg(test)]
    pub(crate) fn break_wait(&mut self) {
        self.epoll = fs::File::open("/dev/null").unwrap().into();
    }

    fn poll_samples(&mut self, cutoff_ns: u64, sink: &mut dyn FnMut(Event<'_>)) {
        if let Some(record) = self.held.take() {
            self.unreadable += hand_out(&record, sink);
        }
        while let Some(item) = self.programs.ring.next() {
            let record = words(&item);
            // Process events after the cutoff wait for the next round, so this sample has to.
            if record::time_ns(record).is_some_and(|time_ns| time_ns > cutoff_ns) {
                self.held = Some(record.to_vec());
                return;
            }
            self.unreadable += hand_out(record, sink);
        }
    }
}

/// Hands out one record; returns how many could not be read.
fn hand_out(record: &[u64], sink: &mut dyn FnMut(Event<'_>)) -> u64 {
    match record::parse(record) {
        Ok(sample) => {
            sink(Event::Sample(sample));
            0
        }
        Err(error) => {
            tracing::error!(%error, "kernel wrote a damaged sample");
            1
        }
    }
}

/// Where the kernel's own stack walk stops; 127 unless an administrator changed it.
fn max_stack() -> u32 {
    fs::read_to_string("/proc/sys/kernel/perf_event_max_stack")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(127)
}

fn read_task_offsets(path: &Path) -> Result<TaskOffsets, SamplerError> {
    let owned = || path.to_owned();
    let bytes = fs::read(path).map_err(|source| SamplerError::NoBtf { path: owned(), source })?;
    btf::task_offsets(&bytes).map_err(|source| SamplerError::BadBtf { path: owned(), source })
}

fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // The clock starts at 0 with the machine and both parts are never negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>) -> Result<(), SamplerError> {
    // Edge-triggered: the sample ring is readable as soon as it holds one byte, but wakes us only
    // when it is half full.
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(epoll, fd, epoll::EventData::new_u64(0), flags)
        .map_err(io_error("watch a ring buffer"))
}

fn io_error<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> SamplerError {
    move |source| SamplerError::Io { action, source: source.into() }
}

#[cfg(test)]
pub(crate) mod tests;
