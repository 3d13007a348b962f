//! The profiles of a store as Apache Iceberg tables, for the engines that a company already runs.
//!
//! A view, not a second copy: a table names the store's own Parquet files. The catalog of the store says
//! which are live; a *committer* compares them with what the newest snapshot of a table names, and
//! commits the difference as one snapshot ([`Publisher::round`]). It keeps nothing of its own, so it may
//! be killed at any moment, and the next one goes on from what is there.
//!
//! A crate of its own, in no binary of the others: the `iceberg` crate brings an Arrow and a Parquet of
//! another version. Only its types of the specification are used, since its transactions can append and
//! nothing else. Why so, and what was measured: `docs/adr/009-iceberg.md`; how to query: `docs/tables.md`.
#![forbid(unsafe_code)]

pub mod args;
mod bounds;
mod clean;
mod columns;
mod commit;
mod error;
mod manifests;
mod metrics;
mod place;
mod publish;
mod tables;
mod versions;

pub use clean::Keep;
pub use error::PublishError;
pub use metrics::{ListenError, Metrics, MetricsServer};
pub use place::{Place, Root};
pub use publish::{Publisher, Round};
pub use tables::{Change, TableName};
