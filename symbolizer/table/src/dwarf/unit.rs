//! One unit: its lines and its functions, joined.

use std::rc::Rc;

use gimli::{Dwarf, Unit, constants as dw};

use super::{
    Slice, UnitError,
    entries::Walk,
    lines::{self, Files, Span},
    names::Names,
};
use crate::{
    builder::{Builder, NodeId},
    convert::Report,
    error::ConvertError,
    overlay::{Interval, Piece, overlay},
    runs::{Content, Row},
    symbols::Symbols,
};

/// Memory used for every unit.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    spans: Vec<Span>,
    intervals: Vec<Interval>,
    pieces: Vec<Piece>,
}

/// Where the lines of a unit are: with a split unit, not in its own file.
#[derive(Clone, Copy)]
pub(super) struct LineSource<'l, 'a> {
    pub(super) dwarf: &'l Dwarf<Slice<'a>>,
    pub(super) unit: &'l Unit<Slice<'a>>,
}

/// Reads units.
pub(super) struct Reader<'r, 's> {
    pub(super) builder: &'r mut Builder,
    pub(super) symbols: &'r Symbols<'s>,
    pub(super) report: &'r mut Report,
    pub(super) scratch: &'r mut Scratch,
}

/// What was decided last about the name of a function's code.
#[derive(Clone, Copy, Default)]
struct Decision {
    region: Option<usize>,
    root: Option<NodeId>,
    /// The function that takes its place.
    other: Option<NodeId>,
}

// === impl Reader ===

impl Reader<'_, '_> {
    /// Adds a unit; a damaged one as far as it can be read.
    pub(super) fn read<'a>(
        &mut self,
        unit: &Rc<Unit<Slice<'a>>>,
        names: &mut Names<'_, 'a>,
        lines: LineSource<'_, 'a>,
    ) -> Result<(), UnitError> {
        let root = unit.entries_raw(None)?.read_abbreviation()?;
        if root.is_some_and(|root| root.tag() == dw::DW_TAG_partial_unit) {
            // Holds what others refer to, and no code; its lines are another unit's.
            return Ok(());
        }
        self.builder.forget_nodes();
        let mut files = Files::new(lines.dwarf, lines.unit);
        let program = lines.unit.line_program.as_ref();
        let Scratch { spans, intervals, .. } = self.scratch;
        let read_lines = match program {
            Some(program) => lines::read(program, &mut files, self.builder, spans),
            None => {
                spans.clear();
                Ok(())
            }
        };
        if let Err(UnitError::Stop(error)) = read_lines {
            return Err(error.into());
        }
        intervals.clear();
        let (builder, report) = (&mut *self.builder, &mut *self.report);
        let mut walk = Walk { unit, names, files: &mut files, builder, report, intervals };
        let walked = walk.run();
        if let Err(UnitError::Stop(error)) = walked {
            return Err(error.into());
        }
        overlay(&mut self.scratch.intervals, &mut self.scratch.pieces);
        self.rename()?;
        self.join()?;
        read_lines.and(walked)
    }

    /// Gives code the function's name that its symbol has, where the debug information has another.
    fn rename(&mut self) -> Result<(), ConvertError> {
        let mut pieces = std::mem::take(&mut self.scratch.pieces);
        let mut cut_pieces: Vec<Piece> = Vec::new();
        let mut decision = Decision::default();
        for (number, piece) in pieces.iter().enumerate() {
            let mut at = piece.start;
            while at < piece.end {
                self.builder.step(1)?;
                let region = self.symbols.find(at);
                let end = match region {
                    Some(region) => self.symbols.regions()[region].end.min(piece.end),
                    None => piece.end,
                };
                let value = self.renamed(piece.value, region, &mut decision)?;
                let is_same = (value, end) == (piece.value, piece.end) && at == piece.start;
                if !is_same && cut_pieces.is_empty() {
                    cut_pieces.extend_from_slice(&pieces[..number]);
                }
                if !is_same || !cut_pieces.is_empty() {
                    cut_pieces.push(Piece { start: at, end, value });
                }
                at = end;
            }
        }
        if !cut_pieces.is_empty() {
            pieces = cut_pieces;
        }
        self.scratch.pieces = pieces;
        Ok(())
    }

    /// The node that stands for `node` in a region of the symbols.
    fn renamed(
        &mut self,
        node: u32,
        region: Option<usize>,
        last: &mut Decision,
    ) -> Result<u32, ConvertError> {
        let (Some(id), Some(number)) = (NodeId::from_code(node), region) else { return Ok(node) };
        let mut root = id;
        while let Some(caller) = self.builder.caller_of(root) {
            root = caller;
        }
        if (last.region, last.root) != (region, Some(root)) {
            let known = self.builder.function_of(root).map(|f| self.builder.name_of(f));
            let region = &self.symbols.regions()[number];
            let other = match self.symbols.other_name(region, known.unwrap_or_default()) {
                Some(name) => {
                    let function = self.builder.function(name)?;
                    Some(self.builder.outermost(Some(function))?)
                }
                None => None,
            };
            *last = Decision { region: Some(number), root: Some(root), other };
        }
        match last.other {
            Some(other) => Ok(self.builder.within(id, other)?.code()),
            None => Ok(node),
        }
    }

    /// Adds a row wherever the function or the line changes.
    fn join(&mut self) -> Result<(), ConvertError> {
        let Scratch { spans, pieces, .. } = self.scratch;
        let mut pieces = pieces.iter().copied().peekable();
        let mut spans = spans.iter().copied().peekable();
        let mut at = 0;
        loop {
            while pieces.next_if(|piece| piece.end <= at).is_some() {}
            while spans.next_if(|span| span.end <= at).is_some() {}
            let (piece, span) = (pieces.peek(), spans.peek());
            let starts = [piece.map(|piece| piece.start), span.map(|span| span.start)];
            let Some(first) = starts.into_iter().flatten().min() else { break };
            at = at.max(first);
            let piece_here = piece.filter(|piece| piece.start <= at);
            let span_here = span.filter(|span| span.start <= at);
            let ends = [
                piece.map(|piece| if piece.start <= at { piece.end } else { piece.start }),
                span.map(|span| if span.start <= at { span.end } else { span.start }),
            ];
            let end = ends.into_iter().flatten().min().unwrap_or(at);
            let content = Content {
                node: piece_here.map_or(0, |piece| piece.value),
                file: span_here.map_or(0, |span| span.file),
                line: span_here.map_or(0, |span| span.line),
            };
            self.builder.step(1)?;
            self.builder.relative_row(Row { address: at, content }, end)?;
            at = end;
        }
        self.builder.end_run();
        Ok(())
    }
}
