//! Which pieces are answered from functions files.

use std::{collections::HashSet, sync::Arc};

use super::Piece;
use crate::{
    catalog::FunctionFile,
    functions::{FunctionsWanted, OriginFilter},
    level::{HOUR, Level},
};

/// A functions file, and the pieces that it is read for.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionPiece {
    /// Which.
    pub file: Arc<FunctionFile>,
    /// What it stands for. They say the same.
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
        let row = &piece.file;
        let end = row.file.bucket.saturating_add(row.file.level.span());
        let is_whole = piece.range.0 <= row.file.bucket && end <= piece.range.1;
        // A daily pair has nothing finer than hours itself.
        let suffices = is_whole || row.file.level == Level::Daily;
        let Some(file) = row.functions.clone().filter(|_| suffices && step % HOUR == 0) else {
            others.push(piece);
            continue;
        };
        let hours = (!is_whole).then_some(piece.range);
        // Files are in order of time, so those of one functions file are close.
        let known = functions.iter_mut().rev().find(|it| it.file.id == file.id);
        match known {
            Some(known) if known.hours == hours => known.pieces.push(piece),
            Some(_) => others.push(piece),
            None => functions.push(FunctionPiece { file, pieces: vec![piece], hours }),
        }
    }
    (functions, others)
}

// === impl FunctionPiece ===

impl FunctionPiece {
    /// What of the functions file is wanted.
    pub fn wanted(&self, origin: Option<OriginFilter>) -> FunctionsWanted {
        let ids: HashSet<_> = self.pieces.iter().map(|piece| piece.file.file.id).collect();
        let is_all = ids.len() as u64 == self.file.covers;
        FunctionsWanted { files: (!is_all).then_some(ids), origin, hours: self.hours }
    }
}
