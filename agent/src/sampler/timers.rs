//! The sampling timers, one per CPU.
//!
//! What they count is found out once: reference cycles where the processor has a counter for them that
//! is steady, else the kernel's clock. A CPU whose counter is refused or taken away has the clock from
//! then on. Both stand for the same time per sample, so they may be mixed (docs/adr/005).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::BorrowedFd,
};

use super::{
    EventSource,
    config::SamplerConfig,
    error::SamplerError,
    perf::{PerfEvent, reference_cycles_per_ns, sampling_attr},
};

/// One timer per CPU, each running the entry program.
#[derive(Debug)]
pub(super) struct Timers {
    /// CPU time a sample stands for: the period of the clock.
    weight_ns: u64,
    /// The same in reference cycles, where those are what is counted.
    cycles: Option<u64>,
    /// CPUs that have the clock all the same.
    clocked: BTreeSet<u32>,
    timers: BTreeMap<u32, Timer>,
    stopped: bool,
}

#[derive(Debug)]
struct Timer {
    source: EventSource,
    event: PerfEvent,
    /// How long it had been enabled when its pulse was last taken.
    enabled_ns: u64,
}

/// CPUs whose timer stood still.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Still {
    /// The kernel takes an event off a CPU that goes offline, and does not put it back when the CPU
    /// returns.
    pub(super) gone: Vec<u32>,
    /// The CPU is there, and somebody else has its counter.
    pub(super) robbed: Vec<u32>,
}

impl Timers {
    /// Opens nothing yet; only finds out what to count.
    pub(super) fn new(config: &SamplerConfig) -> Self {
        let weight_ns = config.weight_ns();
        let rate =
            reference_cycles_per_ns().inspect_err(|why| tracing::debug!(%why, "cpu-clock it is"));
        Self::counting(weight_ns, rate.ok().map(|rate| cycles(weight_ns, rate)))
    }

    pub(super) fn counting(weight_ns: u64, cycles: Option<u64>) -> Self {
        let (clocked, timers) = (BTreeSet::new(), BTreeMap::new());
        Self { weight_ns, cycles, clocked, timers, stopped: false }
    }

    /// What is counted where nothing stands against it.
    pub(super) fn source(&self) -> EventSource {
        if self.cycles.is_some() { EventSource::HardwareCycles } else { EventSource::CpuClock }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn cpus(&self) -> impl Iterator<Item = u32> + '_ {
        self.timers.keys().copied()
    }

    /// CPUs on which this is counted now.
    pub(super) fn count(&self, source: EventSource) -> usize {
        self.timers.values().filter(|timer| timer.source == source).count()
    }

    /// Starts sampling on a CPU.
    pub(super) fn add(&mut self, cpu: u32, program: BorrowedFd<'_>) -> Result<(), SamplerError> {
        if let Some(cycles) = self.cycles.filter(|_| !self.clocked.contains(&cpu)) {
            match self.start(cpu, EventSource::HardwareCycles, cycles, program) {
                Err(error) if !error.is_cpu_gone() => {
                    // Only if the clock can be had is it the counter that was refused.
                    self.start(cpu, EventSource::CpuClock, self.weight_ns, program)?;
                    self.use_clock(cpu, &error.cause());
                    return Ok(());
                }
                result => return result,
            }
        }
        self.start(cpu, EventSource::CpuClock, self.weight_ns, program)
    }

    fn start(
        &mut self,
        cpu: u32,
        source: EventSource,
        period: u64,
        program: BorrowedFd<'_>,
    ) -> Result<(), SamplerError> {
        let fail = |action| move |source| SamplerError::Perf { action, cpu, source };
        let event = PerfEvent::open(&sampling_attr(source, period), cpu)
            .map_err(fail("open the sampling event"))?;
        event.set_program(program).map_err(fail("attach the BPF program"))?;
        event.enable().map_err(fail("start the sampling event"))?;
        // It may be enabled and yet find no counter free.
        event.read().map_err(fail("read the sampling event"))?;
        self.timers.insert(cpu, Timer { source, event, enabled_ns: 0 });
        Ok(())
    }

    fn use_clock(&mut self, cpu: u32, why: &str) {
        tracing::warn!(cpu, why, "no hardware counter; the kernel's clock samples this CPU");
        self.clocked.insert(cpu);
    }

    /// Ends sampling on a CPU.
    pub(super) fn remove(&mut self, cpu: u32) {
        self.timers.remove(&cpu);
    }

    /// Gives up the hardware counter of a CPU: it has the clock when it is added again.
    pub(super) fn give_up_counter(&mut self, cpu: u32) {
        self.remove(cpu);
        self.use_clock(cpu, "something else on this host took it, the NMI watchdog perhaps");
    }

    /// The CPUs whose timer stood still since the last call.
    pub(super) fn without_pulse(&mut self) -> Still {
        let mut still = Still::default();
        for (cpu, timer) in &mut self.timers {
            match timer.event.read() {
                Ok(reading) if reading.enabled_ns > timer.enabled_ns => {
                    timer.enabled_ns = reading.enabled_ns;
                }
                // A pinned event without a counter reads as empty.
                Err(error)
                    if error.kind() == io::ErrorKind::UnexpectedEof
                        && timer.source == EventSource::HardwareCycles =>
                {
                    still.robbed.push(*cpu);
                }
                Ok(_) | Err(_) => still.gone.push(*cpu),
            }
        }
        still
    }

    /// Ends sampling everywhere, for good. When this returns no program runs any more.
    pub(super) fn stop(&mut self) {
        for (cpu, timer) in std::mem::take(&mut self.timers) {
            if let Err(error) = timer.event.disable() {
                // Closing the event, which follows, ends it as well; only later than we return.
                tracing::warn!(%error, cpu, "sampling event could not be disabled");
            }
        }
        self.stopped = true;
    }

    /// Makes a CPU's timer one whose hardware counter was taken away.
    #[cfg(test)]
    pub(super) fn rob(&mut self, cpu: u32) {
        let timer = self.timers.get_mut(&cpu).unwrap();
        timer.source = EventSource::HardwareCycles;
        timer.event = PerfEvent::that_reads_empty();
    }
}

/// How many reference cycles are so much time. Far below 2^53, so nothing is lost.
fn cycles(weight_ns: u64, cycles_per_ns: f64) -> u64 {
    (weight_ns as f64 * cycles_per_ns).round() as u64
}

#[cfg(test)]
mod tests {
    use super::{EventSource, Timers, cycles};

    #[test]
    fn a_period_is_the_weight_in_units_of_the_source() {
        assert_eq!(cycles(10_000_000, 2.5), 25_000_000);
        assert_eq!(Timers::counting(1, Some(2)).source(), EventSource::HardwareCycles);
        assert_eq!(Timers::counting(1, None).source(), EventSource::CpuClock);
    }
}
