//! From a sample to the program it was taken in.

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use tracing::debug;

use super::{Bound, MAX_GENERATIONS, ProcessTable};
use crate::{
    object::Registry,
    process::{
        image::{Image, Knowledge, Process, Start, TICK_NS},
        info::ProcessInfo,
        mapping::{Mapping, MappingSet, Region},
        parse::{self, Stat},
    },
    sampler::RawSample,
};

/// How long a process runs on in the kernel after its exit was reported, at most.
const EXITING_NS: u64 = 100_000_000;

// === impl ProcessTable ===

impl ProcessTable {
    /// Finds the program that `sample` was taken in. There always is one: of a process that is gone
    /// without a trace, one without mappings.
    pub fn bind(&mut self, sample: &RawSample<'_>) -> Bound {
        let generation = match self.generation_of(sample) {
            Some(generation) => generation,
            None => self.adopt(sample),
        };
        let image = self.prepare(sample, generation);
        let info = match &self.processes[&sample.pid][generation].images[image].info {
            Some(info) => Arc::clone(info),
            None => {
                let info = self.learn(sample, generation, image);
                self.image_mut(sample.pid, generation, image).info = Some(Arc::clone(&info));
                info
            }
        };
        let process = &self.processes[&sample.pid][generation];
        let image = &process.images[image];
        Bound {
            info,
            maps: Arc::clone(&image.maps),
            registry: Arc::clone(&self.registry),
            time_ns: sample.time_ns,
            gone: image.knowledge == Knowledge::Gone,
            exited: process.exit_ns.is_some(),
        }
    }

    /// Reads the mappings of the sample's process again, if that may bring something new: for
    /// addresses outside all known ones. `false` when it cannot.
    pub fn reread(&mut self, sample: &RawSample<'_>) -> bool {
        let now_ns = boottime_ns();
        let Some(generation) = self.generation_of(sample) else { return false };
        let process = &mut self.processes.entry(sample.pid).or_default()[generation];
        let index = process.image_at(sample.time_ns);
        let image = &process.images[index];
        let may = process.exit_ns.is_none()
            && index + 1 == process.images.len()
            && image.knowledge == Knowledge::Complete
            && !image.kernel_thread
            && now_ns.saturating_sub(image.read_ns.max(image.since_ns)) >= image.reread_pause_ns;
        if !may {
            return false;
        }
        let before = Arc::clone(&image.maps);
        let read = self.read_maps(sample, generation, index);
        let image = self.image_mut(sample.pid, generation, index);
        // Also when it could not be read.
        image.read_ns = now_ns;
        let new = read && !image.maps.iter().all(|new| before.iter().any(|old| old.is_same(new)));
        if !new {
            image.reread_pause_ns = image.reread_pause_ns.saturating_mul(2);
        }
        new
    }

    /// Which of the processes that had the sample's pid it is from.
    fn generation_of(&self, sample: &RawSample<'_>) -> Option<usize> {
        let generations = self.processes.get(&sample.pid)?;
        let (start_ns, time_ns) = (sample.start_boottime_ns, sample.time_ns);
        // A process starts only after the one before it with the same pid ended.
        let after_previous = |index: usize, ns: u64| {
            let previous = index.checked_sub(1).and_then(|index| generations.get(index));
            previous.and_then(|p| p.exit_ns).is_none_or(|exit_ns| ns >= exit_ns)
        };
        if start_ns == 0 {
            let is_over = |exit_ns: u64| time_ns > exit_ns.saturating_add(EXITING_NS);
            return generations.iter().enumerate().rposition(|(index, process)| {
                after_previous(index, time_ns) && !process.exit_ns.is_some_and(is_over)
            });
        }
        let is_it = |index: usize, process: &Process| {
            after_previous(index, start_ns) && process.start.is(start_ns)
        };
        // One that is known only by events: it is this one unless it ended before this one began.
        let may_be = |index: usize, process: &Process| {
            after_previous(index, start_ns)
                && process.start == Start::Unknown
                && process.exit_ns.is_none_or(|exit_ns| start_ns < exit_ns)
        };
        let indexed = || generations.iter().enumerate();
        indexed()
            .rposition(|(index, process)| is_it(index, process))
            .or_else(|| indexed().rposition(|(index, process)| may_be(index, process)))
    }

    /// Makes an entry for a process that no event told of; gives its generation.
    fn adopt(&mut self, sample: &RawSample<'_>) -> usize {
        let RawSample { pid, start_boottime_ns: start_ns, time_ns, .. } = *sample;
        let stat = self.procfs.stat(pid);
        let shown = stat.filter(|stat| start_ns == 0 || stat.start_ticks == start_ns / TICK_NS);
        let start = match &shown {
            _ if start_ns != 0 => Start::Exact(start_ns),
            Some(stat) => Start::Ticks(stat.start_ticks),
            None => Start::Unknown,
        };
        let process = match &shown {
            Some(stat) => process_of(stat, start),
            None => {
                self.counts.gone += 1;
                let mut process = Process::new(start, Image::new(0, &sample.comm, Knowledge::Gone));
                process.exit_ns = Some(time_ns);
                self.ended.push_back((time_ns, pid));
                process
            }
        };
        let generations = self.processes.entry(pid).or_default();
        if generations.len() >= MAX_GENERATIONS {
            generations.remove(0);
        }
        let began_ns = if start_ns == 0 { time_ns } else { start_ns };
        let index = generations.partition_point(|known| known.start.nanos() <= began_ns);
        if let Some(previous) = index.checked_sub(1).and_then(|i| generations.get_mut(i))
            && previous.exit_ns.is_none()
        {
            // Its exit was missed: the pid would not be free otherwise.
            previous.exit_ns = Some(began_ns);
            self.ended.push_back((began_ns, pid));
        }
        generations.insert(index, process);
        index
    }

    /// Brings the process up to date with the sample; gives the image that it ran.
    fn prepare(&mut self, sample: &RawSample<'_>, generation: usize) -> usize {
        let (distrust_ns, drained_ns) = (self.distrust_before_ns, self.drained_ns);
        let process = &mut self.processes.entry(sample.pid).or_default()[generation];
        process.last_used_ns = process.last_used_ns.max(sample.time_ns);
        if sample.start_boottime_ns != 0 {
            process.start = Start::Exact(sample.start_boottime_ns);
            if process
                .exit_ns
                .is_some_and(|exit_ns| exit_ns.saturating_add(EXITING_NS) < sample.time_ns)
            {
                // It runs on: what ended was one of its threads.
                process.exit_ns = None;
            }
        }
        let mut index = process.image_at(sample.time_ns);
        let is_current = index + 1 == process.images.len();
        let image = &process.images[index];
        let trusted = image.read_ns.max(image.since_ns) >= distrust_ns || image.kernel_thread;
        if is_current && image.knowledge == Knowledge::Complete && !trusted {
            // Even an exec may have been missed.
            let mut fresh = Image::new(drained_ns.max(1), &image.comm, Knowledge::Unread);
            fresh.inherited = image.info.clone().or_else(|| image.inherited.clone());
            // All there is, should it be gone by now.
            (fresh.maps, fresh.exe) = (Arc::clone(&image.maps), image.exe.clone());
            process.images.push(fresh);
            self.ended.push_back((sample.time_ns, sample.pid));
            index = process.image_at(sample.time_ns);
        }
        let is_current = index + 1 == process.images.len();
        if process.images[index].knowledge == Knowledge::Unread {
            let read = is_current && self.read_maps(sample, generation, index);
            let image = self.image_mut(sample.pid, generation, index);
            image.knowledge = if read { Knowledge::Complete } else { Knowledge::Gone };
        }
        index
    }

    /// Replaces an image's mappings by what `/proc` shows; `false` when the process is gone.
    fn read_maps(&mut self, sample: &RawSample<'_>, generation: usize, index: usize) -> bool {
        let (pid, tid) = (sample.pid, sample.tid);
        let start = self.processes[&pid][generation].start;
        let is_same =
            |stat: Option<Stat>| stat.is_some_and(|stat| start.is_shown_as(stat.start_ticks));
        if !is_same(self.procfs.stat(pid)) {
            return false;
        }
        // Events from before this moment are in what is read now.
        let read_ns = boottime_ns();
        let mut mappings = MappingSet::default();
        let old = Arc::clone(&self.image_mut(pid, generation, index).maps);
        let registry = &self.registry;
        let mut refused = 0;
        let read = self.procfs.maps(pid, tid, &mut |line| {
            if line.executable {
                refused += u64::from(!mappings.insert(mapping_of(registry, line, &old)));
            }
        });
        self.counts.mappings_refused += refused;
        self.counts.maps_read += 1;
        if let Err(error) = read {
            debug!(%error, pid, "mappings not read");
            return false;
        }
        // It may have ended meanwhile, and what was read be that of another process.
        if !is_same(self.procfs.stat(pid)) {
            return false;
        }
        mappings.shrink();
        let image = self.image_mut(pid, generation, index);
        // An image is empty while it execs or exits; what is known from events is more.
        if !mappings.is_empty() || image.maps.is_empty() {
            image.maps = Arc::new(mappings);
        }
        image.read_ns = read_ns;
        true
    }

    /// Gathers what identifies a process.
    fn learn(
        &mut self,
        sample: &RawSample<'_>,
        generation: usize,
        index: usize,
    ) -> Arc<ProcessInfo> {
        let pid = sample.pid;
        let names = self.config.environ_names;
        let process = &self.processes[&pid][generation];
        let (start, is_current) = (process.start, index + 1 == process.images.len());
        let stat = self.procfs.stat(pid).filter(|stat| start.is_shown_as(stat.start_ticks));
        let parent = process.parent.or(stat.as_ref().map(|stat| stat.parent)).filter(|p| *p != 0);
        let image = &process.images[index];
        let (comm, exe) = (image.comm.clone(), image.exe.as_deref().map(<[u8]>::to_vec));
        let kernel_thread = image.kernel_thread;
        let inherited = image.inherited.clone().or_else(|| {
            let parents = self.processes.get(&parent?)?;
            parents.last()?.images.iter().rev().find_map(|image| image.info.clone())
        });

        // Of the program of now, not of one it ran before.
        let current = stat.as_ref().filter(|stat| is_current && !stat.zombie);
        let has_memory = current.is_some() && !kernel_thread;
        let cgroup = stat.as_ref().and_then(|_| self.procfs.cgroup(pid));
        let cgroup = cgroup.or_else(|| {
            if inherited.is_some() { None } else { parent.and_then(|p| self.procfs.cgroup(p)) }
        });
        let environ = has_memory.then(|| self.procfs.environ(pid, names)).flatten();
        let environ = environ.or_else(|| {
            let ask = inherited.is_none() && !kernel_thread;
            ask.then_some(parent).flatten().and_then(|p| self.procfs.environ(p, names))
        });
        let exe_now = has_memory.then(|| self.procfs.exe(pid)).flatten();
        let comm = current.map_or(comm, |stat| stat.comm.clone());
        let exe = exe_now.or(exe);
        let parent_info = inherited.as_deref();
        Arc::new(ProcessInfo {
            image: self.processes[&pid][generation].images[index].id,
            pid,
            start_ns: start.nanos(),
            parent,
            comm: String::from_utf8_lossy(&comm).into_owned(),
            exe: exe.map(|exe| String::from_utf8_lossy(&exe).into_owned()),
            kernel_thread,
            cgroup_id: sample.cgroup_id,
            // Most children share these with their parents: so does the memory.
            cgroup: share(cgroup, parent_info.and_then(|info| info.cgroup.as_ref())),
            environ: match (environ, parent_info.map(|info| &info.environ)) {
                (Some(own), Some(theirs)) if own[..] == theirs[..] => Arc::clone(theirs),
                (Some(own), _) => own.into(),
                (None, Some(theirs)) if !kernel_thread => Arc::clone(theirs),
                (None, _) => Arc::from([]),
            },
            gone: current.is_none(),
        })
    }

    fn image_mut(&mut self, pid: u32, generation: usize, index: usize) -> &mut Image {
        &mut self.processes.entry(pid).or_default()[generation].images[index]
    }
}

/// A process as `/proc/PID/stat` shows it, its mappings still to be read.
pub(super) fn process_of(stat: &Stat, start: Start) -> Process {
    // The kernel has no memory of its own to map.
    let knowledge = if stat.kernel_thread { Knowledge::Complete } else { Knowledge::Unread };
    let mut image = Image::new(0, &stat.comm, knowledge);
    image.kernel_thread = stat.kernel_thread;
    let mut process = Process::new(start, image);
    process.parent = Some(stat.parent).filter(|parent| *parent != 0);
    process
}

/// A mapping as `maps` shows it; the object is kept where the same mapping was known.
pub(super) fn mapping_of(
    registry: &Registry,
    line: &parse::MapsLine<'_>,
    old: &MappingSet,
) -> Mapping {
    let path = registry.path(&parse::mapped_path(line.path));
    if let Some(known) = old.find(line.start, u64::MAX) {
        let same_place = (known.start, known.end) == (line.start, line.end);
        if same_place && known.file_offset == line.file_offset && known.path == path {
            return known.clone();
        }
    }
    let region = Region::of(&path, line.file);
    Mapping::new(line.start, line.end, line.file_offset, path, region)
}

fn share(own: Option<String>, inherited: Option<&Arc<str>>) -> Option<Arc<str>> {
    match (own, inherited) {
        (Some(own), Some(theirs)) if *own == **theirs => Some(Arc::clone(theirs)),
        (Some(own), _) => Some(own.into()),
        (None, theirs) => theirs.cloned(),
    }
}

pub(super) fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
