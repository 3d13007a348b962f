//! End-to-end tests on the real kernel: the product's real binaries as child processes, programs with a
//! known CPU split as their prey. One executable, one test at a time (`machine()`).

mod bad_input;
mod compare;
mod faults;
mod fixture;
mod hostile;
mod jit;
mod programs;
mod record;
mod run;
mod symbols;
mod unwinding;
mod uploads;
