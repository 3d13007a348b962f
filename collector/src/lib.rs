//! The collector of fleetprof: takes batches of samples from agents, keeps them, names their code and
//! answers queries about them.
//!
//! ```text
//! agents ─ gRPC → ingest (validate, group commit) → store (files, catalog)
//!        ─ gRPC → objects (verify) ────────────────→ files
//! queries ─ gRPC, HTTP → query (read, merge) → symbols (symbolizer) → pprof, tables
//! ```
//!
//! [`server::Collector`] is all of it; each module says what comes in and what goes out.
#![forbid(unsafe_code)]

pub mod args;
pub mod clock;
pub mod commands;
pub mod config;
pub mod cpu_pool;
pub mod data_dir;
mod durable;
pub mod ingest;
pub mod log_limit;
pub mod memory;
pub mod metrics;
pub mod objects;
pub mod query;
pub mod server;
pub mod symbols;
pub mod upgrade;
