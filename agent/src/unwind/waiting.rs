//! Samples that wait for an unwind table.
//!
//! In: samples with a copied stack. Out: the same, when their table is there or they have waited
//! for too long. Bounded in memory; nothing is lost here: what does not fit is not taken.

use std::{collections::VecDeque, io};

use fleetprof_abi::{COMM_LEN, ResultCode};
use zstd::bulk::Compressor;

use super::objects::ObjectNumber;
use crate::{
    process::Bound,
    sampler::{CopiedStack, RawSample, WALK_WORDS},
};

/// A sample with its copied stack.
#[derive(Debug)]
pub struct Kept {
    pub(super) bound: Bound,
    pub(super) user: Vec<u64>,
    /// The object that it waits for.
    pub(super) number: ObjectNumber,
    head: Head,
    kernel: Vec<u64>,
    registers: Box<[u64; WALK_WORDS]>,
    /// Packed: most of a stack is zeros, and addresses that begin alike. An eighth is left.
    stack: Vec<u8>,
    stack_words: usize,
}

/// What of a sample is not borrowed.
#[derive(Clone, Copy, Debug)]
struct Head {
    pid: u32,
    tid: u32,
    start_boottime_ns: u64,
    time_ns: u64,
    weight_ns: u64,
    cgroup_id: u64,
    cpu: u32,
    comm: [u8; COMM_LEN],
    mm: u64,
    kernel_result: ResultCode,
}

/// The samples that wait, the oldest first.
pub(super) struct Waiting {
    kept: VecDeque<Kept>,
    packer: Compressor<'static>,
    bytes: usize,
    max_bytes: usize,
}

/// Longest time a sample waits, nanoseconds: most tables are built within a tenth of a second, the largest ones on a busy
/// host within ten.
pub const WAIT_NS: u64 = 15_000_000_000;

// === impl Kept ===

impl Kept {
    fn new(
        sample: &RawSample<'_>,
        bound: &Bound,
        number: ObjectNumber,
        packer: &mut Compressor<'_>,
    ) -> io::Result<Self> {
        let copied = sample.copied;
        let words = copied.map(|copied| copied.words).unwrap_or_default();
        Ok(Self {
            bound: bound.clone(),
            user: sample.user.to_vec(),
            number,
            head: Head {
                pid: sample.pid,
                tid: sample.tid,
                start_boottime_ns: sample.start_boottime_ns,
                time_ns: sample.time_ns,
                weight_ns: sample.weight_ns,
                cgroup_id: sample.cgroup_id,
                cpu: sample.cpu,
                comm: sample.comm,
                mm: sample.mm,
                kernel_result: sample.kernel_result,
            },
            kernel: sample.kernel.to_vec(),
            registers: Box::new(copied.map_or([0; WALK_WORDS], |copied| *copied.registers)),
            stack: pack(words, packer)?,
            stack_words: words.len(),
        })
    }

    /// The program it was taken in.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The sample with the frames that were found.
    pub fn sample<'a>(&'a self, user: &'a [u64], result: ResultCode) -> RawSample<'a> {
        let Head { pid, tid, start_boottime_ns, time_ns, weight_ns, cgroup_id, .. } = self.head;
        let Head { cpu, comm, mm, kernel_result, .. } = self.head;
        let kernel = &self.kernel;
        RawSample {
            pid,
            tid,
            start_boottime_ns,
            time_ns,
            weight_ns,
            cgroup_id,
            cpu,
            result,
            comm,
            kernel_result,
            kernel,
            user,
            mm,
            copied: None,
        }
    }

    /// How the walk of the kernel stack alone ended.
    pub(super) fn kernel_result(&self) -> ResultCode {
        self.head.kernel_result
    }

    /// The words of the stack, for [`copied`](Self::copied).
    ///
    /// # Errors
    /// When there is no memory to unpack it.
    pub(super) fn stack(&self) -> io::Result<Vec<u64>> {
        unpack(&self.stack, self.stack_words)
    }

    pub(super) fn copied<'a>(&'a self, stack: &'a [u64]) -> CopiedStack<'a> {
        CopiedStack { registers: &self.registers, words: stack }
    }

    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.head.time_ns) >= WAIT_NS
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + 8 * (WALK_WORDS + self.user.len() + self.kernel.len())
            + self.stack.len()
    }
}

/// Twice as fast as level 1, and stacks get hardly larger.
const LEVEL: i32 = -1;

fn pack(words: &[u64], packer: &mut Compressor<'_>) -> io::Result<Vec<u8>> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    packer.compress(&bytes)
}

fn unpack(packed: &[u8], words: usize) -> io::Result<Vec<u64>> {
    let bytes = zstd::bulk::decompress(packed, words * size_of::<u64>())?;
    let (words, _) = bytes.as_chunks();
    Ok(words.iter().copied().map(u64::from_le_bytes).collect())
}

// === impl Waiting ===

impl Waiting {
    /// Room for `max_bytes`.
    ///
    /// # Errors
    /// When there is no memory to pack stacks.
    pub(super) fn new(max_bytes: usize) -> io::Result<Self> {
        let packer = Compressor::new(LEVEL)?;
        Ok(Self { kept: VecDeque::new(), packer, bytes: 0, max_bytes })
    }

    /// Keeps a copy of a sample until the object's table is there; `false` when there is no room.
    pub(super) fn add(
        &mut self,
        sample: &RawSample<'_>,
        bound: &Bound,
        number: ObjectNumber,
    ) -> bool {
        let kept = Kept::new(sample, bound, number, &mut self.packer).ok();
        let kept = kept.filter(|kept| self.bytes + kept.bytes() <= self.max_bytes);
        kept.map(|kept| self.put_back(kept)).is_some()
    }

    /// Takes a sample that was here before.
    pub(super) fn put_back(&mut self, kept: Kept) {
        self.bytes += kept.bytes();
        self.kept.push_back(kept);
    }

    /// Takes out the samples whose object `is_there`, and those that are late.
    pub(super) fn take_ready(
        &mut self,
        now_ns: u64,
        is_there: impl Fn(ObjectNumber) -> bool,
    ) -> Vec<Kept> {
        let (ready, kept): (Vec<Kept>, VecDeque<Kept>) = std::mem::take(&mut self.kept)
            .into_iter()
            .map(|kept| (is_there(kept.number) || kept.is_late(now_ns), kept))
            .fold(Default::default(), |(mut ready, mut rest), (is_ready, kept)| {
                if is_ready {
                    ready.push(kept);
                } else {
                    rest.push_back(kept);
                }
                (ready, rest)
            });
        self.kept = kept;
        self.bytes = self.kept.iter().map(Kept::bytes).sum();
        ready
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_packed_and_come_back_as_they_were() {
        let stack: Vec<u64> = (0..3072_u64)
            .map(|at| if at % 5 == 0 { 0x7fff_8000_0000 + at * 40 } else { at % 3 })
            .collect();
        let mut packer = Compressor::new(LEVEL).unwrap();
        let packed = pack(&stack, &mut packer).unwrap();
        assert!(packed.len() < stack.len() * size_of::<u64>() / 4);
        assert_eq!(unpack(&packed, stack.len()).unwrap(), stack);
        assert!(unpack(&pack(&[], &mut packer).unwrap(), 0).unwrap().is_empty());
    }
}
