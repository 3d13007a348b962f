//! CPU time as the kernel counts it.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::machine::unix_nanos;

/// CPU time of one thread, nanoseconds (first field of its `schedstat`); none when it is gone.
pub fn thread_ns(pid: u32, tid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// CPU time of the threads that a process has now, nanoseconds; none when it is gone.
pub fn process_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    Some(tids.filter_map(|tid| thread_ns(pid, tid)).sum())
}

/// User and system time of a process with its ended threads, seconds (`/proc/PID/stat`).
pub fn process_seconds(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may contain blanks: count from its closing parenthesis.
    let fields: Vec<_> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Share of the machine's CPU time that was used for anything, by the hypervisor's other guests too, in a
/// span that begins now; none when the kernel does not tell.
pub fn machine_busy(span: Duration) -> Option<f64> {
    let before = machine_ticks()?;
    thread::sleep(span);
    let after = machine_ticks()?;
    let [idle, all] = [0, 1].map(|at| (after[at] - before[at]) as f64);
    (all > 0.0).then(|| 1.0 - idle / all)
}

/// Ticks of all CPUs: idle (waiting for a disk included), and in all.
fn machine_ticks() -> Option<[u64; 2]> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
    let ticks: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    Some([ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()])
}

/// A value in kB of `/proc/PID/status`, for example `VmRSS`.
pub fn status_kb(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// CPU time of a process to the nanosecond, threads that ended in between included as far as they were
/// seen: `/proc/PID/stat` alone counts in steps of 10 ms.
#[derive(Clone, Debug)]
pub struct Meter {
    pid: u32,
    threads: HashMap<u32, u64>,
}

/// Follows the CPU time of a process, so that it is known for any span afterwards.
#[derive(Debug)]
pub struct Track {
    stop: Arc<AtomicBool>,
    points: JoinHandle<Vec<(i64, u64)>>,
}

/// What a [`Track`] saw: Unix nanoseconds and CPU nanoseconds since the start of the process.
#[derive(Debug)]
pub struct Tracked(Vec<(i64, u64)>);

// === impl Meter ===

impl Meter {
    /// Measures a process; call [`Meter::look`] several times a second.
    pub fn new(pid: u32) -> Self {
        Self { pid, threads: HashMap::new() }
    }

    /// CPU seconds seen so far, since the start of the process.
    pub fn look(&mut self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid));
        for tid in
            tasks.into_iter().flatten().filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok())
        {
            if let Some(ns) = thread_ns(self.pid, tid) {
                self.threads.insert(tid, ns);
            }
        }
        self.threads.values().sum::<u64>() as f64 / 1e9
    }
}

// === impl Track ===

impl Track {
    /// Looks every 10 ms from now on, until the process ends or [`Track::finish`].
    pub fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let points = thread::spawn(move || {
            let mut points = Vec::new();
            while let Some(ns) = process_ns(pid).filter(|_| !seen.load(Ordering::Relaxed)) {
                points.push((unix_nanos(), ns));
                thread::sleep(Duration::from_millis(10));
            }
            points
        });
        Self { stop, points }
    }

    /// Ends the looking.
    ///
    /// # Panics
    /// When there was nothing to see.
    pub fn finish(self) -> Tracked {
        self.stop.store(true, Ordering::Relaxed);
        let points = self.points.join().expect("the tracking thread does not panic");
        assert!(points.len() > 1, "the process ended before its CPU time could be read");
        Tracked(points)
    }
}

// === impl Tracked ===

impl Tracked {
    /// CPU seconds between two instants (Unix nanoseconds).
    ///
    /// # Panics
    /// When the span was not tracked.
    pub fn seconds_between(&self, start: i64, end: i64) -> f64 {
        (self.at(end) - self.at(start)) / 1e9
    }

    fn at(&self, instant: i64) -> f64 {
        let after = self.0.partition_point(|(time, _)| *time < instant);
        let (Some(before), Some(after)) =
            (after.checked_sub(1).map(|at| self.0[at]), self.0.get(after).copied())
        else {
            panic!(
                "{instant} is outside of what was tracked: {:?} to {:?}",
                self.0.first(),
                self.0.last()
            );
        };
        let share = (instant - before.0) as f64 / (after.0 - before.0) as f64;
        before.1 as f64 + share * (after.1 - before.1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Tracked;

    #[test]
    fn cpu_time_is_interpolated_between_two_looks() {
        let tracked = Tracked(vec![(0, 0), (1_000, 500), (2_000, 500)]);
        assert!((tracked.seconds_between(500, 1_500) - 250e-9).abs() < 1e-15);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn a_span_that_was_not_tracked_has_no_answer() {
        Tracked(vec![(0, 0), (1_000, 500)]).seconds_between(500, 1_500);
    }
}
