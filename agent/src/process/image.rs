//! One process and the programs it ran, one after the other.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{info::ProcessInfo, mapping::MappingSet};

/// Identifies a program image for the life of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(u64);

/// What a process runs between two execs.
#[derive(Debug)]
pub struct Image {
    pub(super) id: ImageId,
    /// Samples from this time on belong to it; 0 for the first that is known.
    pub(super) since_ns: u64,
    /// When its mappings were last read from `/proc`; 0 = never.
    pub(super) read_ns: u64,
    /// How long to wait before they are read again for addresses outside of them.
    pub(super) reread_pause_ns: u64,
    pub(super) comm: Vec<u8>,
    pub(super) exe: Option<Arc<[u8]>>,
    pub(super) kernel_thread: bool,
    pub(super) knowledge: Knowledge,
    pub(super) maps: Arc<MappingSet>,
    pub(super) info: Option<Arc<ProcessInfo>>,
    /// Its parent's, or that of the program before.
    pub(super) inherited: Option<Arc<ProcessInfo>>,
}

/// How much of the mappings is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// All of them, from `/proc` or from events since the exec.
    Complete,
    /// They have to be read before use.
    Unread,
    /// Whatever is missing can no longer be had.
    Gone,
}

/// When a process started, `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// To the nanosecond, from a sample.
    Exact(u64),
    /// To the hundredth of a second, rounded down, from `/proc`.
    Ticks(u64),
    /// Shortly before this, from the event of its fork.
    Before(u64),
    /// Not known: it was seen only by the events of a process that is gone.
    Unknown,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) start: Start,
    pub(super) exit_ns: Option<u64>,
    pub(super) parent: Option<u32>,
    /// Never empty; the last one is what runs now.
    pub(super) images: Vec<Image>,
    /// For eviction.
    pub(super) last_used_ns: u64,
}

/// Nanoseconds of one unit of `/proc/PID/stat`'s start time (`USER_HZ` is 100 everywhere).
pub(super) const TICK_NS: u64 = 10_000_000;

/// How long after a process's start its fork may be reported: the kernel sets the one at the
/// beginning of fork and reports at its end, which a busy host can delay.
const FORK_DELAY_NS: u64 = 2_000_000_000;

/// First pause between two readings of mappings for addresses in none of them. Events tell of new
/// mappings, so what is left is mostly the fault of a stack walk that went astray, which happens all
/// the time: the pause is doubled whenever a reading brings nothing new.
const MIN_REREAD_PAUSE_NS: u64 = 10_000_000_000;

// === impl ImageId ===

impl ImageId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A chosen one.
    #[cfg(test)]
    pub(crate) fn for_test(number: u64) -> Self {
        Self(number)
    }
}

// === impl Image ===

impl Image {
    pub(super) fn new(since_ns: u64, comm: &[u8], knowledge: Knowledge) -> Self {
        let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
        Self {
            id: ImageId::next(),
            since_ns,
            read_ns: 0,
            reread_pause_ns: MIN_REREAD_PAUSE_NS,
            comm: comm[..end].to_vec(),
            exe: None,
            kernel_thread: false,
            knowledge,
            maps: Arc::default(),
            info: None,
            inherited: None,
        }
    }

    /// What a child has right after the fork at `time_ns`.
    pub(super) fn forked(&self, time_ns: u64) -> Self {
        Self {
            id: ImageId::next(),
            since_ns: 0,
            // The parent may have been read after the fork, and so after the child's first events.
            read_ns: self.read_ns.max(self.since_ns).min(time_ns),
            reread_pause_ns: MIN_REREAD_PAUSE_NS,
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            kernel_thread: self.kernel_thread,
            // What cannot be had of the parent may be had of the child.
            knowledge: match self.knowledge {
                Knowledge::Complete => Knowledge::Complete,
                Knowledge::Unread | Knowledge::Gone => Knowledge::Unread,
            },
            maps: Arc::clone(&self.maps),
            info: None,
            inherited: self.info.clone().or_else(|| self.inherited.clone()),
        }
    }

    /// The program's identity in this agent.
    pub fn id(&self) -> ImageId {
        self.id
    }

    /// Its executable mappings.
    pub fn mappings(&self) -> &MappingSet {
        &self.maps
    }

    pub(super) fn approx_bytes(&self) -> usize {
        // A part of what is shared: the sum over all sharers is the whole.
        let maps = self.maps.approx_bytes() / Arc::strong_count(&self.maps);
        let info = self.info.as_ref().map_or(0, |info| info.approx_bytes());
        self.comm.capacity() + maps + info
    }
}

// === impl Start ===

impl Start {
    /// Whether a process that started at `other` (exact) is this one.
    pub(super) fn is(self, other_ns: u64) -> bool {
        match self {
            Self::Exact(ns) => ns == other_ns,
            Self::Ticks(ticks) => other_ns / TICK_NS == ticks,
            Self::Before(ns) => other_ns <= ns && ns - other_ns <= FORK_DELAY_NS,
            Self::Unknown => false,
        }
    }

    /// Whether `/proc` shows this process: `ticks` is its start there.
    pub(super) fn is_shown_as(self, ticks: u64) -> bool {
        let shown_ns = ticks.saturating_mul(TICK_NS);
        match self {
            Self::Exact(ns) => ns / TICK_NS == ticks,
            Self::Ticks(own) => own == ticks,
            Self::Before(ns) => shown_ns <= ns && ns - shown_ns <= FORK_DELAY_NS + TICK_NS,
            // Nothing speaks against it: the pid is the same and no exit was seen.
            Self::Unknown => true,
        }
    }

    /// Whether the fork reported at `event_ns` is the one that made this process.
    pub(super) fn is_fork_at(self, event_ns: u64) -> bool {
        match self {
            Self::Exact(ns) => ns <= event_ns && event_ns - ns <= FORK_DELAY_NS,
            Self::Ticks(_) => {
                let ns = self.nanos();
                ns <= event_ns && event_ns - ns <= FORK_DELAY_NS + TICK_NS
            }
            Self::Before(ns) => ns == event_ns,
            // Events come in order of time: one before the fork was of another process.
            Self::Unknown => false,
        }
    }

    /// The start in nanoseconds, as exactly as is known.
    pub(super) fn nanos(self) -> u64 {
        match self {
            Self::Exact(ns) | Self::Before(ns) => ns,
            Self::Ticks(ticks) => ticks.saturating_mul(TICK_NS),
            Self::Unknown => 0,
        }
    }
}

// === impl Process ===

impl Process {
    pub(super) fn new(start: Start, image: Image) -> Self {
        Self { start, exit_ns: None, parent: None, images: vec![image], last_used_ns: 0 }
    }

    /// Index of the image that ran at `time_ns`.
    pub(super) fn image_at(&self, time_ns: u64) -> usize {
        self.images.partition_point(|image| image.since_ns <= time_ns).saturating_sub(1)
    }

    /// What runs now.
    pub(super) fn current(&mut self) -> &mut Image {
        let last = self.images.len() - 1;
        &mut self.images[last]
    }

    pub(super) fn approx_bytes(&self) -> usize {
        let images: usize = self.images.iter().map(Image::approx_bytes).sum();
        size_of::<Self>() + self.images.capacity() * size_of::<Image>() + images
    }
}
