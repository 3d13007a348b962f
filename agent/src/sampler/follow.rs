//! Which CPUs are followed: all that are online, also those that come later.
//!
//! In: the kernel's set of online CPUs. Out: process events and a timer on each. At the start a CPU
//! that cannot be followed is an error; later it is counted and tried again, because it is no reason
//! to stop sampling the others.

use std::collections::BTreeSet;

use super::{EventSource, Sampler, cpus::online, error::SamplerError, io_error, watch};

/// How often the set of online CPUs is read.
const CPU_CHECK_NS: u64 = 1_000_000_000;

/// How often the timers are checked for a CPU that went away and came back between two looks at the
/// set. Each check wakes every busy CPU once, hence rarely.
const PULSE_CHECK_NS: u64 = 10_000_000_000;

/// CPUs by what samples them, and what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuCounts {
    /// Sampled by a hardware counter.
    pub hardware_cycles: usize,
    /// Sampled by the kernel's clock.
    pub cpu_clock: usize,
    /// Online and not sampled: the kernel refuses, and is asked again every second.
    pub failed: usize,
    /// Failed attempts to follow CPUs, since the start.
    pub faults: u64,
}

/// What is known of CPUs from one look to the next.
#[derive(Debug)]
pub(super) struct Follow {
    /// When the set of CPUs was looked at last, and when the timers' pulse was.
    pub(super) cpus_checked_ns: u64,
    pub(super) pulse_checked_ns: u64,
    /// The set could not be read.
    blind: bool,
    failed: BTreeSet<u32>,
    faults: u64,
}

// === impl CpuCounts ===

impl CpuCounts {
    /// All that are sampled.
    #[must_use]
    pub fn sampled(&self) -> usize {
        self.hardware_cycles + self.cpu_clock
    }
}

// === impl Follow ===

impl Follow {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            cpus_checked_ns: now_ns,
            pulse_checked_ns: now_ns,
            blind: false,
            failed: BTreeSet::new(),
            faults: 0,
        }
    }

    /// Said once, however often it is tried.
    fn failed(&mut self, cpu: u32, error: &SamplerError) {
        self.faults += 1;
        if self.failed.insert(cpu) {
            tracing::warn!(cpu, %error, "CPU is not sampled; trying again every second");
        }
    }

    fn succeeded(&mut self, cpu: u32) {
        self.failed.remove(&cpu);
        tracing::info!(cpu, "CPU is sampled from now on");
    }

    fn read_online(&mut self) -> Option<BTreeSet<u32>> {
        match online() {
            Ok(online) => {
                self.blind = false;
                self.failed.retain(|cpu| online.contains(cpu));
                Some(online)
            }
            Err(error) => {
                self.faults += 1;
                if !std::mem::replace(&mut self.blind, true) {
                    tracing::warn!(%error, "cannot read the set of online CPUs; trying again every second");
                }
                None
            }
        }
    }
}

// === impl Sampler ===

impl Sampler {
    /// CPUs by what samples them.
    #[must_use]
    pub fn cpu_counts(&self) -> CpuCounts {
        let Follow { failed, faults, .. } = &self.follow;
        CpuCounts {
            hardware_cycles: self.timers.count(EventSource::HardwareCycles),
            cpu_clock: self.timers.count(EventSource::CpuClock),
            failed: failed.len(),
            faults: *faults,
        }
    }

    /// Follows CPUs that came and drops those that went. An error is of all CPUs.
    pub(super) fn follow_cpus(&mut self, now_ns: u64) -> Result<(), SamplerError> {
        if self.timers.stopped() || now_ns - self.follow.cpus_checked_ns < CPU_CHECK_NS {
            return Ok(());
        }
        self.follow.cpus_checked_ns = now_ns;
        let Some(online) = self.follow.read_online() else { return Ok(()) };
        let mut gone: Vec<u32> = self.timers.cpus().filter(|cpu| !online.contains(cpu)).collect();
        if now_ns - self.follow.pulse_checked_ns >= PULSE_CHECK_NS {
            self.follow.pulse_checked_ns = now_ns;
            let still = self.timers.without_pulse();
            gone.extend(still.gone);
            still.robbed.into_iter().for_each(|cpu| self.timers.give_up_counter(cpu));
        }
        for cpu in gone {
            tracing::info!(cpu, "CPU went offline");
            self.unfollow(cpu);
        }
        let known: BTreeSet<u32> = self.timers.cpus().collect();
        for cpu in online.difference(&known) {
            match self.follow_all(std::iter::once(*cpu)) {
                // It went offline at this moment.
                Ok(()) if self.timers.cpus().all(|sampled| sampled != *cpu) => {}
                Ok(()) => {
                    self.follow.succeeded(*cpu);
                    self.side_band.note_gap(now_ns);
                }
                Err(error) if error.is_of_one_cpu() => {
                    self.follow.failed(*cpu, &error);
                    self.unfollow(*cpu);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Follows process events on CPUs, then samples them.
    pub(super) fn follow_all(
        &mut self,
        cpus: impl Iterator<Item = u32> + Clone,
    ) -> Result<(), SamplerError> {
        for cpu in cpus.clone() {
            match self.side_band.add(cpu) {
                Ok(ring) => watch(&self.epoll, ring)?,
                Err(error) if error.is_cpu_gone() => {}
                Err(error) => return Err(error),
            }
        }
        for cpu in cpus {
            match self.timers.add(cpu, self.programs.entry()?) {
                Ok(()) => {}
                // It is tried again when it is back.
                Err(error) if error.is_cpu_gone() => tracing::info!(cpu, "CPU went offline"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn unfollow(&mut self, cpu: u32) {
        self.timers.remove(cpu);
        self.side_band.remove(cpu);
    }
}

/// The CPUs to begin with.
pub(super) fn first_cpus() -> Result<BTreeSet<u32>, SamplerError> {
    online().map_err(io_error("read the set of online CPUs"))
}
