//! Binaries and kernel symbols: which are there, which are wanted from which agent, and their intake.
//!
//! In: object ids that batches mention, and uploads. Out: files that the symbolizer reads. An object
//! is written to a temporary file, checked against the id it claims, made durable, then renamed; it
//! never changes after that. Not done here: parsing for symbols, removal.

mod catalog;
mod receive;
mod service;
mod wants;

pub use catalog::{Catalog, CatalogError, CatalogStatus};
pub use service::Objects;
pub use wants::{Asker, Wants};

#[cfg(test)]
mod tests;
