//! How many reference cycles a nanosecond has, found out by counting them for a moment.
//!
//! The rate is a property of the processor that no interface tells on every machine. Where it is not
//! steady (a virtual machine that emulates the counter, say), a number of cycles is no time, and
//! the kernel's clock is the better timer.

use std::io;

use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

use super::event::{PerfEvent, counting_attr};
use crate::sampler::EventSource;

/// How long one measurement works, nanoseconds of CPU time.
const WORK_NS: u64 = 10_000_000;

/// Two measurements may differ by this share.
const TOLERANCE: f64 = 0.002;

/// Why time is not counted in reference cycles here.
#[derive(Debug, Error)]
pub(crate) enum NoCycles {
    /// No such counter, as on most virtual machines, or it must not be used.
    #[error("no counter of reference cycles ({0})")]
    Absent(#[source] io::Error),
    /// It is there, and does not count for us.
    #[error("the counter of reference cycles is in use by something else")]
    Busy,
    /// Its rate changes.
    #[error("the counter of reference cycles is not steady")]
    Unsteady,
}

/// The rate of reference cycles.
pub(in crate::sampler) fn reference_cycles_per_ns() -> Result<f64, NoCycles> {
    rate(EventSource::HardwareCycles)
}

fn rate(source: EventSource) -> Result<f64, NoCycles> {
    let event =
        PerfEvent::open_for_this_thread(&counting_attr(source)).map_err(NoCycles::Absent)?;
    event.enable().map_err(NoCycles::Absent)?;
    let first = measure(&event).ok_or(NoCycles::Busy)?;
    let second = measure(&event).ok_or(NoCycles::Busy)?;
    steady(first, second).ok_or(NoCycles::Unsteady)
}

/// The rate that two measurements agree on.
fn steady(first: f64, second: f64) -> Option<f64> {
    let mean = f64::midpoint(first, second);
    let usable = mean.is_finite() && mean > 0.0;
    (usable && (first - second).abs() <= TOLERANCE * mean).then_some(mean)
}

/// Works for a while and returns units counted per nanosecond of this thread's CPU time.
fn measure(event: &PerfEvent) -> Option<f64> {
    let (start_ns, before) = (thread_cpu_ns(), event.read().ok()?.count);
    let mut worked_ns = 0;
    while worked_ns < WORK_NS {
        worked_ns = thread_cpu_ns().checked_sub(start_ns)?;
    }
    let counted = event.read().ok()?.count.checked_sub(before)?;
    Some(counted as f64 / worked_ns as f64)
}

fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::{EventSource, rate, steady};

    #[test]
    fn a_clock_has_one_unit_per_nanosecond() {
        // The kernel's clock stands in for hardware that this machine may lack. When the machine is
        // busy two measurements may disagree, which is not what this test is about.
        let rate = (0..100).find_map(|_| rate(EventSource::CpuClock).ok()).unwrap();
        assert!((0.98..1.02).contains(&rate), "{rate}");
    }

    #[test]
    fn a_rate_that_varies_is_none() {
        assert!((steady(2.4, 2.401).unwrap() - 2.4005).abs() < 1e-9);
        assert_eq!(steady(2.4, 2.5), None);
        assert_eq!(steady(0.0, 0.0), None);
        assert_eq!(steady(f64::NAN, 1.0), None);
    }
}
