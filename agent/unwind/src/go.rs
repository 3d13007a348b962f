//! Go code, by the function table that every Go binary has, stripped or not.
//!
//! In: the functions of `.gopclntab` and the bytes of the code. Out: [`Piece`]s, and for one of them
//! its rules. Go's table says how far the stack pointer has moved; where the frame pointer was saved
//! is told by the instructions that open a frame. Go keeps no other registers for its caller.

use crate::error::BuildError;
use crate::frames::Output;
use crate::go_text::TextStart;
use crate::machine;
use crate::pieces::{Piece, Source};
use crate::source::Window;
use fleetprof_abi::{Architecture, FpRule, LOST, RaRule, Rule, RuleKind, StopReason, TRACKED};
use fleetprof_gopclntab::{Function, FunctionTable};

/// A Go binary's functions, and where they are.
pub(crate) struct GoFunctions<'a> {
    table: FunctionTable<'a>,
    text: TextStart,
    architecture: Architecture,
}

/// What of a function decides its rules.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Where its frame is opened: bytes from its entry to the instruction after.
    opened: Option<u32>,
    /// Its frame is opened the way Go's compiler and assembler do it: its caller's frame pointer is
    /// saved at the place that Go has for it.
    saves_pointer: bool,
    /// From here on that is so; before, it is not saved yet.
    saved_from: u32,
    /// It goes to another stack.
    switches: bool,
}

/// The handler of signals: it has no caller in Go, but it interrupted code that is of interest.
const SIGNAL_HANDLER: &str = "runtime.sigtramp";
/// Bytes before and behind the opening of a frame that are looked at.
pub(crate) const BEFORE: u64 = 8;
pub(crate) const AROUND: usize = 16;

/// Functions are aligned to 64 bytes at most.
const MAX_PADDING: u32 = 64;

const WORD: i32 = 8;

// === impl GoFunctions ===

impl<'a> GoFunctions<'a> {
    pub(crate) fn new(
        table: FunctionTable<'a>,
        text: TextStart,
        architecture: Architecture,
    ) -> Self {
        Self { table, text, architecture }
    }

    /// The functions, in order of position.
    pub(crate) fn pieces(
        &self,
        window: &mut Window<'_>,
        output: &mut Output<'_>,
    ) -> Result<Vec<Piece>, BuildError> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (number, function) in self.table.functions() {
            output.budget.step(16)?;
            let (Some((start, end)), Ok(number)) =
                (self.text.range(&function), u32::try_from(number))
            else {
                output.stats.ignored += 1;
                continue;
            };
            let mut piece = Piece { start, end, source: Source::Go(number) };
            if function.is_assembly() && self.is_trampoline(window, start) {
                // A walk looks up the byte before the address that a handler returns to.
                piece.start -= 1;
                if let Some(before) = pieces.last_mut() {
                    before.end = before.end.min(piece.start);
                }
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Writes the rules of a piece.
    pub(crate) fn write(
        &self,
        piece: Piece,
        number: u32,
        window: &mut Window<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        let function = self.table.functions().get(number as usize);
        let located = function.and_then(|function| Some((function, self.text.range(&function)?.0)));
        let Some((function, base)) = located else {
            return output.writer.set(piece.start, Rule::stop(StopReason::Damaged));
        };
        output.stats.functions += 1;
        if function.is_assembly() && self.is_trampoline(window, base) {
            return output.writer.set(piece.start, Rule::plain(RuleKind::Signal));
        }
        if function.is_top_frame() && function.name() != Some(SIGNAL_HANDLER) {
            return output.writer.set(piece.start, Rule::plain(RuleKind::Root));
        }
        let shape = self.shape(&function, base, window);
        let mut end = 0;
        for range in function.stack_deltas() {
            output.budget.step(4)?;
            output.stats.states += 1;
            end = range.end;
            let saved_from = shape.saved_from.clamp(range.start, range.end);
            for (start, end, is_saved) in
                [(range.start, saved_from, false), (saved_from, range.end, true)]
            {
                if start < end {
                    let rule = self.rule(&shape, range.value, is_saved);
                    self.set(piece, base, start, rule, output)?;
                }
            }
        }
        // Behind the last range is padding, which is never executed, and needs no rule of its own.
        if end == 0 || function.end - function.start - end > MAX_PADDING {
            self.set(piece, base, end, Rule::plain(RuleKind::Unknown), output)?;
        }
        Ok(())
    }

    fn set(
        &self,
        piece: Piece,
        base: u64,
        offset: u32,
        rule: Rule,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        let position = base + u64::from(offset);
        if position < piece.end {
            output.writer.set(position.max(piece.start), rule)?;
        }
        Ok(())
    }

    fn is_trampoline(&self, window: &mut Window<'_>, position: u64) -> bool {
        let code = window.bytes(position, machine::TRAMPOLINE_BYTES);
        machine::trampoline(self.architecture, code).is_some()
    }

    fn shape(&self, function: &Function<'_>, base: u64, window: &mut Window<'_>) -> Shape {
        let switches = function.writes_stack_pointer();
        let Some(range) = function.stack_deltas().find(|range| range.value > 0) else {
            return Shape { switches, ..Shape::default() };
        };
        let opened = Some(range.start);
        let (before, after) = around(window, base, range.start);
        let saves_pointer = opening(self.architecture, before, after);
        let saved_from = range.start + saves_pointer.unwrap_or_default();
        Shape { opened, saves_pointer: saves_pointer.is_some(), saved_from, switches }
    }

    fn rule(&self, shape: &Shape, delta: i32, is_saved: bool) -> Rule {
        let saves = shape.saves_pointer && is_saved;
        let rule = match self.architecture {
            Architecture::X86_64 => x86_64(shape, delta, saves),
            Architecture::Aarch64 => aarch64(shape, delta, saves),
        };
        rule.unwrap_or(Rule::stop(StopReason::Unsupported))
    }
}

/// The bytes before and behind a place of a function.
pub(crate) fn around<'w>(
    window: &'w mut Window<'_>,
    base: u64,
    offset: u32,
) -> (&'w [u8], &'w [u8]) {
    let before = BEFORE.min(offset.into());
    let bytes = window.bytes(base + u64::from(offset) - before, before as usize + AROUND);
    bytes.split_at_checked(before as usize).unwrap_or_default()
}

/// Whether a frame is opened between `before` and `after` in the way of Go's compiler and assembler:
/// bytes from there to where the caller's frame pointer is saved.
pub(crate) fn opening(architecture: Architecture, before: &[u8], after: &[u8]) -> Option<u32> {
    match architecture {
        // push %rbp | mov %rsp, %rbp
        Architecture::X86_64
            if before.ends_with(&[0x55]) && after.starts_with(&[0x48, 0x89, 0xe5]) =>
        {
            Some(0)
        }
        // sub $n, %rsp | mov %rbp, n-8(%rsp): Go before 1.21
        Architecture::X86_64 if after.starts_with(&[0x48, 0x89, 0x6c, 0x24]) => Some(5),
        Architecture::X86_64 if after.starts_with(&[0x48, 0x89, 0xac, 0x24]) => Some(8),
        Architecture::X86_64 => None,
        Architecture::Aarch64 => {
            let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            let last = before.len().checked_sub(4).and_then(|at| word(before.get(at..)?))?;
            // str x30, [sp, #-n]! | stur x29, [sp, #-8]
            let stores_link = last & 0xffe0_0fff == 0xf800_0ffe;
            // stp x29, x30, [x20, #-8]; mov sp, x20 |
            let moved = last == 0x9100_029f;
            match word(after) {
                Some(0xf81f_83fd) if stores_link => Some(4),
                _ => (stores_link || moved).then_some(0),
            }
        }
    }
}

/// The rule where the stack pointer is `delta` below its value at the entry.
fn x86_64(shape: &Shape, delta: i32, saves: bool) -> Option<Rule> {
    let at_cfa = Rule::fp_ra(FpRule::AtCfa, RaRule::AtCfa);
    if shape.switches && (delta > 0 || shape.opened.is_none()) {
        // The stack pointer may be one of another stack; the frame pointer leads back.
        return Some(Rule {
            kind: RuleKind::FramePointer as u8,
            cfa_register: Architecture::X86_64.frame_pointer(),
            cfa_offset: 2 * WORD,
            fp_ra: at_cfa,
            fp_offset: -2,
            ra_offset: -1,
            ..KEEPS_NOTHING
        });
    }
    Some(Rule {
        cfa_register: Architecture::X86_64.stack_pointer(),
        cfa_offset: Some(delta).filter(|&delta| delta >= 0)?.checked_add(WORD)?,
        fp_ra: if delta > 0 && saves { at_cfa } else { Rule::fp_ra(FpRule::Same, RaRule::AtCfa) },
        fp_offset: if delta > 0 && saves { -2 } else { 0 },
        ra_offset: -1,
        ..KEEPS_NOTHING
    })
}

/// The same for arm64, where a frame has the return address at its low end and the caller's frame
/// pointer right below it.
fn aarch64(shape: &Shape, delta: i32, saves: bool) -> Option<Rule> {
    let (fp, sp) = (Architecture::Aarch64.frame_pointer(), Architecture::Aarch64.stack_pointer());
    let pointer = RuleKind::FramePointer as u8;
    if shape.opened.is_none() && shape.switches {
        return Some(Rule {
            kind: pointer,
            cfa_register: fp,
            cfa_offset: 2 * WORD,
            fp_ra: Rule::fp_ra(FpRule::AtCfa, RaRule::AtCfa),
            fp_offset: -2,
            ra_offset: -1,
            ..KEEPS_NOTHING
        });
    }
    if delta == 0 {
        let fp_ra = Rule::fp_ra(FpRule::Same, RaRule::InLinkRegister);
        return Some(Rule { cfa_register: sp, fp_ra, ..KEEPS_NOTHING });
    }
    if !shape.saves_pointer {
        // Assembly with a frame of its own making.
        return Some(Rule::plain(RuleKind::Unknown));
    }
    let words = i16::try_from(delta / WORD).ok().filter(|&words| words > 0 && delta % WORD == 0)?;
    let (kind, cfa_register, cfa_offset) =
        if shape.switches { (pointer, fp, WORD + delta) } else { (KEEPS_NOTHING.kind, sp, delta) };
    Some(Rule {
        kind,
        cfa_register,
        cfa_offset,
        fp_ra: Rule::fp_ra(if saves { FpRule::AtCfa } else { FpRule::Same }, RaRule::AtCfa),
        fp_offset: if saves { -words - 1 } else { 0 },
        ra_offset: -words,
        ..KEEPS_NOTHING
    })
}

const KEEPS_NOTHING: Rule = Rule {
    kind: RuleKind::Cfa as u8,
    cfa_register: 0,
    fp_ra: 0,
    saved: [LOST; TRACKED],
    fp_offset: 0,
    ra_offset: 0,
    cfa_offset: 0,
};
