//! Raw samples to normalized ones: addresses that mean something on one host at one moment become
//! (object, offset), which means the same on every host.
//!
//! In: a [`RawSample`], the [`ProcessTable`], the [`Kernel`], and the [`JitSymbols`]: generated code
//! means nothing on other hosts but by its name. Out: a [`NormalizedSample`] with its frames outermost
//! first. Not done here: names of all other code, labels, counting.

use std::sync::Arc;

use fleetprof_abi::{COMM_LEN, ResultCode};
use fleetprof_proto::{ids::ObjectKind, v1::UnresolvedReason};
use fleetprof_walk::{FRAME_IS_EXACT, frame_address};

use crate::{
    jit::{FrameSource, JitCounts, JitSymbols},
    kernel::{Kernel, KernelMap},
    object::CodeObject,
    process::{Bound, Mapping, ProcessInfo, ProcessTable},
    sampler::{ProcessEvent, RawSample},
};

/// Address of an instruction that runs, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionPointer(pub u64);

/// Address a function returns to: that of the instruction after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnAddress(pub u64);

/// An address of a stack. In a system call even the innermost user frame is that of a return: the
/// instruction after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackAddress {
    /// The innermost frame's, of an interrupted instruction.
    Instruction(InstructionPointer),
    /// A caller's.
    Return(ReturnAddress),
}

/// A frame that means the same on every host.
#[derive(Clone, Debug)]
pub struct NormalizedFrame {
    /// The code it is in; `None` when that is not known.
    pub object: Option<Arc<CodeObject>>,
    /// Offset in the object, see `ObjectKind` in `profile.proto`; the raw address without an object.
    pub offset: u64,
    /// Why there is no object, or no build ID.
    pub reason: UnresolvedReason,
    /// What the process's runtime says of it; the offset is 0 then.
    pub source: Option<Arc<FrameSource>>,
}

/// A sample whose frames mean the same on every host.
#[derive(Clone, Debug)]
pub struct NormalizedSample<'a> {
    /// What identifies the process.
    pub process: Arc<ProcessInfo>,
    /// Thread name, zero-padded.
    pub comm: [u8; COMM_LEN],
    /// When it was taken, `CLOCK_BOOTTIME` nanoseconds.
    pub time_ns: u64,
    /// CPU time it stands for, nanoseconds.
    pub weight_ns: u64,
    /// How the walk of the stack ended.
    pub result: ResultCode,
    /// Outermost first: user frames, then kernel frames.
    pub frames: &'a [NormalizedFrame],
}

/// Normalizes one sample after the other, in memory that is used again.
#[derive(Debug)]
pub struct Normalizer {
    kernel: Arc<Kernel>,
    map: Arc<KernelMap>,
    jit: JitSymbols,
    frames: Vec<NormalizedFrame>,
}

// === impl StackAddress ===

impl StackAddress {
    /// The address of a user frame, by its mark.
    fn of_user(frame: u64) -> Self {
        let address = frame_address(frame);
        if frame & FRAME_IS_EXACT == 0 {
            Self::Return(ReturnAddress(address))
        } else {
            Self::Instruction(InstructionPointer(address))
        }
    }

    /// The address of a kernel frame; the innermost has index 0.
    fn of_kernel(index: usize, address: u64) -> Self {
        if index == 0 {
            Self::Instruction(InstructionPointer(address))
        } else {
            Self::Return(ReturnAddress(address))
        }
    }

    /// Where to look for the code: a return address is moved back into its call, because the
    /// instruction after it may belong to another line or, after a call that never returns, to
    /// another function. `start` is that of the mapping: nothing is moved out of it.
    fn lookup(self, start: u64) -> u64 {
        match self {
            Self::Instruction(InstructionPointer(address)) => address,
            Self::Return(ReturnAddress(address)) if address > start => address - 1,
            Self::Return(ReturnAddress(address)) => address,
        }
    }

    fn raw(self) -> u64 {
        match self {
            Self::Instruction(InstructionPointer(address))
            | Self::Return(ReturnAddress(address)) => address,
        }
    }

    /// The range that holds the address; of a call that is the last instruction of its range, the
    /// range of the call.
    fn find<T>(self, find: impl Fn(u64) -> Option<T>) -> Option<T> {
        match self {
            Self::Instruction(InstructionPointer(address)) => find(address),
            Self::Return(ReturnAddress(address)) => {
                find(address).or_else(|| find(address.checked_sub(1)?))
            }
        }
    }
}

// === impl Normalizer ===

impl Normalizer {
    /// A normalizer for the running kernel.
    pub fn new(kernel: Arc<Kernel>, jit: JitSymbols) -> Self {
        let map = kernel.map();
        Self { kernel, map, jit, frames: Vec::with_capacity(fleetprof_abi::MAX_FRAMES) }
    }

    /// Takes note of a process event.
    pub fn apply(&mut self, event: &ProcessEvent) {
        self.jit.apply(event);
    }

    /// Says that every sample taken before `time_ns` was handed out.
    pub fn drained(&mut self, time_ns: u64) {
        self.jit.drained(time_ns);
    }

    /// What is known of generated code.
    pub fn jit_counts(&self) -> JitCounts {
        self.jit.counts()
    }

    /// Normalizes a sample. Every sample gives one: what is not known stays a raw address with a
    /// reason.
    pub fn normalize(
        &mut self,
        sample: &RawSample<'_>,
        table: &mut ProcessTable,
    ) -> NormalizedSample<'_> {
        let bound = table.bind(sample);
        if self.user(sample, &bound) || bound.is_gone() || !table.reread(sample) {
            return self.finish(sample, &bound);
        }
        self.normalize_in(sample, &table.bind(sample))
    }

    /// Normalizes a sample of a program that is known.
    pub fn normalize_in(&mut self, sample: &RawSample<'_>, bound: &Bound) -> NormalizedSample<'_> {
        self.user(sample, bound);
        self.finish(sample, bound)
    }

    /// Adds the kernel frames.
    fn finish(&mut self, sample: &RawSample<'_>, bound: &Bound) -> NormalizedSample<'_> {
        if !self.kernel(sample)
            && let Some(map) = self.kernel.refresh(sample.time_ns)
        {
            self.map = map;
            let user_frames = self.frames.len() - sample.kernel.len();
            self.frames.truncate(user_frames);
            self.kernel(sample);
        }
        NormalizedSample {
            process: Arc::clone(bound.info()),
            comm: sample.comm,
            time_ns: sample.time_ns,
            weight_ns: sample.weight_ns,
            result: sample.result,
            frames: &self.frames,
        }
    }

    /// Starts with the user frames; `false` when one is in no mapping.
    fn user(&mut self, sample: &RawSample<'_>, process: &Bound) -> bool {
        self.frames.clear();
        let mut complete = true;
        let user = without_sentinel(sample.user).iter().rev();
        for address in user.map(|frame| StackAddress::of_user(*frame)) {
            let frame = match address.find(|address| process.mapping(address)) {
                Some(mapping) => {
                    let object = process.object(mapping);
                    let address = address.lookup(mapping.start);
                    match generated(&mut self.jit, &object, process, address, sample.time_ns) {
                        Some(frame) => frame,
                        None => {
                            in_object(Arc::clone(&object), offset_in(mapping, &object, address))
                        }
                    }
                }
                None => {
                    complete = false;
                    let reason = if process.is_gone() {
                        UnresolvedReason::ProcessGone
                    } else {
                        UnresolvedReason::NoMapping
                    };
                    unknown(address, reason)
                }
            };
            self.frames.push(frame);
        }
        complete
    }

    /// Adds the kernel frames; `false` when one is in no known code.
    fn kernel(&mut self, sample: &RawSample<'_>) -> bool {
        let mut complete = true;
        let kernel = sample.kernel.iter().enumerate().rev();
        for address in kernel.map(|(index, address)| StackAddress::of_kernel(index, *address)) {
            let frame = match address.find(|address| self.map.find(address)) {
                Some(code) => {
                    let offset = address.lookup(code.start) - code.base;
                    in_object(Arc::clone(&code.object), offset)
                }
                None => {
                    complete = false;
                    unknown(address, UnresolvedReason::NoKernelSymbols)
                }
            };
            self.frames.push(frame);
        }
        complete
    }
}

/// The outermost function of a thread returns to address 0 by convention: the walk ended well, and
/// there is no such frame.
fn without_sentinel(user: &[u64]) -> &[u64] {
    match user {
        [frames @ .., 0] => frames,
        frames => frames,
    }
}

fn offset_in(mapping: &Mapping, object: &CodeObject, address: u64) -> u64 {
    let inside = address - mapping.start;
    match object.kind() {
        // The end of a mapping's file is the process's claim.
        ObjectKind::File => inside.wrapping_add(mapping.file_offset),
        _ => inside,
    }
}

fn in_object(object: Arc<CodeObject>, offset: u64) -> NormalizedFrame {
    let identifiable = object.kind() != ObjectKind::Anonymous;
    let reason = if identifiable && object.build_id().is_none() {
        UnresolvedReason::NoBuildId
    } else {
        UnresolvedReason::Unspecified
    };
    NormalizedFrame { object: Some(object), offset, reason, source: None }
}

/// The frame of an address of generated code that its runtime has a name for.
fn generated(
    jit: &mut JitSymbols,
    object: &CodeObject,
    process: &Bound,
    address: u64,
    time_ns: u64,
) -> Option<NormalizedFrame> {
    if object.kind() != ObjectKind::Anonymous {
        return None;
    }
    let source = jit.name(process, address, time_ns)?;
    let object = Some(Arc::clone(jit.object()));
    let reason = UnresolvedReason::Unspecified;
    Some(NormalizedFrame { object, offset: 0, reason, source: Some(source) })
}

fn unknown(address: StackAddress, reason: UnresolvedReason) -> NormalizedFrame {
    NormalizedFrame { object: None, offset: address.raw(), reason, source: None }
}

#[cfg(test)]
mod tests;
