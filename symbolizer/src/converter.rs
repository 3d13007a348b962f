//! Conversions of objects that are not trusted.
//!
//! In: a [`Conversion`]. Out: a table in a file, or why there is none. Each runs in a process of its
//! own with limits on memory and time, so that an object which crashes, stalls or bloats a parser costs
//! its own names and nothing else. An object whose debug information is too much for that still gets a
//! table of its symbols. Blocks the caller; not done here: queues, and where tables are kept.

use std::{io, time::Duration};

use thiserror::Error;
use tracing::debug;

use crate::{
    conversion::{Conversion, Refusal, TableReport},
    process::{Worker, WorkerCommand, WorkerFailure},
    wire::{Converted, Hello, Nothing, WireConversion, Work},
};

/// What the process has beyond the conversion's own time: to start, to write the table, and to look at
/// the clock rarely.
const GRACE: Duration = Duration::from_secs(20);

/// Makes tables.
#[derive(Clone, Debug)]
pub struct Converter {
    /// `None`: in this process.
    command: Option<WorkerCommand>,
    memory_bytes: u64,
}

/// A table that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What is in it.
    pub report: TableReport,
    /// What had to be left out, and why.
    pub left_out: Option<(LeftOut, String)>,
}

/// What a table says nothing of, though it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// The shared file and the package of split units: they are another object's, damaged, or too much.
    Companions,
    /// All debug information: it is more than the limits allow.
    DebugInfo,
}

/// Why there is no table.
#[derive(Debug, Error)]
pub enum ConversionError {
    /// The object is to blame, and will be again.
    #[error(transparent)]
    Refused(Refusal),
    /// The process died or was too slow. The object is likely to blame, but the host may be.
    #[error("{0}")]
    Lost(String),
    /// Says nothing about the object: try again.
    #[error("{0}")]
    Unavailable(String),
}

// === impl Converter ===

impl Converter {
    /// Converts in processes of this program, each with so much memory for heap and stacks.
    pub fn isolated(command: WorkerCommand, memory_bytes: u64) -> Self {
        Self { command: Some(command), memory_bytes }
    }

    /// Converts in the calling thread: for tests, and for objects that are trusted.
    pub fn in_process() -> Self {
        Self { command: None, memory_bytes: u64::MAX }
    }

    /// Makes a table; when that fails, one of less: files that came from elsewhere must not cost an
    /// object what its own say, nor debug information its symbols.
    ///
    /// # Errors
    /// When none can be made.
    pub fn convert(&self, conversion: &Conversion) -> Result<Made, ConversionError> {
        let first = match self.run(conversion) {
            Ok(report) => return Ok(Made { report, left_out: None }),
            Err(error @ ConversionError::Unavailable(_)) => return Err(error),
            Err(error) => error,
        };
        let alone = Conversion { shared: None, package: None, ..conversion.clone() };
        let symbols = Conversion { symbols_only: true, ..alone.clone() };
        let less = [(LeftOut::Companions, alone), (LeftOut::DebugInfo, symbols)];
        for (what, less) in less.into_iter().filter(|(_, less)| less != conversion) {
            debug!(object = %conversion.object.display(), %first, ?what, "trying without");
            match self.run(&less) {
                Ok(report) => {
                    return Ok(Made { report, left_out: Some((what, first.to_string())) });
                }
                Err(error @ ConversionError::Unavailable(_)) => return Err(error),
                Err(_) => {}
            }
        }
        // The first one says more.
        Err(first)
    }

    fn run(&self, conversion: &Conversion) -> Result<TableReport, ConversionError> {
        let outcome = match &self.command {
            None => conversion.run(),
            Some(command) => self.run_isolated(command, conversion)?,
        };
        outcome.map_err(|refusal| match refusal {
            Refusal::Io(why) => ConversionError::Unavailable(why),
            refusal => ConversionError::Refused(refusal),
        })
    }

    fn run_isolated(
        &self,
        command: &WorkerCommand,
        conversion: &Conversion,
    ) -> Result<Result<TableReport, Refusal>, ConversionError> {
        let hello =
            Hello { memory_bytes: self.memory_bytes, work: Some(Work::Convert(Nothing {})) };
        let cannot_start = |error: io::Error| {
            ConversionError::Unavailable(format!("cannot start a process to convert it: {error}"))
        };
        let mut worker = Worker::<Converted>::start(command, &hello).map_err(cannot_start)?;
        let question = WireConversion::new(conversion);
        let reply = worker.ask(&question, conversion.time.saturating_add(GRACE));
        let outcome = reply.and_then(|reply| {
            let unfit = || WorkerFailure::Protocol(io::ErrorKind::InvalidData.into());
            reply.into_result().ok_or_else(unfit)
        });
        outcome
            .map_err(|failure| ConversionError::Lost(format!("its conversion failed: {failure}")))
    }
}
