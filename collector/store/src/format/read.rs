//! Reads a pair of files, one row group of samples after the other.

mod columns;
pub(super) mod file;
mod footer;
mod functions;
mod samples;
mod stacks;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fleetprof_proto::batch::{OriginIndex, StackIndex};
use hashbrown::HashMap;

use self::{file::File, stacks::Needed};
use super::{
    FormatError, Wanted,
    schema::{self, SAMPLES, STACKS},
};
use crate::{
    catalog::FileId,
    table::{NO_WINDOW, TableBuilder},
};

pub use footer::parse as parse_footer;
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

/// Samples, and CPU time in nanoseconds, by labels, stack and result.
type Sums = HashMap<(OriginIndex, i64, u32), (u64, u64)>;

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
            let stacks = match (wanted.has_stacks(), stacks) {
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
        let (file, known) = (&self.samples, self.known.as_ref());
        guarded(SAMPLES, || {
            let mut added = 0_u64;
            samples::for_each(file, group, &self.wanted, builder, |builder, row| {
                let stack = stack(file, known, row.stack_id)?;
                let window = row.window.unwrap_or(NO_WINDOW);
                builder.add(row.origin, stack, row.result, window, row.counts);
                added = added.saturating_add(row.counts.0);
                Ok(())
            })?;
            Ok(Some(added))
        })
    }

    /// Adds the wanted samples of all row groups, as if they were of one window. Of the stacks, those are
    /// read that these samples have.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn read_sums(mut self, builder: &mut TableBuilder) -> Result<(), FormatError> {
        let sums = self.sums(builder)?;
        let file = &self.samples;
        let needed = Needed::These(sums.keys().map(|(_, id, _)| *id).collect());
        let read = |stacks| guarded(STACKS, || stacks::read(stacks, &needed, builder.code()));
        let known = self.stacks.as_ref().map(read).transpose()?;
        for ((origin, id, result), counts) in sums {
            let stack = stack(file, known.as_ref(), id)?;
            builder.add(origin, stack, result, NO_WINDOW, counts);
        }
        Ok(())
    }

    /// Adds the wanted samples of all row groups, and the frames of their stacks, see [`Stacks::Frames`].
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn read_frames(mut self, builder: &mut TableBuilder) -> Result<(), FormatError> {
        let sums = self.sums(builder)?;
        let mut by_stack: Vec<_> = sums
            .into_iter()
            .map(|((origin, id, _), counts)| {
                builder.add(origin, StackIndex::EMPTY, 0, NO_WINDOW, counts);
                (id, origin, counts)
            })
            .filter(|(id, ..)| *id != 0)
            .collect();
        by_stack.sort_unstable();
        let needed = Needed::These(by_stack.iter().map(|(id, ..)| *id).collect());
        let unknown = |id| self.samples.damaged(format!("stack {id} does not exist"));
        // Stacks come in the order of their numbers.
        let mut rest = &by_stack[..];
        let mut frames = HashMap::<(OriginIndex, StackIndex), (u64, u64)>::new();
        if let Some(stacks) = &self.stacks {
            guarded(STACKS, || {
                stacks::read_frames(stacks, &needed, builder.code(), |id, path| {
                    let (to, after) = rest.split_at(rest.partition_point(|sum| sum.0 <= id));
                    rest = after;
                    for (known, origin, counts) in to {
                        if *known != id {
                            return Err(unknown(*known));
                        }
                        for node in path {
                            add(frames.entry((*origin, node.stack)).or_default(), *counts);
                        }
                    }
                    Ok(())
                })
            })?;
        }
        if let Some((id, ..)) = rest.first() {
            return Err(unknown(*id));
        }
        for ((origin, frame), counts) in frames {
            builder.add(origin, frame, 0, NO_WINDOW, counts);
        }
        Ok(())
    }

    /// The sums of the wanted samples of all row groups, by labels, stack and result.
    fn sums(&mut self, builder: &mut TableBuilder) -> Result<Sums, FormatError> {
        self.wanted.windows = false;
        let mut sums = Sums::new();
        guarded(SAMPLES, || {
            self.groups.iter().rev().try_for_each(|group| {
                samples::for_each(&self.samples, *group, &self.wanted, builder, |_, row| {
                    let key = (row.origin, row.stack_id, row.result);
                    add(sums.entry(key).or_default(), row.counts);
                    Ok(())
                })
            })
        })?;
        Ok(sums)
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

fn add(sum: &mut (u64, u64), counts: (u64, u64)) {
    *sum = (sum.0.saturating_add(counts.0), sum.1.saturating_add(counts.1));
}

/// The stack of a number, of the stacks that were read; the empty one where none were.
fn stack(
    file: &File,
    known: Option<&HashMap<i64, StackIndex>>,
    id: i64,
) -> Result<StackIndex, FormatError> {
    let Some(known) = known.filter(|_| id != 0) else { return Ok(StackIndex::EMPTY) };
    let stack = known.get(&id).copied();
    stack.ok_or_else(|| file.damaged(format!("stack {id} does not exist")))
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
