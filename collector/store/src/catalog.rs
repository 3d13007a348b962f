//! Which files there are, which batches they hold, and who works on them: the one place where changes
//! of the store become true, each by one transaction.
//!
//! SQLite for one directory, PostgreSQL for a fleet, by the same statements.

mod types;

pub use types::{
    Blob, Committed, Delivery, FileId, FileQuery, FileRow, Instance, NewFile, ServiceSum,
};
