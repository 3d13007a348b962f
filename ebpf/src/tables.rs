// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Unwinder 1: the walk along a user stack by the tables of its code.
//!
//! Some frames a call, then it calls itself: so a deep stack fits the verifier's budget, and 512
//! frames the limit on tail calls. Where a table is missing, the rest of the stack is copied.

use core::ptr;

use aya_ebpf::{
    helpers::{bpf_probe_read_user, generated},
    macros::perf_event,
    programs::PerfEventContext,
};
use fleetprof_abi::{
    Architecture, CACHED_RULES, CHUNK_PAGES, CachedRule, MAX_KERNEL_FRAMES, MAX_USER_FRAMES,
    MappingEntry, NO_OBJECT, ObjectState, ObjectTable, PAGE_WORDS, ResultCode, Rule, Scratch,
    Unwinder,
};
use fleetprof_walk::{Machine, Place, Step, step};

use crate::maps::{
    MAPPINGS, NO_WINDOW, OBJECTS, OUTPUT, State, Surroundings, TABLES, UNWINDERS, WINDOW_WORDS,
    end, rules, scratch, state,
};

/// Frames walked in one call.
const FRAMES_PER_CALL: usize = 20;

/// That a table is used is noted as often as this; the agent keeps it for longer than that.
pub const USED_NS: u64 = 1_000_000_000;

/// A process has at most 2^13 mappings.
const SEARCH_STEPS: usize = 14;

pub const ARCHITECTURE: Architecture =
    if cfg!(bpf_target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

/// The interrupted thread's memory and the kernel's maps.
pub struct Live {
    pub scratch: &'static mut Scratch,
    pub around: &'static mut Surroundings,
    pub rules: &'static mut [CachedRule; CACHED_RULES],
}

/// Walks some frames further.
#[perf_event]
pub fn walk_tables(ctx: PerfEventContext) -> u32 {
    let mut next = Unwinder::Tables;
    for _ in 0..FRAMES_PER_CALL / STEPS_PER_CALL {
        match walk_step() {
            CALLER => {}
            MISSING => {
                next = Unwinder::CopyStack;
                break;
            }
            _ => {
                // SAFETY: nothing here needs dropping when the call does not return.
                unsafe { OUTPUT.tail_call(&ctx, 0) };
                end(ResultCode::NoOutput);
                return 0;
            }
        }
    }
    // SAFETY: as above.
    unsafe { UNWINDERS.tail_call(&ctx, next as u32) };
    if let Some(scratch) = scratch() {
        scratch.header.result = ResultCode::NoUnwinder.number();
    }
    // SAFETY: as above.
    unsafe { OUTPUT.tail_call(&ctx, 0) };
    end(ResultCode::NoOutput);
    0
}

/// Steps in one call of the function below.
const STEPS_PER_CALL: usize = 10;

const CALLER: u32 = 0;
const MISSING: u32 = 1;
const ENDED: u32 = 2;

/// Some steps of the walk.
///
/// A function that the kernel verifies once and by itself (it is not inlined, and visible from
/// outside), instead of once for each turn of the loop that calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_step() -> u32 {
    let (Some(scratch), Some(state), Some(rules)) = (scratch(), state(), rules()) else {
        return ENDED;
    };
    let State { walk, around } = state;
    let mut live = Live { scratch, around, rules };
    for _ in 0..STEPS_PER_CALL {
        match step(ARCHITECTURE, walk, &mut live) {
            Step::Caller => {}
            Step::Missing => return MISSING,
            Step::End(code) => {
                live.finish(code);
                return ENDED;
            }
        }
    }
    CALLER
}

// === impl Live ===

impl Live {
    /// Notes how the walk ended.
    #[inline(always)]
    fn finish(&mut self, code: ResultCode) {
        self.scratch.header.result = code.number();
    }

    /// Makes the mapping that holds an address the current one.
    #[inline(always)]
    fn enter(&mut self, address: u64) -> bool {
        let (mut from, mut left) = (self.around.first, self.around.count);
        for _ in 0..SEARCH_STEPS {
            if left == 0 {
                return false;
            }
            let half = left / 2;
            let middle = from.wrapping_add(half);
            let Some(mapping) = MAPPINGS.get(middle) else { return false };
            if address < mapping.start {
                left = self.forget(half);
            } else if address >= mapping.end {
                from = self.forget(middle.wrapping_add(1));
                left = self.forget(left.wrapping_sub(half).wrapping_sub(1));
            } else {
                self.take(mapping);
                return true;
            }
        }
        false
    }

    /// Makes a mapping and its table the current ones.
    #[inline(always)]
    fn take(&mut self, mapping: &MappingEntry) {
        let around = &mut *self.around;
        // Field by field: the whole would be copied byte by byte.
        around.mapping.start = mapping.start;
        around.mapping.end = mapping.end;
        around.mapping.bias = mapping.bias;
        around.mapping.object = mapping.object;
        around.table.state = ObjectState::Missing as u32;
        if let Some(object) = OBJECTS.get_ptr_mut(mapping.object) {
            let now_ns = self.scratch.header.time_ns;
            // SAFETY: a live value of the map. Several CPUs may set the time at once: any of them
            // will do.
            let object = unsafe {
                // Not each time: a line that all CPUs write is slow to read for all of them.
                if now_ns.wrapping_sub((*object).used_ns) >= USED_NS {
                    (*object).used_ns = now_ns;
                }
                // First: the agent writes it last.
                around.table.state = ptr::read_volatile(&raw const (*object).state);
                &*object
            };
            around.table.first_page = object.first_page;
            around.table.first_granule = object.first_granule;
            around.table.granules = object.granules;
            around.table.index = object.index;
            around.table.rows = object.rows;
        }
    }
}

impl Machine for Live {
    type Page = &'static [u32; PAGE_WORDS];

    #[inline(always)]
    fn find(&mut self, address: u64) -> Place {
        const READY: u32 = ObjectState::Ready as u32;
        const MISSING: u32 = ObjectState::Missing as u32;
        let inside = {
            let mapping = &self.around.mapping;
            mapping.start <= address && address < mapping.end
        };
        if !inside && !self.enter(address) {
            return Place::Nowhere;
        }
        if self.around.mapping.object == NO_OBJECT {
            return Place::Unknown;
        }
        match self.around.table.state() {
            READY => Place::Table(address.wrapping_sub(self.around.mapping.bias)),
            MISSING => Place::Missing,
            _ => Place::Unknown,
        }
    }

    #[inline(always)]
    fn table(&self) -> &ObjectTable {
        &self.around.table
    }

    #[inline(always)]
    fn page(&mut self, page: u32) -> Option<Self::Page> {
        let words = TABLES.get_value(page / CHUNK_PAGES, &(page % CHUNK_PAGES))?;
        // SAFETY: as long, and less strictly aligned; every bit pattern is a number.
        Some(unsafe { &*core::ptr::from_ref(words).cast() })
    }

    #[inline(always)]
    fn remembered(&mut self, position: u64) -> Option<Rule> {
        let table = self.around.table.number();
        let found = self.rules.get(CachedRule::slot(table, position) & (CACHED_RULES - 1))?;
        (found.position == position && found.table == table).then(|| Rule::from_words(found.rule))
    }

    #[inline(always)]
    fn remember(&mut self, position: u64, rule: &Rule) {
        let table = self.around.table.number();
        let slot = CachedRule::slot(table, position) & (CACHED_RULES - 1);
        if let Some(slot) = self.rules.get_mut(slot) {
            slot.position = position;
            slot.table = table;
            slot.rule = rule.to_words();
        }
    }

    #[inline(always)]
    fn forget(&mut self, number: u32) -> u32 {
        // SAFETY: a field of this CPU's own.
        unsafe {
            ptr::write_volatile(&raw mut self.around.forgotten, number);
            ptr::read_volatile(&raw const self.around.forgotten)
        }
    }

    #[inline(always)]
    fn read(&mut self, address: u64) -> Option<u64> {
        const LAST: u64 = ((WINDOW_WORDS - 1) * size_of::<u64>()) as u64;
        let offset = address.wrapping_sub(self.around.window_start);
        if offset <= LAST && offset & 7 == 0 {
            // The compiler knows the mask to be superfluous, the verifier does not: neither is to know.
            let index = self.forget((offset >> 3) as u32) as usize & (WINDOW_WORDS - 1);
            return Some(self.around.window[index]);
        }
        let around = &mut *self.around;
        // SAFETY: as many bytes are written; the helper checks the address.
        let status = unsafe {
            let (to, bytes) = (around.window.as_mut_ptr(), size_of_val(&around.window) as u32);
            generated::bpf_probe_read_user(to.cast(), bytes, address as *const _)
        };
        if status == 0 {
            around.window_start = address;
            return Some(around.window[0]);
        }
        // At the end of the stack there are fewer; and the window is what the helper left of it.
        around.window_start = NO_WINDOW;
        // SAFETY: the helper checks the address; one that is not there is an error.
        unsafe { bpf_probe_read_user(address as *const u64) }.ok()
    }

    #[inline(always)]
    fn push(&mut self, frame: u64) -> bool {
        let header = &mut self.scratch.header;
        let (kernel, user) = (header.kernel_frames as usize, header.user_frames as usize);
        if kernel > MAX_KERNEL_FRAMES || user >= MAX_USER_FRAMES {
            return false;
        }
        header.user_frames = user as u32 + 1;
        match self.scratch.frames.get_mut(kernel + user) {
            Some(slot) => {
                *slot = frame;
                true
            }
            None => false,
        }
    }
}
