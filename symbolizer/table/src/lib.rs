//! Symbol tables: an object's functions, inlined calls, lines and files, converted once and then looked
//! up without its debug information.
//!
//! ```text
//! bytes of ELF files → Elf → Symbols ┐
//!                         └→ dwarf, Source → Builder (runs) ─┴→ assemble → bytes of a table
//! bytes of a table (mapped) → Table: file offset or address → Frames, innermost first, or a Miss
//! ```
//!
//! Pure: no file is looked for or opened here, nothing is cached, names stay as the object has them.
//! Neither objects nor tables are trusted: see [`Limits`] and [`TableError`].

mod assemble;
mod budget;
mod builder;
mod bytes;
mod code;
mod convert;
mod dwarf;
mod elf;
mod error;
mod format;
mod fuzz;
mod mini;
mod nodes;
mod overlay;
mod plt;
mod rows;
mod runs;
mod strings;
mod symbols;
mod table;
mod texts;

pub use assemble::Counts;
pub use builder::{Builder, FileId, FunctionId, Line, NodeId};
pub use convert::{Converted, Inputs, Report, Source, convert};
pub use dwarf::SplitUnit;
pub use error::{ConvertError, Limits, Miss, TableError};
pub use format::{SourceSet, VERSION};
pub use fuzz::{fuzz_convert, fuzz_limits, fuzz_table};
pub use table::{File, Frame, Segment, Table, Text};
