//! Which pieces are answered from functions files.

use std::{collections::HashSet, sync::Arc};

use super::Piece;
use crate::{
    catalog::FunctionFile,
    functions::{FunctionsWanted, OriginFilter},
    level::{HOUR, Level, MINUTE},
};

/// A functions file, and the pieces that it is read for.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionPiece {
    /// Which.
    pub file: Arc<FunctionFile>,
    /// What it stands for, or some of it.
    pub pieces: Vec<Piece>,
    /// Only hours whose middle is in this range; `None`: all of the pieces.
    pub hours: Option<(i64, i64)>,
}

/// Sorts pieces by whether a functions file says what is asked for. It knows hours: pieces of which
/// parts of hours are wanted, and steps that are no whole hours (`step`, nanoseconds; 0: none), are read
/// from stacks.
pub fn split_functions(pieces: Vec<Piece>, step: i64) -> (Vec<FunctionPiece>, Vec<Piece>) {
    let (mut functions, mut others): (Vec<FunctionPiece>, Vec<Piece>) = (Vec::new(), Vec::new());
    for piece in pieces {
        let is_whole = is_whole(&piece);
        // A daily pair has nothing finer than hours itself.
        let suffices = is_whole || piece.file.file.level == Level::Daily;
        let Some(file) = piece.file.functions.clone().filter(|_| suffices && step % HOUR == 0)
        else {
            others.push(piece);
            continue;
        };
        let hours = (!is_whole).then_some(piece.range);
        // Pieces are in order of time, so those of one functions file are close.
        let mut known = functions.iter_mut().rev();
        match known.find(|known| known.file.id == file.id && known.hours == hours) {
            Some(known) => known.pieces.push(piece),
            None => functions.push(FunctionPiece { file, pieces: vec![piece], hours }),
        }
    }
    (functions, others)
}

/// Whether all rows of a pair are wanted: the range has all of its hour or day, or all that there is.
fn is_whole(piece: &Piece) -> bool {
    let file = &piece.file.file;
    let bucket = (file.bucket, file.bucket.saturating_add(file.level.span()));
    let width = match file.level {
        Level::Fine => return false,
        Level::Hourly => MINUTE,
        Level::Daily => HOUR,
    };
    // Rows are of whole minutes or hours, around the time for which there are data.
    let (start, end) = file.range();
    let rows = (
        start.saturating_sub(start.rem_euclid(width)),
        end.saturating_add((-end).rem_euclid(width)),
    );
    let covers = |(start, end): (i64, i64)| piece.range.0 <= start && end <= piece.range.1;
    covers(bucket) || covers(rows)
}

// === impl FunctionPiece ===

impl FunctionPiece {
    /// Whether all of the functions file is wanted, as far as services go.
    pub fn is_whole(&self) -> bool {
        self.hours.is_none() && self.wanted(None).files.is_none()
    }

    /// What of the functions file is wanted.
    pub fn wanted(&self, origin: Option<OriginFilter>) -> FunctionsWanted {
        let ids: HashSet<_> = self.pieces.iter().map(|piece| piece.file.file.id).collect();
        let is_all = ids.len() as u64 == self.file.covers;
        FunctionsWanted { files: (!is_all).then_some(ids), origin, hours: self.hours }
    }
}
