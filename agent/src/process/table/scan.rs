//! The processes that run already, from `/proc`.

use std::{io, sync::Arc, time::Instant};

use rustc_hash::FxHashMap;
use thiserror::Error;

use super::{
    ProcessTable,
    bind::{boottime_ns, mapping_of, process_of},
};
use crate::process::{
    image::{Knowledge, Start},
    mapping::{Mapping, MappingSet},
    procfs::ProcFs,
};

/// What a scan found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanSummary {
    /// Processes that run, kernel threads among them.
    pub processes: usize,
    /// Their executable mappings that were read.
    pub mappings: usize,
    /// Processes whose mappings are read only when they are sampled: the limit on memory or on time
    /// was reached.
    pub deferred: usize,
}

/// The processes of this host cannot be listed.
#[derive(Debug, Error)]
#[error(
    "{path} cannot be listed: {error}; the agent needs procfs of the host's pid namespace there"
)]
pub struct ScanError {
    path: String,
    error: io::Error,
}

/// Start, end and file offset of every mapping.
type Places = Vec<(u64, u64, u64)>;

/// Processes forked without an exec have the same mappings: one copy serves them all.
#[derive(Default)]
struct Copies {
    by_place: FxHashMap<Places, Vec<Arc<MappingSet>>>,
}

// === impl ProcessTable ===

impl ProcessTable {
    /// Adds every process there is. Call it when the sampler runs: what happens during the scan is
    /// then told by events, what happened before is in `/proc`.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn scan(&mut self) -> Result<ScanSummary, ScanError> {
        let pids = self.procfs.pids().map_err(|error| ScanError {
            path: self.registry.proc_root().display().to_string(),
            error,
        })?;
        let began = Instant::now();
        let mut summary = ScanSummary::default();
        let mut copies = Copies::default();
        let mut bytes = self.approx_bytes();
        for pid in pids {
            // Whoever ended meanwhile is not there to be added.
            let Some(stat) = self.procfs.stat(pid).filter(|stat| !stat.zombie) else { continue };
            let start = Start::Ticks(stat.start_ticks);
            let known = self.processes.get(&pid).and_then(|generations| generations.last());
            if known.is_some_and(|known| known.start.is_shown_as(stat.start_ticks)) {
                continue;
            }
            summary.processes += 1;
            let mut process = process_of(&stat, start);
            let image = process.current();
            if image.knowledge == Knowledge::Unread {
                let is_full = bytes > self.config.max_bytes / 4 * 3;
                if is_full || began.elapsed() > self.config.scan_time {
                    summary.deferred += 1;
                } else if let Some((read_ns, maps)) = self.read_initial(pid, &mut copies) {
                    summary.mappings += maps.len();
                    (image.maps, image.read_ns) = (maps, read_ns);
                    image.knowledge = Knowledge::Complete;
                }
            }
            bytes += process.approx_bytes() + 64;
            self.processes.entry(pid).or_default().push(process);
        }
        Ok(summary)
    }

    fn read_initial(&mut self, pid: u32, copies: &mut Copies) -> Option<(u64, Arc<MappingSet>)> {
        let read_ns = boottime_ns();
        let mut maps = MappingSet::default();
        let (registry, none) = (&self.registry, MappingSet::default());
        let mut refused = 0;
        let procfs: &mut ProcFs = &mut self.procfs;
        let read = procfs.maps(pid, pid, &mut |line| {
            if line.executable {
                refused += u64::from(!maps.insert(mapping_of(registry, line, &none)));
            }
        });
        self.counts.mappings_refused += refused;
        self.counts.maps_read += 1;
        // An empty one is of a process that is ending, or whose main thread has ended.
        read.ok().filter(|()| !maps.is_empty())?;
        maps.shrink();
        Some((read_ns, copies.shared(maps)))
    }
}

// === impl Copies ===

impl Copies {
    fn shared(&mut self, maps: MappingSet) -> Arc<MappingSet> {
        let key = maps.iter().map(|m| (m.start, m.end, m.file_offset)).collect();
        let same_place = self.by_place.entry(key).or_default();
        let same = same_place.iter().find(|known| known.iter().zip(maps.iter()).all(is_same));
        match same {
            Some(known) => Arc::clone(known),
            None => {
                let maps = Arc::new(maps);
                same_place.push(Arc::clone(&maps));
                maps
            }
        }
    }
}

fn is_same((one, other): (&Mapping, &Mapping)) -> bool {
    one.region == other.region && one.path == other.path
}
