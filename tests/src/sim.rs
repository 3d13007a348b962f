//! A fleet on one machine: agents that replay captured profiles to real collectors, and know to the
//! sample what was acknowledged.
//!
//! captured pprof files → [`Library`] (all code, as one prefix tree of stacks) → [`Plan`] (which host
//! runs what, from a seed) → batch per host and window ([`Painter`]) → one stream per host → [`Report`].
//!
//! Nothing is made ahead: a window is drawn from the captured distribution when it is due. Drawing is an
//! alias table and numbered arrays without hashing, so that nearly all of the time of a batch goes into
//! encoding and compressing it, as the real agent does.

mod agent;
mod alias;
mod canvas;
mod capture;
mod clock;
mod connections;
mod fleet;
mod library;
mod paint;
mod plan;
mod recordings;
mod report;
mod statistics;
mod tally;

pub use capture::{CaptureError, Captured, read_captures};
pub use clock::Pace;
pub use fleet::{Config, Fleet, Kill, SimError};
pub use library::{Frames, Library};
pub use paint::Painter;
pub use plan::{Plan, PlanConfig};
pub use recordings::{record_compiler, record_services};
pub use report::{Report, Usage};
pub use statistics::{Quantiles, Statistics};
