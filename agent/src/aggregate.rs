//! Normalized samples to batches: equal samples of one window are counted, not repeated.
//!
//! In: [`NormalizedSample`]s and the labels of their processes. Out: [`ClosedWindow`]s, each of which
//! becomes one `Batch`. Samples are equal when their labels, all their frames and their result are.
//! Memory is bounded: a window with too many distinct rows is closed early and loses nothing. Not done
//! here: sealing, numbering and sending of batches.

use std::{collections::VecDeque, time::Duration};

use fleetprof_abi::COMM_LEN;
use fleetprof_proto::{
    batch::{Batch, BatchBuilder, ObjectIndex, OriginIndex, Window},
    labels, v1,
};
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::{
    normalize::{NormalizedFrame, NormalizedSample},
    process::{ImageId, ProcessInfo},
};

/// How samples are gathered.
#[derive(Clone, Debug)]
pub struct AggregatorConfig {
    /// Length of a window.
    pub window: Duration,
    /// A window is closed early at this many rows (some 100 bytes each) in its batch's tables.
    pub max_rows: usize,
}

/// The same instant on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_BOOTTIME`, nanoseconds: what samples are stamped with.
    pub boottime_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since the Unix epoch: what batches are stamped with.
    pub unix_ns: i64,
}

/// Gathers samples into windows. Usually one is open; around a boundary two are.
pub struct Aggregator {
    window_ns: u64,
    max_rows: usize,
    clock: Box<dyn Fn() -> Clocks + Send>,
    /// Boundaries are at whole windows from here.
    origin_ns: u64,
    /// Windows before this are closed: a straggler counts from here on.
    closed_ns: u64,
    /// Unix time less boottime, nanoseconds: one number for all windows, so that those that follow one
    /// another meet, and each is as long as it was. Taken anew when the clock was set.
    unix_offset_ns: i64,
    /// By start.
    open: VecDeque<OpenWindow>,
}

#[derive(Debug)]
struct OpenWindow {
    start_ns: u64,
    end_ns: u64,
    last_sample_ns: u64,
    builder: BatchBuilder,
    /// By the objects' serial numbers.
    objects: FxHashMap<u64, ObjectIndex>,
    origins: FxHashMap<(ImageId, [u8; COMM_LEN]), OriginIndex>,
}

/// A clock that differs by less was read a moment late, or was corrected by so little that windows
/// need not overlap or leave a gap for it.
const CLOCK_SET_NS: u64 = 1_000_000_000;

/// The samples of one window.
#[derive(Debug)]
pub struct ClosedWindow {
    builder: BatchBuilder,
    span: Window,
}

// === impl AggregatorConfig ===

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(10), max_rows: 100_000 }
    }
}

// === impl Clocks ===

impl Clocks {
    /// Now.
    pub fn now() -> Self {
        let nanos = |time: Timespec| time.tv_sec * 1_000_000_000 + time.tv_nsec;
        let boottime_ns = u64::try_from(nanos(clock_gettime(ClockId::Boottime))).unwrap_or(0);
        Self { boottime_ns, unix_ns: nanos(clock_gettime(ClockId::Realtime)) }
    }

    /// Unix time less boottime, nanoseconds.
    fn unix_offset_ns(self) -> i64 {
        self.unix_ns.saturating_sub_unsigned(self.boottime_ns)
    }
}

// === impl Aggregator ===

impl Aggregator {
    /// An aggregator whose first window starts now.
    pub fn new(config: &AggregatorConfig) -> Self {
        Self::with_clock(config, Clocks::now)
    }

    /// The same, with another clock.
    pub fn with_clock(
        config: &AggregatorConfig,
        clock: impl Fn() -> Clocks + Send + 'static,
    ) -> Self {
        let now = clock();
        let origin_ns = now.boottime_ns;
        Self {
            window_ns: u64::try_from(config.window.as_nanos()).unwrap_or(u64::MAX).max(1),
            max_rows: config.max_rows,
            clock: Box::new(clock),
            origin_ns,
            closed_ns: origin_ns,
            unix_offset_ns: now.unix_offset_ns(),
            open: VecDeque::new(),
        }
    }

    /// Counts a sample. `labels` is asked once per process, thread name and window; the thread name
    /// becomes a label here. Gives a window that had to be closed early.
    #[must_use]
    pub fn add<L, N, V>(
        &mut self,
        sample: &NormalizedSample<'_>,
        labels: impl FnOnce(&ProcessInfo) -> L,
    ) -> Option<ClosedWindow>
    where
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        V: AsRef<str>,
    {
        self.window_of(sample.time_ns).add(sample, labels);
        let rows: usize = self.open.iter().map(|window| window.builder.rows()).sum();
        if rows <= self.max_rows {
            return None;
        }
        let end_ns = self.open.front()?.last_sample_ns.saturating_add(1);
        self.close_first(end_ns)
    }

    /// Gives the next window that has ended: all samples before `drained_ns` were added. Call it
    /// until there is none.
    #[must_use]
    pub fn close(&mut self, drained_ns: u64) -> Option<ClosedWindow> {
        let end_ns = self.open.front()?.end_ns;
        if end_ns <= drained_ns { self.close_first(end_ns) } else { None }
    }

    /// Gives the next window, ended or not. Call it until there is none.
    #[must_use]
    pub fn flush(&mut self) -> Option<ClosedWindow> {
        let first = self.open.front()?;
        let now_ns = (self.clock)().boottime_ns.max(first.last_sample_ns.saturating_add(1));
        let end_ns = now_ns.min(first.end_ns);
        self.close_first(end_ns)
    }

    /// Samples in windows that are not closed yet.
    pub fn samples(&self) -> u64 {
        self.open.iter().map(|window| window.builder.samples()).sum()
    }

    /// Rows in windows that are not closed yet: the measure of the memory.
    pub fn rows(&self) -> usize {
        self.open.iter().map(|window| window.builder.rows()).sum()
    }

    fn window_of(&mut self, time_ns: u64) -> &mut OpenWindow {
        let time_ns = time_ns.max(self.closed_ns);
        let index = match self.open.iter().position(|window| time_ns < window.end_ns) {
            Some(index) if self.open[index].start_ns <= time_ns => index,
            before => {
                let window = self.open_at(time_ns);
                let index = before.unwrap_or(self.open.len());
                self.open.insert(index, window);
                index
            }
        };
        let window = &mut self.open[index];
        window.last_sample_ns = window.last_sample_ns.max(time_ns);
        window
    }

    fn open_at(&self, time_ns: u64) -> OpenWindow {
        let whole = (time_ns - self.origin_ns) / self.window_ns;
        let boundary_ns = self.origin_ns.saturating_add(whole.saturating_mul(self.window_ns));
        let start_ns = boundary_ns.max(self.closed_ns);
        OpenWindow {
            start_ns,
            end_ns: boundary_ns.saturating_add(self.window_ns),
            last_sample_ns: start_ns,
            builder: BatchBuilder::new(),
            objects: FxHashMap::default(),
            origins: FxHashMap::default(),
        }
    }

    fn close_first(&mut self, end_ns: u64) -> Option<ClosedWindow> {
        let window = self.open.pop_front()?;
        self.closed_ns = end_ns;
        let unix_offset_ns = (self.clock)().unix_offset_ns();
        if unix_offset_ns.abs_diff(self.unix_offset_ns) > CLOCK_SET_NS {
            self.unix_offset_ns = unix_offset_ns;
        }
        let unix_ns = |boottime_ns| self.unix_offset_ns.saturating_add_unsigned(boottime_ns);
        let start_unix_nanos = unix_ns(window.start_ns);
        let span = Window { start_unix_nanos, end_unix_nanos: unix_ns(end_ns) };
        Some(ClosedWindow { builder: window.builder, span })
    }
}

// === impl OpenWindow ===

impl OpenWindow {
    fn add<L, N, V>(
        &mut self,
        sample: &NormalizedSample<'_>,
        labels: impl FnOnce(&ProcessInfo) -> L,
    ) where
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let key = (sample.process.image, sample.comm);
        let origin = match self.origins.get(&key) {
            Some(origin) => *origin,
            None => {
                let origin = origin(&mut self.builder, sample, labels(&sample.process));
                self.origins.insert(key, origin);
                origin
            }
        };
        let (builder, objects) = (&mut self.builder, &mut self.objects);
        let mut stack = fleetprof_proto::batch::StackIndex::EMPTY;
        for frame in sample.frames {
            let object = object(builder, objects, frame);
            let frame = match &frame.source {
                Some(source) => builder.named_frame(object, source.name()),
                None => builder.frame(object, frame.offset, frame.reason),
            };
            stack = builder.child(stack, frame);
        }
        builder.add(origin, stack, sample.result.number().into(), 1, sample.weight_ns);
    }
}

fn origin<N: AsRef<str>, V: AsRef<str>>(
    builder: &mut BatchBuilder,
    sample: &NormalizedSample<'_>,
    labels: impl IntoIterator<Item = (N, V)>,
) -> OriginIndex {
    let end = sample.comm.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
    let comm = String::from_utf8_lossy(&sample.comm[..end]);
    let labels: Vec<(N, V)> = labels.into_iter().collect();
    let labels = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    builder.origin(std::iter::once((labels::COMM, &*comm)).chain(labels))
}

fn object(
    builder: &mut BatchBuilder,
    objects: &mut FxHashMap<u64, ObjectIndex>,
    frame: &NormalizedFrame,
) -> ObjectIndex {
    let Some(object) = &frame.object else { return ObjectIndex::UNKNOWN };
    *objects
        .entry(object.serial())
        .or_insert_with(|| builder.object(object.kind(), object.build_id(), object.path()))
}

// === impl ClosedWindow ===

impl ClosedWindow {
    /// Samples in it.
    pub fn samples(&self) -> u64 {
        self.builder.samples()
    }

    /// The time it covers.
    pub fn span(&self) -> Window {
        self.span
    }

    /// Makes the batch. `labels` hold for all its samples.
    pub fn finish<'a>(
        self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        accounting: v1::Accounting,
    ) -> Batch {
        self.builder.finish(self.span, labels, accounting)
    }
}

impl std::fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregator")
            .field("window_ns", &self.window_ns)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
