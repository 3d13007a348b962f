//! Ranges of a file, and what tells their rules.

use std::cmp::Reverse;

/// A range of positions whose rules come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    /// One past the last byte; greater than `start`.
    pub(crate) end: u64,
    pub(crate) source: Source,
}

/// What tells the rules of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The entry at this offset of `.eh_frame`.
    EhFrame(u32),
    /// The entry at this offset of `.debug_frame`.
    DebugFrame(u32),
    /// A function of Go, by its number.
    Go(u32),
    /// A procedure linkage table, by number of the section.
    Plt(u32),
    /// Code at the entry point of a program: it has no caller.
    Entry,
}

/// Sorts pieces and cuts overlaps: of two that hold a position, the one that starts later has it,
/// as the unwinder of libgcc sees it; of two with the same start the longer one, then the first.
pub(crate) fn flatten(pieces: &mut Vec<Piece>) {
    pieces.sort_by_key(|piece| (piece.start, Reverse(piece.end)));
    pieces.dedup_by_key(|piece| piece.start);
    let mut next = u64::MAX;
    for piece in pieces.iter_mut().rev() {
        piece.end = piece.end.min(next);
        next = piece.start;
    }
}

/// Adds `lower` where `upper` has nothing; both are flat, and so is what comes out.
pub(crate) fn underlay(upper: Vec<Piece>, lower: Vec<Piece>) -> Vec<Piece> {
    if lower.is_empty() {
        return upper;
    }
    let mut merged = Vec::with_capacity(upper.len() + lower.len());
    let mut uppers = upper.into_iter().peekable();
    for mut piece in lower {
        while piece.start < piece.end {
            let Some(above) = uppers.next_if(|above| above.start < piece.end) else { break };
            if above.start > piece.start {
                merged.push(Piece { end: above.start, ..piece });
            }
            piece.start = piece.start.max(above.end);
            merged.push(above);
        }
        if piece.start < piece.end {
            merged.push(piece);
        }
    }
    merged.extend(uppers);
    merged
}
