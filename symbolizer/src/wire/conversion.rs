//! A conversion and its outcome, as messages.

use std::{os::unix::ffi::OsStrExt, path::Path, time::Duration};

use fleetprof_symtab::SourceSet;
use prost::{Message, Oneof};

use super::path;
use crate::conversion::{Conversion, Refusal, TableReport};

/// [`Conversion`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireConversion {
    #[prost(bytes = "vec", tag = "1")]
    object: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    debug: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "3")]
    table: Vec<u8>,
    #[prost(uint64, tag = "4")]
    max_unpacked_bytes: u64,
    #[prost(uint64, tag = "5")]
    time_ms: u64,
    #[prost(bool, tag = "6")]
    symbols_only: bool,
    #[prost(bytes = "vec", optional, tag = "7")]
    shared: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    package: Option<Vec<u8>>,
}

/// What became of it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Converted {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4")]
    outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Outcome {
    #[prost(message, tag = "1")]
    Table(WireReport),
    #[prost(string, tag = "2")]
    BadObject(String),
    #[prost(string, tag = "3")]
    Unsupported(String),
    #[prost(string, tag = "4")]
    Io(String),
}

/// [`TableReport`].
#[derive(Clone, PartialEq, Message)]
struct WireReport {
    #[prost(uint32, tag = "1")]
    sources: u32,
    #[prost(uint64, tag = "2")]
    table_bytes: u64,
    #[prost(string, optional, tag = "3")]
    damage: Option<String>,
}

// === impl WireConversion ===

impl WireConversion {
    pub(crate) fn new(conversion: &Conversion) -> Self {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        Self {
            object: bytes(&conversion.object),
            debug: conversion.debug.as_deref().map(bytes),
            table: bytes(&conversion.table),
            max_unpacked_bytes: conversion.max_unpacked_bytes,
            time_ms: u64::try_from(conversion.time.as_millis()).unwrap_or(u64::MAX),
            symbols_only: conversion.symbols_only,
            shared: conversion.shared.as_deref().map(bytes),
            package: conversion.package.as_deref().map(bytes),
        }
    }

    pub(crate) fn into_conversion(self) -> Conversion {
        Conversion {
            object: path(self.object),
            debug: self.debug.map(path),
            shared: self.shared.map(path),
            package: self.package.map(path),
            table: path(self.table),
            max_unpacked_bytes: self.max_unpacked_bytes,
            time: Duration::from_millis(self.time_ms),
            symbols_only: self.symbols_only,
        }
    }
}

// === impl Converted ===

impl Converted {
    pub(crate) fn new(outcome: Result<TableReport, Refusal>) -> Self {
        let outcome = match outcome {
            Ok(TableReport { sources, table_bytes, damage }) => {
                Outcome::Table(WireReport { sources: sources.0, table_bytes, damage })
            }
            Err(Refusal::BadObject(why)) => Outcome::BadObject(why),
            Err(Refusal::Unsupported(why)) => Outcome::Unsupported(why),
            Err(Refusal::Io(why)) => Outcome::Io(why),
        };
        Self { outcome: Some(outcome) }
    }

    /// `None` when it says nothing.
    pub(crate) fn into_result(self) -> Option<Result<TableReport, Refusal>> {
        Some(match self.outcome? {
            Outcome::Table(WireReport { sources, table_bytes, damage }) => {
                Ok(TableReport { sources: SourceSet(sources), table_bytes, damage })
            }
            Outcome::BadObject(why) => Err(Refusal::BadObject(why)),
            Outcome::Unsupported(why) => Err(Refusal::Unsupported(why)),
            Outcome::Io(why) => Err(Refusal::Io(why)),
        })
    }
}
