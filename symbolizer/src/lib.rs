//! Names for code: (object, address) → functions with their inlined calls, files and lines, or the
//! reason why there are none.
//!
//! ```text
//! ObjectSource + addresses → Symbolizer (cache) → ElfObject (blazesym) ─┐
//!                                              └→ Kallsyms (pure)       ├→ Names (demangle) → Symbol
//! ```
//!
//! Objects come from untrusted hosts. [`Symbolizer`] survives what panics; [`SymbolizerPool`] runs it
//! in worker processes ([`worker::serve`]) and survives everything else; [`identity`] tells what a
//! file is before anything is believed about it. Nothing here knows where objects are stored or who
//! asks.

pub mod demangle;
mod elf;
#[doc(hidden)]
pub mod fuzz;
pub mod identity;
pub mod kallsyms;
mod names;
mod options;
mod pool;
mod process;
mod sections;
mod symbolizer;
mod wire;
pub mod worker;

pub use options::{DebugLinks, Options};
pub use pool::{PoolError, SymbolizerPool, WorkerLimits};
pub use process::WorkerCommand;
pub use symbolizer::{ObjectSource, Symbolizer};
