//! DWARF 2 to 5: functions, inlined calls and lines, one unit at a time.
//!
//! In: the debug sections of an ELF file, and of those that it shares or was split into. Out: runs in a
//! [`Builder`]. A unit that is damaged is kept as far as it can be read, and counted.

mod entries;
mod lines;
mod load;
mod names;
mod split;
mod unit;
mod units;

use std::rc::Rc;

use gimli::{EndianSlice, LittleEndian, UnitType};

pub(crate) use split::SplitFile;
pub use split::SplitUnit;

use crate::{builder::Builder, convert::Report, elf::Elf, error::ConvertError, symbols::Symbols};
use names::Names;
use split::Split;
use unit::{LineSource, Scratch};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Files that the debug information may lead to.
pub(crate) struct Companions<'a, 'f> {
    /// What dwz moved out of several files.
    pub(crate) shared: Option<Elf<'a>>,
    /// All split units in one file.
    pub(crate) package: Option<Elf<'a>>,
    pub(crate) split: &'f mut SplitFile<'f>,
}

/// What went wrong in a unit: its bytes, or a limit.
pub(crate) enum UnitError {
    /// The unit is damaged; go on with the next one.
    Damaged(gimli::Error),
    /// The unit is not like any compiler's; go on with the next one.
    Refused(&'static str),
    /// Stop.
    Stop(ConvertError),
}

/// Adds all units.
pub(crate) fn read(
    elf: &Elf<'_>,
    companions: Companions<'_, '_>,
    symbols: &Symbols<'_>,
    builder: &mut Builder,
    report: &mut Report,
) -> Result<(), ConvertError> {
    let Companions { shared, package, split } = companions;
    let budget = &mut builder.budget;
    let sections = load::sections(elf, false, budget)?;
    let shared = shared.map(|elf| load::sections(&elf, false, budget)).transpose()?;
    let dwarf = sections.borrow_with_sup(shared.as_ref(), load::slice);
    let package = package.map(|elf| load::package(&elf, budget)).transpose()?;
    let package = package.as_ref().map(|package| package.borrow(load::slice, Slice::default()));
    let package = package.transpose().map_err(|_| ConvertError::Damaged("the package's index"))?;
    let mut split = Split { package, file: split };
    let mut names = Names::new(&dwarf, builder.budget.limits())?;
    report.damaged_units += u64::from(names.end_early());
    let mut scratch = Scratch::default();
    for number in 0..names.units.len() {
        builder.budget.look()?;
        let kind = names.units.header(number).type_();
        if matches!(kind, UnitType::Type { .. } | UnitType::SplitType { .. }) {
            continue;
        }
        report.units += 1;
        let done = (|| {
            let unit = Rc::new(names.units.open(number)?);
            names.begin_unit();
            let mut reader = unit::Reader { builder, symbols, report, scratch: &mut scratch };
            let is_split = unit.dwo_id.is_some() && unit.dwo_name()?.is_some();
            if is_split && split.read(&dwarf, &unit, &mut reader)? {
                return Ok(());
            }
            reader.report.missing_units += u64::from(is_split);
            reader.read(&unit, &mut names, LineSource { dwarf: &dwarf, unit: &unit })
        })();
        match done {
            Ok(()) => {}
            Err(UnitError::Damaged(error)) => report.damaged_unit(&error),
            Err(UnitError::Refused(why)) => report.damaged_unit(&why),
            Err(UnitError::Stop(error)) => return Err(error),
        }
    }
    Ok(())
}

// === impl UnitError ===

impl From<gimli::Error> for UnitError {
    fn from(error: gimli::Error) -> Self {
        Self::Damaged(error)
    }
}

impl From<ConvertError> for UnitError {
    fn from(error: ConvertError) -> Self {
        Self::Stop(error)
    }
}
