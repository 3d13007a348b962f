//! Fuzz targets: one for each kind of bytes that come from somebody else.
//!
//! In: any bytes. Out: nothing; a target panics where something is not as it must be. `scripts/fuzz.sh`
//! runs them under libFuzzer from the inputs in `corpus/`, each within limits of time and memory;
//! `cargo test` runs what is in `corpus/` and `regressions/` once.
//!
//! A new parser takes a function in `targets/`, a line in [`TARGETS`], and inputs to begin with
//! (`examples/seeds`, or files in `corpus/NAME/`). A parser that is private has its way in beside it,
//! in a module `fuzz` of its crate.

mod cursor;
mod targets;

pub use cursor::Cursor;

use targets::{elf, fleet, host, stacks, stored, symbols};

/// A way into a parser, and what one input may cost.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of its folder in `corpus/` and `regressions/`.
    pub name: &'static str,
    /// The target.
    pub run: fn(&[u8]),
    /// Longest input, bytes.
    pub max_bytes: usize,
    /// Longest time for one input, seconds. Code is several times slower under a fuzzer, on a busy
    /// machine even more so: what takes this long has no bound.
    pub max_seconds: u32,
    /// Most memory that the heap may take for one input, MiB.
    pub max_heap_mib: usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    // What processes of the host say.
    Target::new("unwind-table", elf::unwind_table).bytes(64 << 10).heap_mib(64),
    Target::new("go-functions", elf::go_functions),
    Target::new("elf-identity", elf::identity).bytes(64 << 10),
    Target::new("object-outline", elf::outline).bytes(64 << 10),
    Target::new("proc-texts", host::proc_texts),
    Target::new("process-events", host::process_events),
    Target::new("perf-map", host::perf_map),
    Target::new("jitdump", host::jitdump),
    Target::new("samples", stacks::samples).bytes(32 << 10),
    Target::new("stack-walk", stacks::walk),
    // What the kernel says.
    Target::new("kernel-texts", host::kernel_texts),
    Target::new("kernel-types", host::kernel_types),
    // What agents, symbolizers and people say.
    Target::new("batch", fleet::batch).bytes(32 << 10),
    Target::new("query-texts", fleet::query_texts).heap_mib(128),
    Target::new("symbolizer-wire", symbols::wire).heap_mib(128),
    Target::new("symbol-names", symbols::names),
    Target::new("symbol-conversion", symbols::conversion).bytes(64 << 10).heap_mib(256),
    Target::new("symbol-table", symbols::table).bytes(64 << 10),
    // What is in an object store that others can write to.
    Target::new("stored-pair", stored::pair).bytes(32 << 10).heap_mib(256),
    Target::new("stored-functions", stored::functions).bytes(32 << 10).heap_mib(256),
];

// === impl Target ===

impl Target {
    /// With limits that suit a parser of small texts or records.
    const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, max_bytes: 8 << 10, max_seconds: 10, max_heap_mib: 32 }
    }

    const fn bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    const fn heap_mib(self, max_heap_mib: usize) -> Self {
        Self { max_heap_mib, ..self }
    }

    /// The target of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
