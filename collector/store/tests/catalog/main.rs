//! The catalog as its users see it, on SQLite and on a real PostgreSQL.

mod ages;
mod batches;
mod faults;
mod files;
mod fixture;
mod imports;
mod known;
mod labels;
mod replacements;
mod symbols;
mod versions;

/// The same file as the end-to-end tests have: see there.
#[path = "../../../../tests/src/postgres.rs"]
pub mod postgres;
