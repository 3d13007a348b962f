//! Split DWARF: a unit whose functions are in another file, a `.dwo` or, together with others, a `.dwp`.
//! The lines stay in the unit.

use std::rc::Rc;

use gimli::{Dwarf, DwarfPackage, Unit};

use super::{
    Slice, UnitError, load,
    names::Names,
    unit::{LineSource, Reader},
};
use crate::{elf::Elf, error::ConvertError, format::SourceSet};

/// What a split unit calls its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitUnit<'a> {
    /// Path of the file, as the compiler knew it: relative to the directory unless it is absolute.
    pub path: &'a [u8],
    /// Directory of the compilation.
    pub directory: &'a [u8],
    /// What both files have in common; the file is not believed otherwise.
    pub id: u64,
}

/// Gives the file of a split unit.
pub(crate) type SplitFile<'f> = dyn FnMut(&SplitUnit<'_>) -> Option<Vec<u8>> + 'f;

/// Finds the other part of split units.
pub(super) struct Split<'s, 'a> {
    pub(super) package: Option<DwarfPackage<Slice<'a>>>,
    pub(super) file: &'s mut SplitFile<'s>,
}

// === impl Split ===

impl<'a> Split<'_, 'a> {
    /// Adds the other part of `unit`; whether there is one.
    pub(super) fn read(
        &mut self,
        dwarf: &Dwarf<Slice<'a>>,
        unit: &Unit<Slice<'a>>,
        reader: &mut Reader<'_, '_>,
    ) -> Result<bool, UnitError> {
        let Some(id) = unit.dwo_id else { return Ok(false) };
        if let Some(package) = &self.package
            && let Some(part) = package.find_cu(id, dwarf)?
        {
            return add(&part, LineSource { dwarf, unit }, reader);
        }
        let path = match unit.dwo_name()? {
            Some(path) => dwarf.attr_string(unit, path)?,
            None => Slice::default(),
        };
        let directory = unit.comp_dir.map(|directory| directory.slice()).unwrap_or_default();
        let wanted = SplitUnit { path: path.slice(), directory, id: id.0 };
        let Some(bytes) = (self.file)(&wanted) else { return Ok(false) };
        match read_file(&bytes, dwarf, unit, reader) {
            // A file that is none is as good as none.
            Err(UnitError::Stop(ConvertError::NotElf { .. })) => Ok(false),
            done => done,
        }
    }
}

fn read_file(
    bytes: &[u8],
    dwarf: &Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    reader: &mut Reader<'_, '_>,
) -> Result<bool, UnitError> {
    let elf = Elf::parse(bytes, "the file of a split unit")?;
    let sections = load::sections(&elf, true, &mut reader.builder.budget)?;
    let mut part = sections.borrow(load::slice);
    part.make_dwo(dwarf);
    add(&part, LineSource { dwarf, unit }, reader)
}

/// Adds the unit of `part` that belongs to the one that has the lines.
fn add<'x>(
    part: &Dwarf<Slice<'x>>,
    lines: LineSource<'_, 'x>,
    reader: &mut Reader<'_, '_>,
) -> Result<bool, UnitError> {
    let mut names = Names::new(part, reader.builder.budget.limits())?;
    for number in 0..names.units.len() {
        reader.builder.budget.look()?;
        let mut unit = names.units.open(number)?;
        if unit.dwo_id == lines.unit.dwo_id {
            unit.copy_relocated_attributes(lines.unit);
            reader.report.sources.add(SourceSet::SPLIT_DWARF);
            reader.read(&Rc::new(unit), &mut names, lines)?;
            return Ok(true);
        }
    }
    Ok(false)
}
