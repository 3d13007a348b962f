//! Mistakes and malice: a clear error that names the cause and the remedy, an exit code, and a server
//! that goes on as before.

mod agent;
mod collector;
mod queries;
mod wire;
