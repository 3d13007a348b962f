//! The symbolizer from outside: against LLVM, and against hostile files.

mod agreement;
mod hostile;
mod pool;
mod support;
