//! Line programs: which file and line each address comes from.

use gimli::{AttributeValue, Dwarf, IncompleteLineProgram, Unit};

use super::{Slice, UnitError};
use crate::{
    builder::{Builder, FileId},
    error::ConvertError,
};

/// Code of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
    /// A file's number + 1, or 0.
    pub(super) file: u32,
    pub(super) line: u32,
}

/// The files of a unit by their numbers there.
pub(super) struct Files<'u, 'a> {
    dwarf: &'u Dwarf<Slice<'a>>,
    unit: &'u Unit<Slice<'a>>,
    /// Those that were asked for.
    known: Vec<Option<Option<FileId>>>,
    path: Vec<u8>,
}

/// Highest number of a file that is remembered.
const MAX_KNOWN: usize = 1 << 20;

/// Fills `spans` with the rows of a program, by rising address and without overlaps. When the program
/// is damaged, with those before the damage.
pub(super) fn read(
    program: &IncompleteLineProgram<Slice<'_>>,
    files: &mut Files<'_, '_>,
    builder: &mut Builder,
    spans: &mut Vec<Span>,
) -> Result<(), UnitError> {
    spans.clear();
    let done = read_rows(program, files, builder, spans);
    let is_sorted = spans.is_sorted_by(|a, b| a.end <= b.start);
    if !is_sorted {
        spans.sort_by_key(|span| span.start);
        let mut end = 0;
        spans.retain_mut(|span| {
            span.start = span.start.max(end);
            end = end.max(span.end);
            span.start < span.end
        });
    }
    done
}

fn read_rows(
    program: &IncompleteLineProgram<Slice<'_>>,
    files: &mut Files<'_, '_>,
    builder: &mut Builder,
    spans: &mut Vec<Span>,
) -> Result<(), UnitError> {
    let mut rows = program.clone().rows();
    // The row before, whose code ends where the next one begins.
    let mut open: Option<(u64, u64, u32)> = None;
    while let Some((_, row)) = rows.next_row()? {
        builder.step(1)?;
        if let Some((start, file, line)) = open
            && start < row.address()
            && let Some((start, end)) = builder.code.clip(start, row.address())
        {
            let file = FileId::code(files.get(file, builder)?);
            let limit = builder.budget.limits().unit_rows;
            if spans.len() as u64 >= limit.into() {
                let what = "lines in a unit";
                return Err(ConvertError::TooLarge { what, limit: limit.into() }.into());
            }
            spans.push(Span { start, end, file, line });
        }
        open = (!row.end_sequence()).then(|| {
            let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
            (row.address(), row.file_index(), line)
        });
    }
    Ok(())
}

// === impl Files ===

impl<'u, 'a> Files<'u, 'a> {
    pub(super) fn new(dwarf: &'u Dwarf<Slice<'a>>, unit: &'u Unit<Slice<'a>>) -> Self {
        Self { dwarf, unit, known: Vec::new(), path: Vec::new() }
    }

    /// File `number`.
    #[inline]
    pub(super) fn get(
        &mut self,
        number: u64,
        builder: &mut Builder,
    ) -> Result<Option<FileId>, UnitError> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(Some(known)) = self.known.get(index) {
            return Ok(*known);
        }
        self.path.clear();
        let file = match self.read(number) {
            Some(()) => Some(builder.file(&self.path)?),
            None => None,
        };
        if index < MAX_KNOWN {
            self.known.resize(self.known.len().max(index + 1), None);
            self.known[index] = Some(file);
        }
        Ok(file)
    }

    /// Puts the path of file `number` together: the directory of the compilation, the file's
    /// directory and its name, without what an absolute path makes void.
    fn read(&mut self, number: u64) -> Option<()> {
        let header = self.unit.line_program.as_ref()?.header();
        let is_old = header.version() <= 4;
        // Before version 5, 0 is no file.
        if is_old && number == 0 {
            return None;
        }
        let file = header.file(number)?;
        let name = self.string(file.path_name())?;
        let number = file.directory_index();
        // Directory 0 is the compilation's. Before version 5 it is not in the list.
        let is_compilation = number == 0;
        let directory = match is_old && is_compilation {
            true => None,
            false => header.directory(number).and_then(|directory| self.string(directory)),
        };
        let compilation = match is_old || !is_compilation {
            true => self.unit.comp_dir,
            false => None,
        };
        for part in [compilation, directory, Some(name)].into_iter().flatten() {
            join(&mut self.path, part.slice());
        }
        Some(())
    }

    fn string(&self, value: AttributeValue<Slice<'a>>) -> Option<Slice<'a>> {
        self.dwarf.attr_string(self.unit, value).ok()
    }
}

fn join(path: &mut Vec<u8>, part: &[u8]) {
    if part.starts_with(b"/") {
        path.clear();
    }
    if !path.is_empty() && !part.is_empty() && path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}
