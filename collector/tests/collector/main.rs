//! Whole collectors, over real connections: in this process, or in one that can be killed.

mod busy;
mod commands;
mod companions;
mod crash;
mod debuginfod;
mod faults;
mod fleet;
mod functions;
mod hostile;
mod http;
mod ingest;
mod labels;
mod log;
mod objects;
mod pool;
mod resume;
mod sums;
mod support;
mod upgrade;
