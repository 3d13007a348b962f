//! Reads a pair of files, one row group of samples after the other.

mod columns;
pub(super) mod file;
mod functions;
mod samples;
mod stacks;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fleetprof_proto::batch::StackIndex;
use hashbrown::HashMap;

use self::{file::File, stacks::Needed};
use super::{
    FormatError, Wanted,
    schema::{self, SAMPLES, STACKS},
};
use crate::{catalog::FileId, table::TableBuilder};

pub use functions::{FunctionsFile, Part};

/// Reads what is wanted of a pair of files. Memory: the stacks that are wanted, 16 thousand rows, and
/// what the caller's table takes.
#[derive(Debug)]
pub struct Reader {
    samples: File,
    stacks: Option<File>,
    wanted: Wanted,
    /// Row groups of samples that are to be read, the next one last.
    groups: Vec<usize>,
    /// Stacks of the files, by number, in the builder of all calls; `None` before the first.
    known: Option<HashMap<i64, StackIndex>>,
}

// === impl Reader ===

impl Reader {
    /// Opens a pair of files.
    ///
    /// # Errors
    /// When one is damaged, of a newer format, missing though it is needed, or they are no pair.
    pub fn new(
        samples: Bytes,
        stacks: Option<Bytes>,
        wanted: &Wanted,
    ) -> Result<Self, FormatError> {
        guarded(SAMPLES, || {
            let samples = File::open(SAMPLES, samples, schema::samples())?;
            let stacks = match (wanted.stacks, stacks) {
                (true, Some(stacks)) => Some(File::open(STACKS, stacks, schema::stacks())?),
                (true, None) => return Err(FormatError::NoStacks),
                (false, _) => None,
            };
            if let Some(stacks) = &stacks
                && stacks.id() != samples.id()
            {
                return Err(stacks.damaged("it belongs to other samples"));
            }
            let mut groups: Vec<_> = (0..samples.groups())
                .filter(|group| samples::is_wanted(&samples, *group, wanted))
                .collect();
            groups.reverse();
            Ok(Self { samples, stacks, wanted: wanted.clone(), groups, known: None })
        })
    }

    /// The pair's number.
    pub fn id(&self) -> FileId {
        self.samples.id()
    }

    /// How many row groups there are still to read: the next one is read by one call.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Adds the wanted samples of the next row group, and says how many there were; `None` after the
    /// last. All calls must be given the same builder. The first call reads the stacks.
    ///
    /// # Errors
    /// When a file is damaged; the builder may have got a part of it then.
    pub fn read_group(&mut self, builder: &mut TableBuilder) -> Result<Option<u64>, FormatError> {
        let Some(group) = self.groups.last().copied() else { return Ok(None) };
        if let (None, Some(stacks)) = (&self.known, &self.stacks) {
            let needed = guarded(SAMPLES, || self.needed())?;
            let known = guarded(STACKS, || stacks::read(stacks, &needed, builder.code()))?;
            self.known = Some(known);
        }
        self.groups.pop();
        let known = self.known.as_ref();
        guarded(SAMPLES, || samples::read(&self.samples, group, &self.wanted, known, builder))
            .map(Some)
    }

    fn needed(&self) -> Result<Needed, FormatError> {
        if self.wanted.services.is_none() && self.wanted.range.is_none() {
            return Ok(Needed::All);
        }
        let mut ids = hashbrown::HashSet::new();
        for group in &self.groups {
            samples::stack_ids(&self.samples, *group, &self.wanted, &mut ids)?;
        }
        Ok(Needed::These(ids))
    }
}

/// Runs a reader of Parquet. It is written to fail, not to panic, on damaged bytes; should it panic on
/// some all the same, then the file is damaged, and this process has other work to do.
fn guarded<T>(
    file: &'static str,
    read: impl FnOnce() -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(FormatError::Damaged { file, what: "the reader of Parquet panicked".to_owned() })
    })
}
