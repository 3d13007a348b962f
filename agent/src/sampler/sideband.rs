//! Process events: one ring per CPU in, one stream ordered by time out.
//!
//! Each CPU's ring is read after another, so an effect (the exec on CPU 1) could be seen a round
//! before its cause (the fork on CPU 0). Therefore a round has a cutoff, taken before the first ring
//! is read, and hands out nothing younger. A cause is written before its effect happens; if the
//! cause was written too late to be read in this round, then after the cutoff, and so the effect
//! waits as well.

mod parse;

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
};

use self::parse::{Parsed, parse};
use super::{
    config::BuildIds,
    error::SamplerError,
    event::ProcessEvent,
    perf::{Damaged, PerfEvent, PerfRing, process_event_attr},
};

/// The process event rings of all CPUs.
#[derive(Debug)]
pub(super) struct SideBand {
    ring_bytes: usize,
    build_ids: bool,
    rings: BTreeMap<u32, PerfRing>,
    /// Events not handed out yet; ordered by time after each round.
    waiting: Vec<ProcessEvent>,
}

impl SideBand {
    /// Opens nothing yet. Whether the kernel reports build IDs, if it is to, is found out on `cpu`.
    pub(super) fn new(ring_bytes: usize, build_ids: BuildIds, cpu: u32) -> Self {
        // Linux 5.10 knows no build IDs here and says EINVAL; any other problem comes back, with a
        // remedy, when the ring is opened.
        let build_ids = build_ids == BuildIds::Kernel
            && PerfEvent::open(&process_event_attr(true, 1), cpu).is_ok();
        Self { ring_bytes, build_ids, rings: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Whether mappings come with build IDs.
    pub(super) fn has_build_ids(&self) -> bool {
        self.build_ids
    }

    /// Bytes of memory mapped.
    pub(super) fn mapped_bytes(&self) -> usize {
        self.rings.values().map(PerfRing::mapped_bytes).sum()
    }

    /// Starts to follow a CPU and says which descriptor becomes readable when its ring is half full.
    pub(super) fn add(&mut self, cpu: u32) -> Result<BorrowedFd<'_>, SamplerError> {
        let fail = |action| move |source| SamplerError::Perf { action, cpu, source };
        let watermark = u32::try_from(self.ring_bytes / 2).unwrap_or(u32::MAX);
        let event = PerfEvent::open(&process_event_attr(self.build_ids, watermark), cpu)
            .map_err(fail("open the process event stream"))?;
        let ring =
            PerfRing::map(event, self.ring_bytes).map_err(fail("map the process event ring"))?;
        ring.event().enable().map_err(fail("start the process event stream"))?;
        self.remove(cpu);
        let ring: &PerfRing = self.rings.entry(cpu).or_insert(ring);
        Ok(ring.event().as_fd())
    }

    /// Stops to follow a CPU, after reading what is left in its ring.
    pub(super) fn remove(&mut self, cpu: u32) {
        if let Some(mut ring) = self.rings.remove(&cpu) {
            read_ring(&mut ring, &mut self.waiting);
        }
    }

    /// Says that events may be missing, because a CPU was not followed for a while.
    pub(super) fn note_gap(&mut self, time_ns: u64) {
        self.waiting.push(ProcessEvent::Lost { time_ns, count: 1 });
    }

    /// Hands out the events up to `cutoff_ns`, a time taken before this call, ordered by time.
    pub(super) fn poll(&mut self, cutoff_ns: u64, sink: &mut dyn FnMut(ProcessEvent)) {
        for ring in self.rings.values_mut() {
            read_ring(ring, &mut self.waiting);
        }
        take_until(&mut self.waiting, cutoff_ns).for_each(sink);
    }
}

fn read_ring(ring: &mut PerfRing, events: &mut Vec<ProcessEvent>) {
    read(|take| ring.drain(take), events);
}

/// Adds the events of the records that `drain` hands out.
pub(super) fn read(
    drain: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), Damaged>,
    events: &mut Vec<ProcessEvent>,
) {
    let mut damaged = 0;
    let mut last_ns = 0;
    let outcome = drain(&mut |record| match parse(record) {
        Parsed::Event(event) => {
            last_ns = event.time_ns();
            events.push(event);
        }
        Parsed::Ignored => {}
        Parsed::Damaged => damaged += 1,
    });
    damaged += u64::from(outcome.is_err());
    if damaged > 0 {
        tracing::warn!(damaged, "process events could not be read");
        events.push(ProcessEvent::Lost { time_ns: last_ns, count: damaged });
    }
}

/// Orders the events by time and takes those up to `cutoff_ns`.
pub(super) fn take_until(
    events: &mut Vec<ProcessEvent>,
    cutoff_ns: u64,
) -> impl Iterator<Item = ProcessEvent> + '_ {
    // Stable: what one CPU wrote at the same instant stays in its order.
    events.sort_by_key(ProcessEvent::time_ns);
    let end = events.partition_point(|event| event.time_ns() <= cutoff_ns);
    events.drain(..end)
}

#[cfg(test)]
mod tests {
    use super::{ProcessEvent, take_until};

    fn exit(time_ns: u64, pid: u32) -> ProcessEvent {
        ProcessEvent::Exit { time_ns, pid }
    }

    #[test]
    fn streams_are_merged_by_time_and_equal_times_keep_their_order() {
        let mut events = vec![exit(5, 1), exit(7, 2), exit(5, 3), exit(6, 4)];
        let pids: Vec<_> = take_until(&mut events, 10).map(|event| event.pid()).collect();
        assert_eq!(pids, [Some(1), Some(3), Some(4), Some(2)]);
        assert!(events.is_empty());
    }

    #[test]
    fn an_effect_does_not_overtake_a_cause_that_was_read_late() {
        // Round 1, cutoff 10: the exec (11) was read, its fork (10, written after its CPU was read)
        // was not.
        let mut events = vec![exit(11, 2)];
        assert_eq!(take_until(&mut events, 10).count(), 0);
        // Round 2 reads the fork as well.
        events.push(exit(10, 1));
        let pids: Vec<_> = take_until(&mut events, 20).map(|event| event.pid()).collect();
        assert_eq!(pids, [Some(1), Some(2)]);
    }
}
