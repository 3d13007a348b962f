//! Names for code: (object, address) → functions with their inlined calls, files and lines, or the
//! reason why there are none.
//!
//! ```text
//! for many questions: the object's file → Converter → table → TableFile ──┐
//! for a few:          the object's file → Symbolizer (blazesym) ──────────┼→ names (demangle) → Symbol
//! of a kernel:        listing of symbols → KernelListing ─────────────────┘
//! ```
//!
//! Objects come from untrusted hosts. [`Converter`] and [`SymbolizerPool`] parse them in worker
//! processes ([`worker::serve`]), which may die; [`Symbolizer`] alone survives what panics;
//! [`identity`] tells what a file is before anything is believed about it. Nothing here knows where
//! objects are stored or who asks.

mod conversion;
mod converter;
pub mod demangle;
mod elf;
#[doc(hidden)]
pub mod fuzz;
mod go;
pub mod identity;
pub mod kallsyms;
mod listing;
mod names;
mod options;
mod pool;
mod process;
mod sections;
mod symbolizer;
mod table_file;
mod wire;
pub mod worker;

pub use conversion::{CONVERTER_VERSION, Conversion, Refusal, TableReport};
pub use converter::{ConversionError, Converter, LeftOut, Made};
pub use fleetprof_symtab::SourceSet;
pub use listing::{KernelListing, ListingError};
pub use options::{DebugLinks, Options};
pub use pool::{PoolError, SymbolizerPool, WorkerLimits};
pub use process::WorkerCommand;
pub use symbolizer::{ObjectSource, Symbolizer};
pub use table_file::{TableFile, TableFileError};
