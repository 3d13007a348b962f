// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! First step: is the task wanted, who is it, and where in the kernel is it?

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_smp_processor_id,
            bpf_get_stack, bpf_ktime_get_boot_ns,
        },
    },
    macros::perf_event,
    programs::PerfEventContext,
};
use fleetprof_abi::{
    MAX_KERNEL_FRAMES, ResultCode, SampleHeader, Scratch, Settings, TAKEN, TaskOffsets, Unwinder,
};

use crate::{
    maps::{
        NO_WINDOW, OUTPUT, PROCESSES, SETTINGS, State, Surroundings, UNWINDERS, count, end,
        scratch, stack_room, state,
    },
    registers::{self, Registers},
    tables::USED_NS,
};

/// Runs at each sampling event of a CPU.
#[perf_event]
pub fn sample(ctx: PerfEventContext) -> u32 {
    let settings = SETTINGS.load();
    let ids = bpf_get_current_pid_tgid();
    let (pid, tid) = ((ids >> 32) as u32, ids as u32);
    // The idle task of every CPU has id 0: no CPU time is spent there.
    if tid == 0 || (settings.pid != 0 && settings.pid != pid) {
        return 0;
    }
    count(TAKEN);
    let Some(scratch) = scratch() else {
        end(ResultCode::NoScratch);
        return 0;
    };
    // SAFETY: the helper takes no pointers.
    let task = unsafe { bpf_get_current_task() };
    let is_kernel_only = write_header(scratch, &settings, task, pid, tid);
    // A CPU in user mode has no kernel stack to walk, and looking for one costs most of a sample.
    if !registers::is_user(&ctx) {
        walk_kernel(&ctx, scratch);
    }
    if !is_kernel_only {
        let code = match choose(&ctx, scratch, &settings, task) {
            Ok(unwinder) => {
                // SAFETY: nothing here needs dropping when the call does not return.
                unsafe { UNWINDERS.tail_call(&ctx, unwinder as u32) };
                ResultCode::NoUnwinder
            }
            Err(code) => code,
        };
        scratch.header.result = code.number();
    }
    // SAFETY: as above.
    unsafe { OUTPUT.tail_call(&ctx, 0) };
    end(ResultCode::NoOutput);
    0
}

/// Which unwinder can walk the user stack; the walk is ready to begin.
#[inline(always)]
fn choose(
    ctx: &PerfEventContext,
    scratch: &Scratch,
    settings: &Settings,
    task: u64,
) -> Result<Unwinder, ResultCode> {
    let Some(State { walk, around }) = state() else { return Err(ResultCode::NoScratch) };
    match registers::capture(ctx, task, &settings.task, walk) {
        Registers::Found => {}
        Registers::Compat => return Ok(Unwinder::FramePointers),
        Registers::NotFound => return Err(ResultCode::NoRegisters),
    }
    // No mapping is the current one.
    around.mapping.start = 0;
    around.mapping.end = 0;
    around.window_start = NO_WINDOW;
    Ok(if find_process(scratch, around) { Unwinder::Tables } else { Unwinder::CopyStack })
}

/// Whether the process's mappings are known here.
#[inline(always)]
fn find_process(scratch: &Scratch, around: &mut Surroundings) -> bool {
    let header = &scratch.header;
    let Some(process) = PROCESSES.get_ptr_mut(header.pid) else { return false };
    // SAFETY: a live value of the map. It may be replaced while it is read: what says whose it is is
    // read last.
    unsafe {
        if header.time_ns.wrapping_sub((*process).used_ns) >= USED_NS {
            (*process).used_ns = header.time_ns;
        }
        around.first = ptr::read_volatile(&raw const (*process).first);
        around.count = ptr::read_volatile(&raw const (*process).count);
        ptr::read_volatile(&raw const (*process).mm) == header.mm
            && ptr::read_volatile(&raw const (*process).start_boottime_ns)
                == header.start_boottime_ns
    }
}

/// Says who runs; true when it has no user memory.
#[inline(always)]
fn write_header(scratch: &mut Scratch, settings: &Settings, task: u64, pid: u32, tid: u32) -> bool {
    // SAFETY: the helpers take no pointers.
    let (time_ns, cgroup_id, cpu) = unsafe {
        (bpf_ktime_get_boot_ns(), bpf_get_current_cgroup_id(), bpf_get_smp_processor_id())
    };
    let (start_boottime_ns, mm) = describe(task, &settings.task);
    let is_kernel_only = mm == Some(0);
    let result = if is_kernel_only { ResultCode::KernelOnly } else { ResultCode::Complete };
    scratch.header = SampleHeader {
        time_ns,
        weight_ns: settings.weight_ns,
        start_boottime_ns,
        cgroup_id,
        pid,
        tid,
        cpu,
        result: result.number(),
        kernel_result: ResultCode::Complete.number(),
        kernel_frames: 0,
        user_frames: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
        mm: mm.unwrap_or(0),
        stack_bytes: 0,
        reserved_too: 0,
    };
    is_kernel_only
}

/// Start of the task's process, and its `mm_struct`: 0 when the task has no user memory.
#[inline(always)]
fn describe(task: u64, offsets: &TaskOffsets) -> (u64, Option<u64>) {
    let mut start = 0;
    if offsets.group_leader != 0 && offsets.start_boottime != 0 {
        let leader = read_field(task, offsets.group_leader).unwrap_or(0);
        start = read_field(leader, offsets.start_boottime).unwrap_or(0);
    }
    let mm = if offsets.mm == 0 { None } else { read_field(task, offsets.mm) };
    (start, mm)
}

/// Reads 8 bytes of a kernel object.
#[inline(always)]
fn read_field(object: u64, offset: u32) -> Option<u64> {
    let address = object.wrapping_add(u64::from(offset)) as *const u64;
    // SAFETY: the helper checks the address; a wrong one is an error.
    unsafe { bpf_probe_read_kernel(address) }.ok()
}

/// Fills in the kernel frames; none when the CPU was in user mode.
#[inline(always)]
fn walk_kernel(ctx: &PerfEventContext, scratch: &mut Scratch) {
    let room = stack_room(MAX_KERNEL_FRAMES);
    // SAFETY: `frames` has more than `room` bytes.
    let written =
        unsafe { bpf_get_stack(ctx.as_ptr(), scratch.frames.as_mut_ptr().cast(), room, 0) };
    if written < 0 {
        scratch.header.kernel_result = ResultCode::KernelUnreadable.number();
        return;
    }
    scratch.header.kernel_frames = (written as u32) / size_of::<u64>() as u32;
    if written as u32 == room {
        scratch.header.kernel_result = ResultCode::KernelTruncated.number();
    }
}
