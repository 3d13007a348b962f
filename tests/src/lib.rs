//! The harness of the end-to-end tests and of the benchmark: builds programs with a known CPU split
//! ([`programs`]), starts the product's real binaries ([`agent`], [`collector`], [`cli`]), and reads
//! what they made with eyes of its own ([`pprof`], [`gotool`], [`metrics`], [`perf`]).
//!
//! Helpers panic: their callers are tests, and a failure should stop at its cause. Nothing here is
//! shared with the code under test but the generated wire types.

pub mod agent;
pub mod binaries;
pub mod cli;
pub mod collector;
pub mod cpu;
pub mod gotool;
pub mod grpc;
pub mod http;
pub mod machine;
pub mod metrics;
pub mod perf;
pub mod postgres;
pub mod pprof;
pub mod process;
pub mod programs;
pub mod record;
pub mod servers;
pub mod shares;
pub mod sim;
pub mod tmpfs;
pub mod wait;
