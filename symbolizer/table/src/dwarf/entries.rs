//! The tree of a unit's entries: which function, and which calls inlined into it, each address is in.

use std::rc::Rc;

use gimli::{AttributeValue, EntriesRaw, Unit, constants as dw};

use super::{
    Slice, UnitError,
    lines::Files,
    names::{Names, Naming},
};
use crate::{
    builder::{Builder, Line, NodeId},
    convert::Report,
    error::ConvertError,
    overlay::Interval,
};

type Value<'a> = AttributeValue<Slice<'a>>;

/// What is read of an entry.
#[derive(Clone, Copy, Default)]
struct Entry<'a> {
    naming: Naming<'a>,
    low: Option<Value<'a>>,
    high: Option<Value<'a>>,
    ranges: Option<Value<'a>>,
    call_file: u64,
    call_line: u64,
}

/// An entry whose children are being read.
struct Scope {
    depth: isize,
    node: NodeId,
    /// How many inlined calls deep it is.
    level: u32,
}

/// Reads the entries of a unit.
pub(super) struct Walk<'w, 'd, 'a> {
    pub(super) unit: &'w Rc<Unit<Slice<'a>>>,
    pub(super) names: &'w mut Names<'d, 'a>,
    pub(super) files: &'w mut Files<'w, 'a>,
    pub(super) builder: &'w mut Builder,
    pub(super) report: &'w mut Report,
    /// What was found: later entries are inside earlier ones.
    pub(super) intervals: &'w mut Vec<Interval>,
}

// === impl Walk ===

impl<'a> Walk<'_, '_, 'a> {
    pub(super) fn run(&mut self) -> Result<(), UnitError> {
        let unit = Rc::clone(self.unit);
        let mut entries = unit.entries_raw(None)?;
        let mut scopes: Vec<Scope> = Vec::new();
        while !entries.is_empty() {
            self.builder.step(1)?;
            let depth = entries.next_depth();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            while scopes.last().is_some_and(|scope| scope.depth >= depth) {
                scopes.pop();
            }
            let tag = abbreviation.tag();
            if tag != dw::DW_TAG_subprogram && tag != dw::DW_TAG_inlined_subroutine {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let entry = Entry::read(&mut entries, abbreviation.attributes())?;
            let scope = match tag {
                dw::DW_TAG_subprogram => self.function(&entry, depth)?,
                _ => self.inlined(&entry, depth, scopes.last())?,
            };
            if abbreviation.has_children()
                && let Some(scope) = scope
            {
                scopes.push(scope);
            }
        }
        Ok(())
    }

    /// A function. Without code of its own it is a declaration, or what copies of it refer to.
    fn function(&mut self, entry: &Entry<'a>, depth: isize) -> Result<Option<Scope>, UnitError> {
        if entry.low.is_none() && entry.ranges.is_none() {
            return Ok(None);
        }
        let function = self.names.function(self.unit, &entry.naming, self.builder)?;
        let node = self.builder.outermost(function)?;
        self.cover(entry, node)?;
        Ok(Some(Scope { depth, node, level: 0 }))
    }

    fn inlined(
        &mut self,
        entry: &Entry<'a>,
        depth: isize,
        caller: Option<&Scope>,
    ) -> Result<Option<Scope>, UnitError> {
        // Within a function without code there is no code, either.
        let Some(caller) = caller else { return Ok(None) };
        if caller.level >= self.builder.budget.limits().depth {
            self.report.too_deep += 1;
            return Ok(None);
        }
        let function = self.names.function(self.unit, &entry.naming, self.builder)?;
        let call = Line {
            file: self.files.get(entry.call_file, self.builder)?,
            line: u32::try_from(entry.call_line).unwrap_or(0),
        };
        let node = self.builder.inlined(caller.node, function, call)?;
        self.cover(entry, node)?;
        Ok(Some(Scope { depth, node, level: caller.level + 1 }))
    }

    /// Notes the addresses of an entry.
    fn cover(&mut self, entry: &Entry<'a>, node: NodeId) -> Result<(), UnitError> {
        let dwarf = self.names.units.dwarf();
        if let Some(ranges) = entry.ranges {
            let Ok(Some(mut ranges)) = dwarf.attr_ranges(self.unit, ranges) else {
                self.report.damaged_entries += 1;
                return Ok(());
            };
            loop {
                self.builder.step(1)?;
                match ranges.next() {
                    Ok(Some(range)) => self.add(range.begin, range.end, node)?,
                    Ok(None) => return Ok(()),
                    Err(_) => {
                        self.report.damaged_entries += 1;
                        return Ok(());
                    }
                }
            }
        }
        let address = |value| dwarf.attr_address(self.unit, value).ok().flatten();
        let low = entry.low.and_then(address);
        let high = match entry.high {
            Some(AttributeValue::Udata(size)) => low.and_then(|low| low.checked_add(size)),
            Some(value) => address(value),
            None => None,
        };
        match (low, high) {
            (Some(low), Some(high)) => self.add(low, high, node),
            _ => {
                self.report.damaged_entries += 1;
                Ok(())
            }
        }
    }

    fn add(&mut self, low: u64, high: u64, node: NodeId) -> Result<(), UnitError> {
        let Some((start, end)) = self.builder.code.clip(low, high) else { return Ok(()) };
        let limit = self.builder.budget.limits().unit_rows;
        let rank = self.intervals.len() as u32;
        if rank >= limit {
            let what = "ranges of functions in a unit";
            return Err(ConvertError::TooLarge { what, limit: limit.into() }.into());
        }
        self.intervals.push(Interval { start, end, rank, value: node.code() });
        Ok(())
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    fn read(
        entries: &mut EntriesRaw<'_, Slice<'a>>,
        attributes: &[gimli::AttributeSpecification],
    ) -> gimli::Result<Self> {
        let mut entry = Self::default();
        for specification in attributes {
            let attribute = entries.read_attribute_inline(*specification)?;
            let name = attribute.name();
            if entry.naming.take(name, || attribute.value()) {
                continue;
            }
            match name {
                dw::DW_AT_low_pc => entry.low = Some(attribute.value()),
                dw::DW_AT_high_pc => entry.high = Some(attribute.value()),
                dw::DW_AT_ranges => entry.ranges = Some(attribute.value()),
                dw::DW_AT_call_line => entry.call_line = attribute.udata_value().unwrap_or(0),
                dw::DW_AT_call_file => {
                    entry.call_file = match attribute.value() {
                        AttributeValue::FileIndex(number) => number,
                        value => value.udata_value().unwrap_or(0),
                    }
                }
                _ => {}
            }
        }
        Ok(entry)
    }
}
