//! Binaries and kernel symbols: which are there, which are wanted from which agent, and their intake.
//!
//! In: object ids that batches mention, and uploads. Out: symbol tables and listings to read names from.
//! An object is written to a temporary file, checked against the id it claims, made durable, then
//! renamed; it never changes after that. Then it is converted in the background. Not done here: parsing,
//! which the symbolizer's processes do; removal.

mod catalog;
mod conversions;
mod debuginfod;
mod list;
mod partials;
mod pool;
mod receive;
mod service;
mod wants;

pub(crate) use catalog::NamesOf;
pub use catalog::{Catalog, CatalogError, CatalogStatus};
pub use conversions::{ConversionParts, Conversions};
pub use debuginfod::{ClientError, LookupParts, Lookups};
pub use partials::PartialLimits;
pub use pool::{Pool, PoolParts, PoolStatus};
pub(crate) use pool::{Pooled, PooledCopy};
pub use service::Objects;
pub use wants::{Asker, Wants};

#[cfg(test)]
mod tests;
