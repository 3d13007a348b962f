//! The table of processes: events in, program images out.

mod bind;
mod bound;
mod scan;

pub use bound::Bound;
pub use scan::{ScanError, ScanSummary};

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tracing::debug;

use super::{
    image::{Image, Knowledge, Process, Start},
    info::EnvironNames,
    mapping::{Mapping, Region},
    procfs::ProcFs,
};
use crate::{
    object::{DeviceId, FileId, Registry},
    sampler::{self, MappedFile, ProcessEvent},
};

/// What the table may keep and what it looks for.
#[derive(Clone, Debug)]
pub struct TableConfig {
    /// Above this many bytes the processes that were not sampled for longest are forgotten; `/proc`
    /// still has them.
    pub max_bytes: usize,
    /// How long the first scan may read mappings. Samples wait meanwhile, in a ring that holds about
    /// a second of them.
    pub scan_time: Duration,
    /// Variables to look up in the environment of processes.
    pub environ_names: EnvironNames,
}

/// Sizes and events of the table, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Processes known now.
    pub processes: usize,
    /// Times `/proc/PID/maps` was read.
    pub maps_read: u64,
    /// Processes forgotten to keep within the memory limit.
    pub evicted: u64,
    /// Mappings that were not kept because their process has too many.
    pub mappings_refused: u64,
    /// Samples of processes that were gone before anything was known of them.
    pub gone: u64,
    /// Times the kernel reported that process events were lost.
    pub events_lost: u64,
}

/// The table.
#[derive(Debug)]
pub struct ProcessTable {
    config: TableConfig,
    registry: Arc<Registry>,
    procfs: ProcFs,
    /// By pid; the processes that had it one after the other, the newest last.
    processes: FxHashMap<u32, Vec<Process>>,
    /// What ended when, in the order it was noticed.
    ended: VecDeque<(u64, u32)>,
    /// All samples before this were handed out.
    drained_ns: u64,
    /// Mappings read before this may have missed events.
    distrust_before_ns: u64,
    bytes_checked_ns: u64,
    counts: TableCounts,
}

/// How long ended things are kept after the samples of their time were handed out: samples of
/// different CPUs may come a little out of order.
const GRACE_NS: u64 = 500_000_000;

/// How often the memory is added up.
const CHECK_BYTES_NS: u64 = 10_000_000_000;

/// Most processes with the same pid kept at a time, and programs of one process. A host that runs
/// through all pids within `GRACE_NS` does not exist; a process that execs in a loop does.
const MAX_GENERATIONS: usize = 16;
const MAX_IMAGES: usize = 64;

// === impl TableConfig ===

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            scan_time: Duration::from_millis(500),
            environ_names: &["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"],
        }
    }
}

// === impl ProcessTable ===

impl ProcessTable {
    /// An empty table. [`scan`](Self::scan) fills it with what runs already.
    pub fn new(config: TableConfig, registry: Arc<Registry>) -> Self {
        Self {
            config,
            procfs: ProcFs::new(Arc::clone(&registry)),
            registry,
            processes: FxHashMap::default(),
            ended: VecDeque::new(),
            drained_ns: 0,
            distrust_before_ns: 0,
            bytes_checked_ns: 0,
            counts: TableCounts::default(),
        }
    }

    /// Takes note of a process event. Events have to come in order of time.
    pub fn apply(&mut self, event: &ProcessEvent) {
        match event {
            ProcessEvent::Fork { time_ns, pid, parent_pid } => {
                self.fork(*time_ns, *pid, *parent_pid);
            }
            ProcessEvent::Exec { time_ns, pid, comm } => self.exec(*time_ns, *pid, comm),
            ProcessEvent::Mmap(mapping) => self.mmap(mapping),
            ProcessEvent::Exit { time_ns, pid } => self.exit(*time_ns, *pid),
            ProcessEvent::Lost { time_ns, .. } => self.lost(*time_ns),
        }
    }

    /// Says that every sample taken before `time_ns` was handed out (the instant before the
    /// sampler's last poll): what ended earlier is dropped, and the memory limit is enforced.
    pub fn drained(&mut self, time_ns: u64) {
        self.drained_ns = self.drained_ns.max(time_ns);
        let until_ns = self.drained_ns.saturating_sub(GRACE_NS);
        while let Some((ended_ns, pid)) = self.ended.front().copied() {
            if ended_ns > until_ns {
                break;
            }
            self.ended.pop_front();
            self.tidy(pid, until_ns);
        }
        if self.drained_ns - self.bytes_checked_ns >= CHECK_BYTES_NS {
            self.bytes_checked_ns = self.drained_ns;
            self.evict();
        }
    }

    /// Memory it holds, bytes, estimated; without the registry's.
    pub fn approx_bytes(&self) -> usize {
        let processes = self.processes.values().map(|generations| {
            let contents: usize = generations.iter().map(Process::approx_bytes).sum();
            let spare = generations.capacity() - generations.len();
            contents + spare * size_of::<Process>() + 16
        });
        let table = self.processes.capacity() * (size_of::<(u32, Vec<Process>)>() + 1);
        processes.sum::<usize>() + table + self.ended.capacity() * size_of::<(u64, u32)>()
    }

    /// Sizes and events.
    pub fn counts(&self) -> TableCounts {
        let processes = self.processes.values().map(Vec::len).sum();
        TableCounts { processes, ..self.counts }
    }

    fn fork(&mut self, time_ns: u64, pid: u32, parent_pid: u32) {
        let parent = self.processes.get(&parent_pid).and_then(|generations| generations.last());
        let image = match parent.and_then(|parent| parent.images.last()) {
            Some(image) => image.forked(time_ns),
            None => Image::new(0, b"", Knowledge::Unread),
        };
        let generations = self.processes.entry(pid).or_default();
        if let Some(last) = generations.last_mut() {
            if last.exit_ns.is_none() && last.start.is_fork_at(time_ns) {
                // `/proc` or a sample was quicker than the event: only the parent is news.
                last.parent = Some(parent_pid);
                return;
            }
            // Its exit was missed: the pid would not be free otherwise.
            if last.exit_ns.is_none() {
                last.exit_ns = Some(time_ns);
                self.ended.push_back((time_ns, pid));
            }
        }
        if generations.len() >= MAX_GENERATIONS {
            generations.remove(0);
        }
        if image.maps.has_replaced() {
            self.ended.push_back((time_ns, pid));
        }
        let mut process = Process::new(Start::Before(time_ns), image);
        process.parent = Some(parent_pid);
        process.last_used_ns = time_ns;
        generations.push(process);
    }

    fn exec(&mut self, time_ns: u64, pid: u32, comm: &[u8]) {
        let process = self.running(pid, time_ns);
        let last = process.current();
        // `/proc` was read after this event happened: it is in there already.
        if last.read_ns >= time_ns {
            return;
        }
        let mut image = Image::new(time_ns, comm, Knowledge::Complete);
        image.inherited = last.info.clone().or_else(|| last.inherited.clone());
        if process.images.len() >= MAX_IMAGES {
            process.images.remove(0);
        }
        process.images.push(image);
        process.last_used_ns = time_ns;
        self.ended.push_back((time_ns, pid));
    }

    fn mmap(&mut self, event: &sampler::Mapping) {
        let Some(end) = event.start.checked_add(event.len).filter(|end| *end > event.start) else {
            debug!(pid = event.pid, "mapping without an end ignored");
            return;
        };
        let path = self.registry.path(&super::parse::mapped_path(&event.path));
        let region = region_of(&path, event.file);
        let mut mapping = Mapping::new(event.start, end, event.file_offset, path, region);
        mapping.since_ns = event.time_ns;
        let image = self.running(event.pid, event.time_ns).current();
        if image.read_ns >= event.time_ns {
            return;
        }
        // The kernel maps the program itself first.
        let is_file = matches!(mapping.region, Region::Identified(_) | Region::File(_));
        if image.exe.is_none() && image.maps.is_empty() && is_file {
            image.exe = Some(Arc::clone(&mapping.path));
        }
        let maps = Arc::make_mut(&mut image.maps);
        if !maps.insert(mapping) {
            self.counts.mappings_refused += 1;
        } else if maps.has_replaced() {
            self.ended.push_back((event.time_ns, event.pid));
        }
    }

    fn exit(&mut self, time_ns: u64, pid: u32) {
        let Some(process) = self.processes.get_mut(&pid).and_then(|g| g.last_mut()) else { return };
        if process.exit_ns.is_none() {
            process.exit_ns = Some(time_ns);
            self.ended.push_back((time_ns, pid));
        }
    }

    /// Mappings are read again when they are next needed; those that ended are looked for now.
    fn lost(&mut self, time_ns: u64) {
        self.counts.events_lost += 1;
        // Whatever was lost was lost after the round before.
        self.distrust_before_ns = time_ns;
        let Ok(pids) = self.procfs.pids() else { return };
        let alive: rustc_hash::FxHashSet<u32> = pids.into_iter().collect();
        for (pid, generations) in &mut self.processes {
            if let Some(last) = generations.last_mut()
                && last.exit_ns.is_none()
                && !alive.contains(pid)
            {
                last.exit_ns = Some(time_ns);
                self.ended.push_back((time_ns, *pid));
            }
        }
    }

    /// The process that has this pid now. One that was never seen is read when a sample needs it. One
    /// that ended runs on: without a fork there is no new one, so what ended was its main thread (as
    /// when another thread execs).
    fn running(&mut self, pid: u32, time_ns: u64) -> &mut Process {
        let generations = self.processes.entry(pid).or_default();
        match generations.last_mut() {
            Some(last) => last.exit_ns = None,
            None => {
                let image = Image::new(0, b"", Knowledge::Unread);
                let mut process = Process::new(Start::Unknown, image);
                process.last_used_ns = time_ns;
                generations.push(process);
            }
        }
        let last = generations.len() - 1;
        &mut generations[last]
    }

    /// Drops what of a pid ended before `until_ns`.
    fn tidy(&mut self, pid: u32, until_ns: u64) {
        let Some(generations) = self.processes.get_mut(&pid) else { return };
        generations.retain_mut(|process| {
            let past = process.image_at(until_ns);
            process.images.drain(..past);
            // The first image stands for all the time before it.
            process.images[0].since_ns = 0;
            let maps = &mut process.current().maps;
            if maps.has_replaced() {
                Arc::make_mut(maps).forget_before(until_ns);
            }
            process.exit_ns.is_none_or(|exit_ns| exit_ns > until_ns)
        });
        if generations.is_empty() {
            self.processes.remove(&pid);
        }
    }

    /// Forgets the longest unused processes until a quarter of the limit is free.
    fn evict(&mut self) {
        let mut bytes = self.approx_bytes();
        if bytes <= self.config.max_bytes {
            return;
        }
        let mut ages: Vec<(u64, u32, usize)> = self
            .processes
            .iter()
            .map(|(pid, generations)| {
                let used = generations.iter().map(|p| p.last_used_ns).max().unwrap_or(0);
                (used, *pid, generations.iter().map(Process::approx_bytes).sum())
            })
            .collect();
        ages.sort_unstable();
        let before = self.processes.len();
        for (_, pid, size) in ages {
            if bytes <= self.config.max_bytes / 4 * 3 {
                break;
            }
            self.processes.remove(&pid);
            bytes = bytes.saturating_sub(size);
        }
        self.processes.shrink_to_fit();
        let evicted = before - self.processes.len();
        self.counts.evicted += evicted as u64;
        debug!(evicted, bytes, "processes forgotten to keep within the memory limit");
    }
}

fn region_of(path: &[u8], file: MappedFile) -> Region {
    match file {
        _ if path == b"[vdso]" => Region::Vdso,
        MappedFile::BuildId(build_id) => Region::Identified(build_id),
        MappedFile::Inode(inode) => {
            let device = DeviceId { major: inode.major, minor: inode.minor };
            let file = FileId { device, inode: inode.inode, generation: inode.generation };
            Region::of(path, file)
        }
    }
}

#[cfg(test)]
mod tests;
