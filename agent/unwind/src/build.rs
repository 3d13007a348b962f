//! An ELF file → its table.
//!
//! ```text
//! .eh_frame ─┐
//! .plt…      │
//! .gopclntab ├→ pieces (flat) → rules by rising position → Writer → UnwindTable
//! .debug_frame     gaps ─────────┘
//! ```
//! What is further up wins where two describe the same code.

use crate::budget::Budget;
use crate::elf::Image;
use crate::error::{BuildError, Limits};
use crate::frames::{Frames, Output};
use crate::gaps::Gaps;
use crate::go::GoFunctions;
use crate::go_text::TextStart;
use crate::machine;
use crate::pieces::{Piece, Source, flatten, underlay};
use crate::plt;
use crate::sections::{self, FrameBytes};
use crate::source::{ReadAt, Window};
use crate::stats::{Stats, Unsupported};
use crate::table::UnwindTable;
use crate::writer::Writer;
use fleetprof_abi::{Rule, RuleKind, StopReason};
use fleetprof_gopclntab::FunctionTable;
use gimli::{DebugFrame, EhFrame, LittleEndian, Vendor};

/// Bytes of a program's first function, if nothing tells its end.
const ENTRY_BYTES: u64 = 64;
/// Bytes at the start of a linkage table that tell its kind.
const PLT_HEAD: usize = 64;
/// Bytes at the start of a signal frame that are searched for the trampoline.
const SIGNAL_HEAD: u64 = 256;

/// Makes the unwind table of `binary`.
///
/// `debug` is the file with the binary's debug information, where that is separate: its
/// `.debug_frame` is used for code that the binary itself does not describe.
///
/// # Errors
/// When the binary is no ELF file that is supported, is damaged, cannot be read, or needs more than
/// `limits` allow.
pub fn build(
    binary: &dyn ReadAt,
    debug: Option<&dyn ReadAt>,
    limits: &Limits,
) -> Result<UnwindTable, BuildError> {
    let image = Image::read(binary)?;
    let (Some(first), Some(last)) = (image.code.segments().first(), image.code.segments().last())
    else {
        return Err(BuildError::NoCode);
    };
    let not_code = Rule::stop(StopReason::NotCode);
    let mut writer = Writer::new(first.position, not_code, *limits)?;
    let mut stats = Stats::default();
    let mut budget = Budget::new(*limits);
    let mut output = Output { writer: &mut writer, stats: &mut stats, budget: &mut budget };
    Builder::new(&image, debug, limits, output.stats)?.run(&mut output)?;
    writer.set(last.end(), not_code)?;
    UnwindTable::lay_out(image.architecture, &writer.finish(last.end())?, stats)
}

/// A part, or nothing where it cannot be read: the others are as good as before.
fn usable<T>(read: Result<Option<T>, BuildError>, stats: &mut Stats) -> Option<T> {
    read.unwrap_or_else(|_| {
        stats.count(Unsupported::Damaged);
        None
    })
}

/// The sections that tell rules, in memory.
struct Builder<'i, 'f> {
    image: &'i Image<'f>,
    eh_frame: Option<FrameBytes>,
    debug_frame: Option<FrameBytes>,
    go_functions: Option<Vec<u8>>,
    gaps: Gaps,
}

// === impl Builder ===

impl<'i, 'f> Builder<'i, 'f> {
    fn new(
        image: &'i Image<'f>,
        debug: Option<&dyn ReadAt>,
        limits: &Limits,
        stats: &mut Stats,
    ) -> Result<Self, BuildError> {
        let limit = limits.frame_bytes;
        let mut debug_frame = usable(sections::debug_frame(image, limit), stats);
        if let (None, Some(debug)) = (&debug_frame, debug) {
            let read = Image::read(debug).and_then(|debug| sections::debug_frame(&debug, limit));
            debug_frame = usable(read, stats);
        }
        Ok(Self {
            image,
            eh_frame: sections::eh_frame(image, limit)?,
            debug_frame,
            go_functions: usable(sections::go_functions(image, limit), stats),
            gaps: Gaps { architecture: image.architecture, scan_bytes: limits.scan_bytes },
        })
    }

    fn run(mut self, output: &mut Output<'_>) -> Result<(), BuildError> {
        let (eh_frame, debug_frame) = (self.eh_frame.take(), self.debug_frame.take());
        let go_bytes = self.go_functions.take();
        let architecture = self.image.architecture;
        let mut eh_frames = eh_frame.as_ref().map(|frames| {
            let mut section = EhFrame::new(&frames.bytes, LittleEndian);
            section.set_vendor(Vendor::AArch64);
            Frames::new(section, frames.bases.clone(), architecture, Source::EhFrame)
        });
        let mut debug_frames = debug_frame.as_ref().map(|frames| {
            let mut section = DebugFrame::new(&frames.bytes, LittleEndian);
            section.set_vendor(Vendor::AArch64);
            Frames::new(section, frames.bases.clone(), architecture, Source::DebugFrame)
        });
        let sizes = [&eh_frame, &debug_frame];
        let bytes = sizes.iter().map(|part| part.as_ref().map_or(0, |part| part.bytes.len()));
        let go_functions = go_bytes.as_ref().and_then(|bytes| self.go(bytes, output.stats));
        let go_size = go_functions.as_ref().and(go_bytes.as_ref()).map_or(0, Vec::len);
        output.stats.frame_bytes = (bytes.sum::<usize>() + go_size) as u64;
        let code = &self.image.code;
        let mut pieces = Vec::new();
        if let Some(frames) = &mut eh_frames {
            pieces = frames.pieces(code, output.budget, output.stats)?;
            flatten(&mut pieces);
        }
        pieces = underlay(pieces, self.plts());
        let mut window = Window::new(self.image.file, self.image.length);
        if let Some(functions) = &go_functions {
            let mut lower = functions.pieces(&mut window, output)?;
            flatten(&mut lower);
            pieces = underlay(pieces, lower);
        }
        if let Some(frames) = &mut debug_frames {
            let mut lower = frames.pieces(code, output.budget, output.stats)?;
            flatten(&mut lower);
            pieces = underlay(pieces, lower);
        }
        pieces = underlay(pieces, self.entry());

        let image = self.image;
        let mut walk = Walk { image, eh_frames, debug_frames, go_functions, gaps: self.gaps };
        walk.segments(&pieces, output)
    }

    /// Go's functions, if they can be found.
    fn go<'b>(&self, bytes: &'b [u8], stats: &mut Stats) -> Option<GoFunctions<'b>> {
        let table = FunctionTable::parse(bytes).ok();
        let found = table.and_then(|table| {
            let text = TextStart::find(self.image, &table, self.gaps.scan_bytes)?;
            Some(GoFunctions::new(table, text, self.image.architecture))
        });
        if found.is_none() {
            stats.count(Unsupported::Go);
        }
        found
    }

    /// Linkage tables.
    fn plts(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = (0..)
            .zip(self.image.sections())
            .filter(|(_, section)| plt::is_plt(section))
            .filter_map(|(number, section)| {
                let (start, end) = self.image.code.range(section.address, section.size)?;
                Some(Piece { start, end, source: Source::Plt(number) })
            })
            .collect();
        flatten(&mut pieces);
        pieces
    }

    /// Code at the entry point.
    fn entry(&self) -> Vec<Piece> {
        let entry = self.image.entry;
        let range = self.image.code.range(entry, ENTRY_BYTES).filter(|_| entry != 0);
        range.map(|(start, end)| Piece { start, end, source: Source::Entry }).into_iter().collect()
    }
}

/// Goes over the code once, from its beginning to its end.
struct Walk<'i, 'f, 'b> {
    image: &'i Image<'f>,
    eh_frames: Option<Frames<'b, EhFrame<crate::frames::Bytes<'b>>>>,
    debug_frames: Option<Frames<'b, DebugFrame<crate::frames::Bytes<'b>>>>,
    go_functions: Option<GoFunctions<'b>>,
    gaps: Gaps,
}

// === impl Walk ===

impl Walk<'_, '_, '_> {
    fn segments(&mut self, pieces: &[Piece], output: &mut Output<'_>) -> Result<(), BuildError> {
        let mut window = Window::new(self.image.file, self.image.length);
        let mut next = pieces.iter().copied().peekable();
        let not_code = Rule::stop(StopReason::NotCode);
        for segment in self.image.code.segments() {
            output.stats.code_bytes += segment.size;
            let mut position = segment.position;
            let mut between = false;
            while let Some(piece) = next.next_if(|piece| piece.start < segment.end()) {
                if piece.start > position {
                    self.gaps.write(&mut window, position, piece.start, between, output)?;
                }
                position = piece.end;
                let follower = next.peek().map_or(segment.end(), |next| next.start);
                let gap_end = follower.min(segment.end());
                let mut piece = piece;
                if gap_end > piece.end
                    && self.gaps.begins_with_trampoline(&mut window, piece.end, gap_end)
                    && piece.end - piece.start > 1
                {
                    // The row of a trampoline begins one byte before it.
                    piece.end -= 1;
                    position = piece.end;
                }
                self.piece(piece, &mut window, output)?;
                between = true;
            }
            if position < segment.end() {
                self.gaps.write(&mut window, position, segment.end(), false, output)?;
            }
            output.writer.set(segment.end(), not_code)?;
        }
        Ok(())
    }

    fn piece(
        &mut self,
        piece: Piece,
        window: &mut Window<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        let Image { code, architecture, .. } = self.image;
        let base = |address| code.position(address).map(|(position, _)| position);
        let is_trampoline = || {
            let length = SIGNAL_HEAD.min(piece.end - piece.start) as usize;
            machine::find_trampoline(*architecture, window.bytes(piece.start, length)).is_some()
        };
        match (piece.source, &mut self.eh_frames, &mut self.debug_frames) {
            (Source::EhFrame(offset), Some(frames), _) => {
                frames.write(piece, offset, base, is_trampoline, output)
            }
            (Source::DebugFrame(offset), _, Some(frames)) => {
                frames.write(piece, offset, base, is_trampoline, output)
            }
            (Source::Go(number), ..) if let Some(functions) = &self.go_functions => {
                functions.write(piece, number, window, output)
            }
            (Source::Plt(number), ..) => {
                let section = self.image.sections().get(number as usize);
                let start = section.and_then(|section| base(section.address));
                let start = start.unwrap_or(piece.start);
                let head = window.bytes(start, PLT_HEAD);
                plt::write(*architecture, piece, start, head, output)
            }
            (Source::Entry, ..) => output.writer.set(piece.start, Rule::plain(RuleKind::Root)),
            _ => output.writer.set(piece.start, Rule::plain(RuleKind::Unknown)),
        }
    }
}
