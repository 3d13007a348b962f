//! Names of code, which are given from outside.

use fleetprof_proto::{batch::Batch, symbol::Line};

/// Knows the names of code as far as they are there.
pub trait Namer: Send + Sync + 'static {
    /// The lines of each frame row, innermost first; empty where there is no name now. Blocks.
    fn names(&self, code: &Batch) -> Vec<Vec<Line>>;
}
