//! One conversion: the files of an object in, a symbol table in a file out.
//!
//! Runs to its end in this process; see [`crate::converter`] for doing it in one that may die.
#![expect(unsafe_code, reason = "the files are mapped")]

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fleetprof_symtab::{ConvertError, Inputs, Limits, SourceSet, convert};
use memmap2::Mmap;
use thiserror::Error;
use tracing::debug;

use crate::go::GoFunctions;

/// Version of the converter: what an older one could not do is tried again.
pub const CONVERTER_VERSION: u32 = 1;

/// What is to be converted, and how far that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The ELF file of the object, stripped or not.
    pub object: PathBuf,
    /// A separate file with its debug information.
    pub debug: Option<PathBuf>,
    /// What its debug information has in common with other objects' (`.gnu_debugaltlink`, dwz).
    pub shared: Option<PathBuf>,
    /// A package (`.dwp`) with the units that were split off its debug information.
    pub package: Option<PathBuf>,
    /// Where the table is written; replaced when it exists.
    pub table: PathBuf,
    /// Most bytes that compressed sections may unpack to.
    pub max_unpacked_bytes: u64,
    /// Longest time.
    pub time: Duration,
    /// Leave debug information out.
    pub symbols_only: bool,
}

/// A table that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReport {
    /// What it was made from.
    pub sources: SourceSet,
    /// Its size, bytes.
    pub table_bytes: u64,
    /// What is wrong with the object, when something was skipped.
    pub damage: Option<String>,
}

/// Why there is no table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The object is damaged, or is more than the limits allow.
    #[error("{0}")]
    BadObject(String),
    /// It is of a kind that has no table.
    #[error("{0}")]
    Unsupported(String),
    /// A file could not be read or written: says nothing about the object.
    #[error("{0}")]
    Io(String),
}

// === impl Conversion ===

impl Conversion {
    /// Converts in this process, which an object may cost its memory: for objects that are trusted, and
    /// for processes that have nothing to lose.
    ///
    /// # Errors
    /// When no table can be made, or not be written.
    pub fn run(&self) -> Result<TableReport, Refusal> {
        let object = map(&self.object)?;
        let [debug, shared, package] = [&self.debug, &self.shared, &self.package]
            .map(|path| path.as_deref().map(map).transpose());
        let (debug, shared, package) = (debug?, shared?, package?);
        let mut go = GoFunctions::of(&object);
        let inputs = Inputs {
            binary: Some(&object),
            debug: debug.as_deref(),
            shared: shared.as_deref(),
            package: package.as_deref(),
            others: go.iter_mut().map(|go| go as _).collect(),
            without_debug_info: self.symbols_only,
            ..Inputs::default()
        };
        let limits = Limits {
            unpacked_bytes: self.max_unpacked_bytes,
            time: self.time,
            ..Limits::default()
        };
        let converted = convert(inputs, limits)?;
        let report = &converted.report;
        debug!(
            units = report.units,
            symbols = report.symbols,
            functions = report.counts.functions,
            bytes = converted.table.len(),
            "object converted"
        );
        fs::write(&self.table, &converted.table).map_err(io_refusal("write", &self.table))?;
        Ok(TableReport {
            sources: converted.report.sources,
            table_bytes: converted.table.len() as u64,
            damage: converted.report.first_damage,
        })
    }
}

fn map(path: &Path) -> Result<Mmap, Refusal> {
    let file = File::open(path).map_err(io_refusal("open", path))?;
    // SAFETY: objects are not changed once they have their name. The process of a pool may die of one
    // that is cut short all the same.
    unsafe { Mmap::map(&file) }.map_err(io_refusal("map", path))
}

fn io_refusal(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Refusal {
    move |error| Refusal::Io(format!("cannot {action} {}: {error}", path.display()))
}

// === impl Refusal ===

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Unsupported(_) | ConvertError::NoCode => {
                Self::Unsupported(error.to_string())
            }
            error => Self::BadObject(error.to_string()),
        }
    }
}
