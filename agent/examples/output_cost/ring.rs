//! The product's way: the programs of `fleetprof-ebpf`, drained every 100 ms.

use std::time::Duration;

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::PerfEvent,
};
use fleetprof_abi::{ResultCode, SampleHeader, Settings, Unwinder, counter_of};

use crate::{Counts, Output, load_program};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fleetprof-ebpf"));

const RING_BYTES: u32 = 1 << 20;

pub(crate) struct Ring {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    key: Vec<u64>,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainSettings(Settings);

// SAFETY: integers only, no padding.
unsafe impl Pod for PlainSettings {}

impl Ring {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let settings = PlainSettings(Settings {
            wakeup_bytes: u64::from(RING_BYTES) / 2,
            max_stack: 127,
            ..Settings::default()
        });
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("SETTINGS", &settings, true)
            .map_max_entries("RING", RING_BYTES)
            .load(OBJECT)?;
        load_program(&mut ebpf, "sample")?;
        for (array, slot, program) in [
            ("UNWINDERS", Unwinder::FramePointers as u32, "frame_pointers"),
            ("OUTPUT", 0, "finish"),
        ] {
            let fd = load_program(&mut ebpf, program)?.fd()?.try_clone()?;
            let array = ebpf.map_mut(array).context("no such map")?;
            ProgramArray::try_from(array)?.set(slot, &fd, 0)?;
        }
        let ring = ebpf.take_map("RING").context("no ring")?.try_into()?;
        let counters = ebpf.take_map("COUNTS").context("no counters")?.try_into()?;
        Ok(Self { ebpf, ring, counters, key: Vec::new() })
    }
}

impl Output for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn program(&mut self) -> anyhow::Result<&mut PerfEvent> {
        load_program(&mut self.ebpf, "sample")
    }

    fn drain(&mut self, counts: &mut Counts) -> anyhow::Result<()> {
        const IDS: usize = std::mem::offset_of!(SampleHeader, pid) / 8;
        while let Some(record) = self.ring.next() {
            // SAFETY: any bytes are integers; records start at a multiple of 8.
            let (_, words, _) = unsafe { record.align_to::<u64>() };
            self.key.clear();
            self.key.push(words[IDS]);
            self.key.extend_from_slice(&words[size_of::<SampleHeader>() / 8..]);
            match counts.get_mut(self.key.as_slice()) {
                Some(count) => *count += 1,
                None => drop(counts.insert(self.key.as_slice().into(), 1)),
            }
        }
        Ok(())
    }

    fn lost(&self) -> anyhow::Result<u64> {
        Ok(self.counters.get(&counter_of(ResultCode::RingFull), 0)?.iter().sum())
    }
}
