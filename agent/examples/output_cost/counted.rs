//! The alternative: counted in hash maps, which are emptied every 10 s with batch calls.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Map, MapData, PerCpuArray, StackTraceMap},
    programs::PerfEvent,
};

use crate::{Counts, Output, load_program};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/counting"));

const FRAMES: usize = 127;
const BATCH: usize = 1024;

pub(crate) struct Counted {
    ebpf: Ebpf,
    program: &'static str,
    map: MapData,
    key_words: usize,
    stacks: StackTraceMap<MapData>,
    outcomes: PerCpuArray<MapData, u64>,
    /// Where the kernel puts a batch of keys.
    keys: Vec<u64>,
    /// Stacks read since the last drain.
    ids: BTreeSet<u32>,
    /// Samples whose stack was gone.
    gone: u64,
}

impl Counted {
    /// `program` is `by_stack` or `by_id`.
    pub(crate) fn new(program: &'static str) -> anyhow::Result<Self> {
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT)?;
        load_program(&mut ebpf, program)?;
        let (map, key_words) =
            if program == "by_stack" { ("BY_STACK", 1 + 2 * FRAMES) } else { ("BY_ID", 3) };
        let Some(Map::HashMap(map)) = ebpf.take_map(map) else { anyhow::bail!("no {map}") };
        let stacks = ebpf.take_map("STACKS").context("no stacks")?.try_into()?;
        let outcomes = ebpf.take_map("OUTCOMES").context("no outcomes")?.try_into()?;
        let keys = vec![0; BATCH * key_words];
        Ok(Self {
            ebpf,
            program,
            map,
            key_words,
            stacks,
            outcomes,
            keys,
            ids: BTreeSet::new(),
            gone: 0,
        })
    }

    /// Takes up to `BATCH` entries out of the map; fewer only at its end.
    fn take_batch(
        &mut self,
        position: &mut Option<u64>,
        counts: &mut [u64; BATCH],
    ) -> io::Result<(usize, bool)> {
        /// The part of `union bpf_attr` for batch calls.
        #[repr(C)]
        struct Attr {
            in_batch: u64,
            out_batch: u64,
            keys: u64,
            values: u64,
            count: u32,
            map_fd: u32,
            elem_flags: u64,
            flags: u64,
        }
        const LOOKUP_AND_DELETE_BATCH: i32 = 25;
        let previous = *position;
        let mut next = 0_u64;
        let mut attr = Attr {
            in_batch: previous.as_ref().map_or(0, |previous| std::ptr::from_ref(previous) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: counts.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: self.map.fd().as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: every address is that of a live buffer with room for BATCH entries.
        let status = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_AND_DELETE_BATCH,
                std::ptr::from_mut(&mut attr),
                size_of::<Attr>(),
            )
        };
        *position = Some(next);
        let taken = attr.count as usize;
        if status == 0 {
            return Ok((taken, false));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok((taken, true)),
            error => Err(error),
        }
    }

    /// Adds an entry; its stacks are read from the stack map when the key only has their ids.
    fn add(&mut self, entry: usize, count: u64, counts: &mut Counts) {
        let key = &self.keys[entry * self.key_words..][..self.key_words];
        let mut stack = vec![key[0]];
        if self.program == "by_stack" {
            let (kernel, user) = key[1..].split_at(FRAMES);
            for frames in [kernel, user] {
                stack.extend(frames.iter().take_while(|frame| **frame != 0));
            }
        } else {
            // A negative id is an error: there is no stack.
            for id in key[1..].iter().filter_map(|id| u32::try_from(*id).ok()) {
                // Gone when it was used again between the last drain's reading and its removal: a
                // race that this way cannot avoid.
                if let Ok(trace) = self.stacks.get(&id, 0) {
                    stack.extend(trace.frames().iter().map(|frame| frame.ip));
                    self.ids.insert(id);
                } else {
                    self.gone += count;
                }
            }
        }
        *counts.entry(stack.into()).or_default() += count;
    }
}

impl Output for Counted {
    fn name(&self) -> &'static str {
        self.program
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn program(&mut self) -> anyhow::Result<&mut PerfEvent> {
        load_program(&mut self.ebpf, self.program)
    }

    fn drain(&mut self, counts: &mut Counts) -> anyhow::Result<()> {
        let mut position = None;
        let mut values = [0; BATCH];
        loop {
            let (taken, end) = self.take_batch(&mut position, &mut values)?;
            for (entry, count) in values.iter().take(taken).enumerate() {
                self.add(entry, *count, counts);
            }
            if end {
                break;
            }
        }
        if self.program == "by_id" {
            // Stacks of the next window need the room.
            for id in std::mem::take(&mut self.ids) {
                self.stacks.remove(&id)?;
            }
        }
        Ok(())
    }

    fn lost(&self) -> anyhow::Result<u64> {
        let count = |slot| Ok::<u64, anyhow::Error>(self.outcomes.get(&slot, 0)?.iter().sum());
        Ok(count(1)? + count(2)? + self.gone)
    }
}
