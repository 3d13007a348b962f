//! Profiles of a fleet: Parquet files in an object store, with a catalog in SQL.
//!
//! In: batches of agents. Out: their samples, by service, time and labels. The same code serves one
//! directory (local files, SQLite) and many stateless collectors (S3, PostgreSQL). What is kept, and
//! why so: `docs/adr/008-storage.md`. Not done here: names of code (they are given from outside), the
//! answers to queries.
//!
//! [`Table`] is samples in memory; [`Blobs`] holds files; the catalog knows which there are and which
//! batches they hold.

mod blobs;
mod catalog;
mod level;
mod table;

pub use blobs::{BlobError, Blobs, Listed};
pub use catalog::{
    Blob, Catalog, CatalogError, CatalogStatus, Committed, Delivery, Expire, FileId, FileQuery,
    FileRow, Instance, Lease, LevelStatus, NewFile, Replace, ServiceSum,
};
pub use level::{DAY, HOUR, Level, MINUTE, midpoint};
pub use table::{Kept, Row, Table, TableBuilder};
