//! fleetprof's agent: samples every process of a host and delivers the stacks.
//!
//! The path of the data, one module a stage:
//! [`sampler`] (kernel → raw samples and process events) → [`process`] + [`kernel`] (which code was
//! mapped where) → [`unwind`] (tables for the kernel, and the stacks it could not walk)
//! → [`normalize`] (address → object and offset, or with [`jit`] a name) → [`aggregate`] (counted per window)
//! → [`stream`] (acknowledged by a collector). [`accounting`] follows every sample along it.

pub mod accounting;
pub mod aggregate;
pub mod commands;
pub mod config;
mod fuzz;
pub mod identity;
pub mod jit;
pub mod kernel;
pub mod metrics;
pub mod normalize;
pub mod object;
pub mod pipeline;
pub mod process;
pub mod sampler;
pub mod stream;
pub mod unwind;
