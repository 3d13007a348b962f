//! Call frame information: which functions a section describes, and the states of each.
//!
//! In: the bytes of `.eh_frame` or `.debug_frame`. Out: [`Piece`]s, and for one of them its states
//! as rules. The work for a function is bounded by the bytes of its instructions, and these are
//! charged to a budget.

use crate::budget::Budget;
use crate::code_map::CodeMap;
use crate::convert::Converter;
use crate::error::BuildError;
use crate::pieces::{Piece, Source};
use crate::stats::{Stats, Unsupported};
use crate::writer::Writer;
use fleetprof_abi::{Architecture, Rule, RuleKind, StopReason};
use gimli::{
    BaseAddresses, CommonInformationEntry, EndianSlice, FrameDescriptionEntry, LittleEndian,
    RegisterRule, UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
};
use rustc_hash::FxHashMap;

/// Bytes as gimli reads them.
pub(crate) type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// A state of the registers.
pub(crate) type State = UnwindTableRow<usize, Storage>;

/// Room for nested `remember_state`: compilers need two, assembly authors sometimes more.
const STACK_DEPTH: usize = 16;
/// Registers with a rule at a time: all of arm64, vectors included.
const MAX_RULES: usize = 128;
/// Common entries that are kept parsed.
const MAX_COMMON: usize = 1024;
/// Longest common entry: its instructions are interpreted for every function.
const MAX_COMMON_BYTES: usize = 4096;

/// Room for the states of a function.
pub(crate) struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(gimli::Register, RegisterRule<usize>); MAX_RULES];
    type Stack = Box<[State; STACK_DEPTH]>;
}

/// A section with call frame information.
pub(crate) struct Frames<'a, S: UnwindSection<Bytes<'a>>> {
    section: S,
    bases: BaseAddresses,
    architecture: Architecture,
    common: FxHashMap<usize, CommonInformationEntry<Bytes<'a>>>,
    context: Box<UnwindContext<usize, Storage>>,
    source: fn(u32) -> Source,
}

/// What an entry is, from its header.
struct Entry {
    offset: usize,
    next: usize,
    is_common: bool,
}

type Function<'a> = FrameDescriptionEntry<Bytes<'a>>;

// === impl Frames ===

impl<'a, S: UnwindSection<Bytes<'a>>> Frames<'a, S> {
    /// A section; `source` names its entries.
    pub(crate) fn new(
        section: S,
        bases: BaseAddresses,
        architecture: Architecture,
        source: fn(u32) -> Source,
    ) -> Self {
        Self {
            section,
            bases,
            architecture,
            common: FxHashMap::default(),
            context: Box::new(UnwindContext::new_in()),
            source,
        }
    }

    /// The functions that the section describes, in its order.
    pub(crate) fn pieces(
        &mut self,
        code: &CodeMap,
        budget: &mut Budget,
        stats: &mut Stats,
    ) -> Result<Vec<Piece>, BuildError> {
        let bytes = self.section.section().slice();
        let common_id = if S::has_zero_terminator() { 0 } else { u32::MAX };
        let mut pieces = Vec::new();
        let mut offset = 0;
        while let Some(entry) = Entry::read(bytes, offset, common_id) {
            budget.step(16)?;
            offset = entry.next;
            if entry.is_common {
                continue;
            }
            let range = self
                .function(entry.offset)
                .filter(|function| function.initial_address() != 0)
                .and_then(|function| code.range(function.initial_address(), function.len()));
            match (range, u32::try_from(entry.offset)) {
                (Some((start, end)), Ok(offset)) => {
                    pieces.push(Piece { start, end, source: (self.source)(offset) });
                }
                _ => stats.ignored += 1,
            }
        }
        Ok(pieces)
    }

    /// The function at an offset that [`Self::pieces`] gave.
    fn function(&mut self, offset: usize) -> Option<Function<'a>> {
        let Self { section, bases, common, .. } = self;
        let partial = section.partial_fde_from_offset(bases, offset.into()).ok()?;
        partial
            .parse(|section, bases, at| {
                let at: usize = gimli::UnwindOffset::into(at);
                if let Some(entry) = common.get(&at) {
                    return Ok(entry.clone());
                }
                let entry = section.cie_from_offset(bases, at.into())?;
                if entry.entry_len() > MAX_COMMON_BYTES {
                    return Err(gimli::Error::TooManyRegisterRules);
                }
                if common.len() >= MAX_COMMON {
                    common.clear();
                }
                common.insert(at, entry.clone());
                Ok(entry)
            })
            .ok()
    }

    /// Writes the rules of a piece. `is_trampoline` says whether signal frames of this code are
    /// those of Linux.
    pub(crate) fn write(
        &mut self,
        piece: Piece,
        offset: u32,
        base: impl FnOnce(u64) -> Option<u64>,
        is_trampoline: impl FnOnce() -> bool,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        let damaged = Rule::stop(StopReason::Damaged);
        let function = self.function(offset as usize);
        let begin = function.as_ref().and_then(|function| base(function.initial_address()));
        let (Some(function), Some(begin)) = (function, begin) else {
            output.stats.count(Unsupported::Damaged);
            return output.writer.set(piece.start, damaged);
        };
        output.stats.functions += 1;
        output.budget.step((function.entry_len() + function.cie().entry_len()) as u64)?;
        if function.is_signal_trampoline() {
            if is_trampoline() {
                return output.writer.set(piece.start, Rule::plain(RuleKind::Signal));
            }
            output.stats.count(Unsupported::SignalFrame);
        }
        let converter = Converter {
            architecture: self.architecture,
            section: &self.section,
            encoding: function.cie().encoding(),
            return_address: function.cie().return_address_register().0,
        };
        let Ok(mut rows) = function.rows(&self.section, &self.bases, &mut self.context) else {
            output.stats.count(Unsupported::Damaged);
            return output.writer.set(piece.start, damaged);
        };
        let mut position = piece.start;
        loop {
            match rows.next_row() {
                Ok(Some(row)) => {
                    let start = begin + (row.start_address() - function.initial_address());
                    let end = begin.saturating_add(
                        row.end_address().saturating_sub(function.initial_address()),
                    );
                    if start >= piece.end {
                        return Ok(());
                    }
                    if end <= piece.start || end <= start {
                        continue;
                    }
                    output.stats.states += 1;
                    let rule = converter.rule(row, output.stats);
                    output.writer.set(start.max(piece.start), rule)?;
                    position = end;
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    output.stats.count(Unsupported::Damaged);
                    return output.writer.set(position.clamp(piece.start, piece.end - 1), damaged);
                }
            }
        }
    }
}

/// Where rules go.
pub(crate) struct Output<'o> {
    pub(crate) writer: &'o mut Writer,
    pub(crate) stats: &'o mut Stats,
    pub(crate) budget: &'o mut Budget,
}

// === impl Entry ===

impl Entry {
    /// The entry at `offset`, or the next one behind terminators: some linkers leave one in the
    /// middle.
    fn read(bytes: &[u8], mut offset: usize, common_id: u32) -> Option<Self> {
        use crate::bytes::{u32_at, u64_at};
        let mut length;
        loop {
            length = u32_at(bytes, offset)?;
            if length != 0 {
                break;
            }
            offset += 4;
        }
        let (body, length) = match length {
            u32::MAX => (offset + 12, usize::try_from(u64_at(bytes, offset + 4)?).ok()?),
            length => (offset + 4, length as usize),
        };
        let next = body.checked_add(length).filter(|&next| next <= bytes.len() && next > body)?;
        let is_wide_debug = length > 8 && body - offset == 12 && common_id == u32::MAX;
        let is_common = if is_wide_debug {
            u64_at(bytes, body)? == u64::MAX
        } else {
            u32_at(bytes, body)? == common_id
        };
        Some(Self { offset, next, is_common })
    }
}
