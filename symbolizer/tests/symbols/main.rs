//! The symbolizer from outside: against LLVM, and against hostile files.

mod agreement;
mod converter;
mod go;
mod hostile;
mod pool;
mod support;
