//! Unwind tables: ELF bytes → for every position of code how to get from a frame to its caller.
//!
//! ```text
//! ReadAt → Image (headers) → Frames, Go, Plt, Gaps → Writer → UnwindTable → words for the walk
//!                                                                    ↔ bytes for the disk
//! ```
//!
//! Pure: no files are looked for or opened here, nothing is cached, and no process is known.
//! Binaries are not trusted: see [`Limits`].

mod budget;
mod build;
mod bytes;
mod code_map;
mod codec;
mod convert;
mod debug_link;
mod elf;
mod error;
mod expression;
mod frames;
mod fuzz;
mod gaps;
mod go;
mod go_text;
mod machine;
mod pieces;
mod plt;
mod sections;
mod source;
mod stats;
mod table;
mod writer;

pub use build::build;
pub use debug_link::DebugLink;
pub use error::{BuildError, DecodeError, Limits};
pub use fuzz::fuzz_one;
pub use source::ReadAt;
pub use stats::{Stats, Unsupported};
pub use table::UnwindTable;

#[cfg(test)]
mod tests;
