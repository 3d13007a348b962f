//! Names of code, which are given from outside.

use fleetprof_proto::{
    batch::Batch,
    ids::ObjectId,
    symbol::{Line, Symbol},
};

/// Knows the names of code as far as they are there.
pub trait Namer: Send + Sync + 'static {
    /// The name of each frame row, or why there is none now. Blocks.
    fn symbols(&self, code: &Batch) -> Vec<Symbol>;

    /// Whether an object, which had no names before, has some now. Blocks.
    fn has_names(&self, object: &ObjectId) -> bool;

    /// The lines of each frame row, innermost first; empty where there is no name now. Blocks.
    fn names(&self, code: &Batch) -> Vec<Vec<Line>> {
        let lines = |symbol| match symbol {
            Symbol::Named(lines) => lines,
            Symbol::Unknown(_) => Vec::new(),
        };
        self.symbols(code).into_iter().map(lines).collect()
    }
}
