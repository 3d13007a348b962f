//! Which process ran what where, at any moment that a sample may come from.
//!
//! In: the sampler's process events, and `/proc` for what was there before or was missed. Out: for a
//! sample the program image its process ran at that time ([`ProcessTable::bind`]), with its
//! executable mappings and what identifies it ([`ProcessInfo`]). Not done here: names for processes
//! (`identity`) and for addresses (`normalize`).
//!
//! A process is known by pid and start time; each exec gives it a new [`Image`]. What ended is kept
//! until the samples of that time were handed out ([`ProcessTable::drained`]).

#[doc(hidden)]
pub mod fuzz;
mod image;
mod info;
mod mapping;
pub mod parse;
mod procfs;
mod table;

pub use image::{Image, ImageId};
pub use info::{EnvironNames, ProcessInfo};
pub use mapping::{Mapping, MappingSet, Region};
pub use table::{Bound, ProcessTable, ScanError, ScanSummary, TableConfig, TableCounts};
