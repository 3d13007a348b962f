//! A limit on the heap while a target runs.
//!
//! libFuzzer looks at the resident memory once in a second and then blames the input of that moment;
//! it sees neither what was given back before, nor what was asked for and not yet touched. This
//! counts every request, and the input that is too greedy is the one that ends the process.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; all is passed on to the system's"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, AtomicUsize, Ordering},
};

#[global_allocator]
static HEAP: Limited = Limited;

/// Bytes in use.
static USED: AtomicIsize = AtomicIsize::new(0);

/// Bytes in use at which the process ends.
static LIMIT: AtomicIsize = AtomicIsize::new(isize::MAX);

/// The limit as it was given, for the message.
static GIVEN: AtomicUsize = AtomicUsize::new(0);

struct Limited;

/// Runs a function that may have `bytes` more of the heap than is in use now.
pub(crate) fn limit(bytes: usize, run: impl FnOnce()) {
    GIVEN.store(bytes, Ordering::Relaxed);
    LIMIT.store(USED.load(Ordering::Relaxed).saturating_add_unsigned(bytes), Ordering::Relaxed);
    run();
    LIMIT.store(isize::MAX, Ordering::Relaxed);
}

fn count(bytes: usize) {
    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
    let used = USED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    // Once: the panic itself takes memory.
    if used > LIMIT.load(Ordering::Relaxed) && LIMIT.swap(isize::MAX, Ordering::Relaxed) < used {
        let given = GIVEN.load(Ordering::Relaxed);
        panic!("the heap has grown by more than {given} bytes; {bytes} were asked for");
    }
}

// SAFETY: every call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        if let Some(less) = layout.size().checked_sub(size) {
            USED.fetch_sub(less.cast_signed(), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}
