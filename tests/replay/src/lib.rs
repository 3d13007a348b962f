//! Our walk against unwinders that know nothing of it, on the same registers and stack bytes.
//!
//! ```text
//! program ─ perf record ─→ perf.data ─→ Capture ─┬→ our tables + our walk ─→ frames ┐
//!                              └─ perf script (libunwind) ─→ frames ────────────────┼→ equal?
//! program ─ gdb, step by step ─→ Capture ────────┴─ gdb ─→ frames ──────────────────┘
//!                                    └→ Case: a small text file, replayed by every `cargo test`
//! ```
//!
//! In: programs built from `programs/`, or cases. Out: what is equal, and every difference. Nothing
//! here is part of what the agent does; only the walk and the tables are shared with it.

pub mod build;
pub mod capture;
pub mod case;
pub mod choose;
pub mod core_file;
pub mod elf;
pub mod explained;
pub mod gdb;
pub mod judge;
pub mod machine;
pub mod objects;
pub mod perf;
pub mod perf_data;
pub mod run;
pub mod steps;
pub mod table_of_rows;
pub mod trim;
