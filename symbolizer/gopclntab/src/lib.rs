//! Go's function table: the bytes of `.gopclntab` → functions, and what each says of its code.
//!
//! The Go runtime unwinds and names its own stacks by this table, so that every Go binary has it,
//! stripped or not. In: the bytes of the section. Out: [`Function`]s by rising offset from the start
//! of the text; how far the stack pointer is below its value at a function's entry; files, lines and
//! inlined calls.
//!
//! Pure: no I/O, nothing is allocated. The bytes are not trusted: every number that leads out of the
//! table is an absent answer. Formats: those of Go 1.18 and 1.20, which all later releases write
//! (see `src/internal/abi/symtab.go` and `src/runtime/symtab.go` of the Go tree).
#![forbid(unsafe_code)]

mod function;
mod header;
mod inlined;
mod values;

pub use function::{Function, Functions};
pub use header::{FunctionTable, TableError};
pub use inlined::InlinedCall;
pub use values::{Range, Values};

#[cfg(test)]
mod tests;
