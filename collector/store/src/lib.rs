//! Profiles of a fleet: Parquet files in an object store, with a catalog in SQL.
//!
//! In: batches of agents. Out: their samples, by service, time and labels. The same code serves one
//! directory (local files, SQLite) and many stateless collectors (S3, PostgreSQL). What is kept, and
//! why so: `docs/adr/008-storage.md`. Not done here: names of code (they are given from outside), the
//! answers to queries.
//!
//! [`Table`] is samples in memory; [`Blobs`] holds files; the catalog knows which there are and which
//! batches they hold.

mod append;
mod blobs;
mod catalog;
mod compact;
mod error;
mod export;
mod format;
mod fsck;
mod functions;
mod import;
mod labels;
mod level;
mod names;
mod plan;
mod read;
mod retain;
mod spans;
mod store;
mod symbols;
mod table;
mod verify;

pub use append::{Appended, NewBatch};
pub use blobs::{BlobError, Blobs, Damage, Listed};
pub use catalog::{
    Blob, BucketSum, Catalog, CatalogError, CatalogStatus, Committed, Delivery, Expire, FileId,
    FileQuery, FileRow, Foreign, FunctionFile, Instance, LabelValue, LateFunctions, Lease,
    LevelStatus, NewFile, NewFunctions, Replace, Rolled, ServiceSum, SymbolContent, SymbolCursor,
    SymbolTable,
};
pub use compact::{Job, MergeLimits, Merged};
pub use error::StoreError;
pub use export::{
    ExportError, ExportLevel, ExportWish, MANIFEST, MANIFEST_FORMAT, Manifest, ManifestBlob,
    ManifestError, ManifestFile, ManifestService,
};
#[doc(hidden)]
pub use format::fuzz;
pub use format::{
    Encoded, EncodedFunctions, FORMAT, FileKind, FormatError, FunctionsFile, Names, Part, Reader,
    Stacks, Wanted, columns, decode, encode, encode_functions, parse_footer, stored_window,
};
pub use fsck::{Finding, FindingKind, Fsck, FsckOptions, FsckProgress};
pub use functions::{
    Amounts, DeriveLimits, FunctionHistory, FunctionId, FunctionKey, FunctionOrigin, FunctionPlace,
    FunctionRow, FunctionSum, FunctionSums, FunctionTable, Functions, FunctionsWanted,
    OriginFilter,
};
pub use import::{ImportError, ImportStep, Imported};
pub use labels::LabelAnswer;
pub use level::{DAY, HOUR, Level, MINUTE, midpoint};
pub use names::Namer;
pub use plan::{FunctionPiece, Piece, ReadPlan, Wish, choose, split_functions};
pub use retain::{Ages, Removed, Retention};
pub use store::ProfileStore;
pub use symbols::{NewSymbols, Source as SymbolSource};
pub use table::{Kept, NO_WINDOW, Row, Table, TableBuilder};
