//! Names of functions, which debug information keeps elsewhere than their code: an inlined call or a
//! copy of a function refers to the function itself, that to its declaration, each perhaps in another
//! unit or in the file that dwz moved it to.

use std::rc::Rc;

use gimli::{AttributeValue, DebugInfoOffset, Dwarf, Unit, UnitOffset, constants as dw};
use rustc_hash::FxHashMap;

use super::{Slice, UnitError, units::Units};
use crate::{
    builder::{Builder, FunctionId},
    error::{ConvertError, Limits},
};

type Value<'a> = AttributeValue<Slice<'a>>;

/// Most references from one entry to the next: compilers need three.
const MAX_REFERENCES: usize = 16;

/// Most names that are remembered for references between units.
const MAX_KNOWN: usize = 1 << 20;

/// Most units kept parsed for references into them.
const MAX_OPENED: usize = 64;

/// Where an entry is.
#[derive(Clone)]
struct Place<'a> {
    in_shared: bool,
    unit: Rc<Unit<Slice<'a>>>,
    offset: UnitOffset,
}

/// What an entry says about its function's name.
#[derive(Clone, Copy, Default)]
pub(super) struct Naming<'a> {
    pub(super) linkage: Option<Value<'a>>,
    pub(super) name: Option<Value<'a>>,
    pub(super) origin: Option<Value<'a>>,
}

/// The functions of one file's debug information, and of the one it shares.
pub(super) struct Names<'d, 'a> {
    pub(super) units: Units<'d, 'a>,
    shared: Option<Units<'d, 'a>>,
    /// Units that were referred to.
    opened: FxHashMap<(bool, usize), Rc<Unit<Slice<'a>>>>,
    /// Functions of this unit.
    local: FxHashMap<usize, Option<FunctionId>>,
    /// Functions of other units, by their position in their section.
    known: FxHashMap<(bool, usize), Option<FunctionId>>,
}

// === impl Names ===

impl<'d, 'a> Names<'d, 'a> {
    pub(super) fn new(dwarf: &'d Dwarf<Slice<'a>>, limits: &Limits) -> Result<Self, ConvertError> {
        Ok(Self {
            units: Units::read(dwarf, limits)?,
            shared: dwarf.sup().map(|shared| Units::read(shared, limits)).transpose()?,
            opened: FxHashMap::default(),
            local: FxHashMap::default(),
            known: FxHashMap::default(),
        })
    }

    /// Whether a list of units breaks off.
    pub(super) fn end_early(&self) -> bool {
        self.units.ends_early() || self.shared.as_ref().is_some_and(Units::ends_early)
    }

    /// Forgets what is known of the unit before.
    pub(super) fn begin_unit(&mut self) {
        self.local.clear();
    }

    /// The function of an entry of `unit`.
    pub(super) fn function(
        &mut self,
        unit: &Rc<Unit<Slice<'a>>>,
        naming: &Naming<'a>,
        builder: &mut Builder,
    ) -> Result<Option<FunctionId>, UnitError> {
        if let Some(name) = self.string(false, unit, naming.linkage) {
            return Ok(Some(builder.function(name.slice())?));
        }
        let Some(origin) = naming.origin else {
            let name = self.string(false, unit, naming.name);
            return Ok(name.map(|name| builder.function(name.slice())).transpose()?);
        };
        if let AttributeValue::UnitRef(offset) = origin
            && let Some(known) = self.local.get(&offset.0)
        {
            return Ok(*known);
        }
        let key = match origin {
            AttributeValue::DebugInfoRef(offset) => Some((false, offset.0)),
            AttributeValue::DebugInfoRefSup(offset) => Some((true, offset.0)),
            _ => None,
        };
        if let Some(known) = key.and_then(|key| self.known.get(&key)) {
            return Ok(*known);
        }
        let function = self.follow(unit, naming, builder)?;
        if let AttributeValue::UnitRef(offset) = origin {
            self.local.insert(offset.0, function);
        } else if let Some(key) = key {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(key, function);
        }
        Ok(function)
    }

    /// Follows references until there is a linker's name; else the first name that was met.
    fn follow(
        &mut self,
        unit: &Rc<Unit<Slice<'a>>>,
        naming: &Naming<'a>,
        builder: &mut Builder,
    ) -> Result<Option<FunctionId>, UnitError> {
        let mut name = self.string(false, unit, naming.name);
        let mut next = naming.origin.and_then(|origin| self.place(false, unit, origin));
        for _ in 0..MAX_REFERENCES {
            let Some(place) = next else { break };
            builder.step(1)?;
            // What cannot be read has no name; the unit it is in is counted when its turn comes.
            let Ok(found) = read(&place) else { break };
            if let Some(linkage) = self.string(place.in_shared, &place.unit, found.linkage) {
                name = Some(linkage);
                break;
            }
            name = name.or_else(|| self.string(place.in_shared, &place.unit, found.name));
            next = found.origin.and_then(|to| self.place(place.in_shared, &place.unit, to));
        }
        Ok(name.map(|name| builder.function(name.slice())).transpose()?)
    }

    /// Where a reference leads.
    fn place(
        &mut self,
        in_shared: bool,
        unit: &Rc<Unit<Slice<'a>>>,
        reference: Value<'a>,
    ) -> Option<Place<'a>> {
        let (in_shared, offset) = match reference {
            AttributeValue::UnitRef(offset) => {
                return Some(Place { in_shared, unit: Rc::clone(unit), offset });
            }
            AttributeValue::DebugInfoRef(offset) => (in_shared, offset),
            AttributeValue::DebugInfoRefSup(offset) => (true, offset),
            _ => return None,
        };
        let (unit, offset) = self.unit_at(in_shared, offset)?;
        Some(Place { in_shared, unit, offset })
    }

    fn unit_at(
        &mut self,
        in_shared: bool,
        offset: DebugInfoOffset,
    ) -> Option<(Rc<Unit<Slice<'a>>>, UnitOffset)> {
        let units = if in_shared { self.shared.as_mut()? } else { &mut self.units };
        let (number, offset) = units.find(offset)?;
        if let Some(unit) = self.opened.get(&(in_shared, number)) {
            return Some((Rc::clone(unit), offset));
        }
        let mut unit = units.open(number).ok()?;
        unit.line_program = None;
        let unit = Rc::new(unit);
        if self.opened.len() >= MAX_OPENED {
            self.opened.clear();
        }
        self.opened.insert((in_shared, number), Rc::clone(&unit));
        Some((unit, offset))
    }

    /// The text of an attribute; none when it is empty or cannot be read.
    fn string(
        &self,
        in_shared: bool,
        unit: &Unit<Slice<'a>>,
        value: Option<Value<'a>>,
    ) -> Option<Slice<'a>> {
        let units = if in_shared { self.shared.as_ref()? } else { &self.units };
        units.dwarf().attr_string(unit, value?).ok().filter(|text| !text.is_empty())
    }
}

/// Reads one entry.
fn read<'a>(place: &Place<'a>) -> gimli::Result<Naming<'a>> {
    let mut entries = place.unit.entries_raw(Some(place.offset))?;
    let mut naming = Naming::default();
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(naming) };
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification)?;
        naming.take(attribute.name(), || attribute.value());
    }
    Ok(naming)
}

// === impl Naming ===

impl<'a> Naming<'a> {
    /// Keeps the attribute if it is about the name; whether it did.
    #[inline]
    pub(super) fn take(&mut self, name: gimli::DwAt, value: impl FnOnce() -> Value<'a>) -> bool {
        match name {
            dw::DW_AT_linkage_name | dw::DW_AT_MIPS_linkage_name => self.linkage = Some(value()),
            dw::DW_AT_name => self.name = Some(value()),
            dw::DW_AT_abstract_origin | dw::DW_AT_specification => self.origin = Some(value()),
            _ => return false,
        }
        true
    }
}
