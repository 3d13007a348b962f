//! Runs the real binary against collectors of its own making and judges what comes out: standard
//! output, standard error, exit status, files.

mod answers;
mod collector;
mod docs;
mod failures;
mod fixtures;
mod pprof;
mod run;
mod terminal;
mod wrong_servers;
