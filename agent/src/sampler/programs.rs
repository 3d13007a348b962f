//! The kernel side, loaded: programs, the array they call each other through, counters and ring.
#![expect(
    unsafe_code,
    reason = "aya marks plain data with an unsafe trait and hands out bytes; malloc_trim and signal \
              masks are foreign"
)]

use std::{
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd},
    ptr,
    sync::Arc,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Map, MapData, MapError, PerCpuArray, ProgramArray, RingBuf},
    programs::{PerfEvent, ProgramError, ProgramFd},
};
use fleetprof_abi::{
    MappingEntry, ObjectTable, ProcessEntry, ResultCode, Settings, TAKEN, Unwinder, counter_of,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::{counters::KernelCounters, error::SamplerError, unwind_maps::UnwindMaps};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fleetprof-ebpf"));

const ENTRY: &str = "sample";
const UNWINDER_PROGRAMS: [(Unwinder, &str); 3] = [
    (Unwinder::FramePointers, "frame_pointers"),
    (Unwinder::Tables, "walk_tables"),
    (Unwinder::CopyStack, "copy_stack"),
];
const FINISH: &str = "finish";
pub(super) const UNWINDERS: &str = "UNWINDERS";
pub(super) const OUTPUT: &str = "OUTPUT";

/// The loaded kernel side. Dropping it unloads everything.
pub(super) struct Programs {
    /// Also holds the arrays through which programs call each other: such an array empties itself
    /// when user space holds it no more.
    ebpf: Ebpf,
    counts: PerCpuArray<MapData, u64>,
    pub(super) ring: RingBuf<MapData>,
    pub(super) unwind: Arc<UnwindMaps>,
}

/// While it is there, this thread takes no signals: the kernel breaks off the verification of a program,
/// with EAGAIN, when one is to be delivered. They come when it is dropped, or to another thread.
struct SignalsBlocked {
    before: libc::sigset_t,
    /// Signals are blocked for one thread.
    _of_this_thread: PhantomData<*const ()>,
}

/// A value that the kernel may read and write byte by byte.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: these are `repr(C)`, of integers only, and their asserted sizes leave no padding.
unsafe impl Pod for Plain<Settings> {}
// SAFETY: as above.
unsafe impl Pod for Plain<ProcessEntry> {}
// SAFETY: as above.
unsafe impl Pod for Plain<MappingEntry> {}
// SAFETY: as above.
unsafe impl Pod for Plain<ObjectTable> {}

// === impl SignalsBlocked ===

impl SignalsBlocked {
    fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both are written, by calls that cannot fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self { before: before.assume_init(), _of_this_thread: PhantomData }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: a mask that this thread had.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

// === impl Programs ===

impl Programs {
    /// Creates the maps and loads the programs; nothing runs yet.
    pub(super) fn load(settings: Settings, ring_bytes: usize) -> Result<Self, SamplerError> {
        raise_locked_memory_limit();
        let _undisturbed = SignalsBlocked::new();
        let ring_bytes = u32::try_from(ring_bytes).unwrap_or(1 << 31);
        let settings = Plain(settings);
        let mut ebpf = EbpfLoader::new()
            // Nothing is relocated against the kernel's types, so they need not be parsed.
            .btf(None)
            .override_global("SETTINGS", &settings, true)
            .map_max_entries("RING", ring_bytes)
            .load(OBJECT)
            .map_err(object_error)?;

        let counts = take_map(&mut ebpf, "COUNTS")?;
        let ring = take_map(&mut ebpf, "RING")?;
        let unwind = Arc::new(UnwindMaps::take(&mut ebpf)?);
        load_program(&mut ebpf, ENTRY)?;
        for (unwinder, name) in UNWINDER_PROGRAMS {
            let program = load_program(&mut ebpf, name)?;
            program_array(&mut ebpf, UNWINDERS)?
                .set(unwinder as u32, &program, 0)
                .map_err(map_error(UNWINDERS))?;
        }
        let finish = load_program(&mut ebpf, FINISH)?;
        program_array(&mut ebpf, OUTPUT)?.set(0, &finish, 0).map_err(map_error(OUTPUT))?;
        release_memory();
        Ok(Self { ebpf, counts, ring, unwind })
    }

    /// The program to run at each sampling event.
    pub(super) fn entry(&self) -> Result<BorrowedFd<'_>, SamplerError> {
        let missing = SamplerError::Missing { name: ENTRY };
        let Some(aya::programs::Program::PerfEvent(program)) = self.ebpf.program(ENTRY) else {
            return Err(missing);
        };
        program.fd().map(ProgramFd::as_fd).map_err(|_| missing)
    }

    /// Name and verified instructions of every program; 0 before Linux 5.16, which does not tell.
    pub(super) fn verified_instructions(&self) -> impl Iterator<Item = (&str, u32)> {
        self.ebpf.programs().map(|(name, program)| {
            let info = program.info().ok();
            (name, info.and_then(|info| info.verified_instruction_count()).unwrap_or(0))
        })
    }

    /// Reads the counters of all CPUs; `unreadable` is what the reader of the ring counted.
    pub(super) fn counters(&self, unreadable: u64) -> Result<KernelCounters, SamplerError> {
        let mut results = [0; ResultCode::ALL.len()];
        for (code, total) in ResultCode::ALL.iter().zip(&mut results) {
            *total = self.count(counter_of(*code))?;
        }
        // Last, so that it is never less than the sum of the results.
        Ok(KernelCounters::new(self.count(TAKEN)?, unreadable, results))
    }

    fn count(&self, slot: u32) -> Result<u64, SamplerError> {
        let per_cpu = self.counts.get(&slot, 0).map_err(map_error("COUNTS"))?;
        Ok(per_cpu.iter().sum())
    }
}

/// Gives freed memory back. aya's loader reads the kernel's whole type information whether it is
/// needed or not, and glibc would keep those 14 MB for the life of the agent.
fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The words of a record in the ring buffer; what is no whole word at its end is left out.
pub(super) fn words(item: &[u8]) -> &[u64] {
    // SAFETY: every bit pattern is a u64, and `align_to` takes care of alignment.
    let (unaligned, words, _) = unsafe { item.align_to::<u64>() };
    // The kernel starts every record at a multiple of 8 bytes.
    debug_assert!(unaligned.is_empty());
    words
}

/// Before Linux 5.11 maps count as locked memory. Newer kernels ignore the limit, and without
/// CAP_SYS_RESOURCE it cannot be raised: then creating the maps says what is wrong.
fn raise_locked_memory_limit() {
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "locked memory limit stays as it is");
    }
}

fn object_error(source: EbpfError) -> SamplerError {
    SamplerError::Object { reported: Box::new(source) }
}

pub(super) fn map_error(map: &'static str) -> impl FnOnce(MapError) -> SamplerError {
    move |source| SamplerError::Map { map, source }
}

pub(super) fn take_map<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, SamplerError> {
    let map = ebpf.take_map(name).ok_or(SamplerError::Missing { name })?;
    T::try_from(map).map_err(map_error(name))
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, SamplerError> {
    let fail =
        |source: ProgramError| SamplerError::Program { program: name, reported: Box::new(source) };
    let program = ebpf.program_mut(name).ok_or(SamplerError::Missing { name })?;
    let program: &mut PerfEvent = program.try_into().map_err(fail)?;
    program.load().map_err(fail)?;
    let fd = program.fd().map_err(fail)?;
    fd.try_clone().map_err(|source| SamplerError::Io { action: "duplicate a descriptor", source })
}

fn program_array<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<ProgramArray<&'a mut MapData>, SamplerError> {
    let map = ebpf.map_mut(name).ok_or(SamplerError::Missing { name })?;
    ProgramArray::try_from(map).map_err(map_error(name))
}

#[cfg(test)]
impl Programs {
    /// Empties a slot of a program array, so that calls through it fail.
    pub(super) fn clear(&mut self, name: &'static str, index: u32) {
        program_array(&mut self.ebpf, name).unwrap().clear_index(&index).unwrap();
    }
}
