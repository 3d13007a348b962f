//! Sums by function: what answers which functions take the most CPU, and since when, without stacks.
//!
//! A *functions file* is derived from pairs of files of the hourly or the daily level and holds, for
//! each of them, the CPU time of every function, in itself and with what it calls, and the same by the
//! hour. What a function is, and how recursion, inlining and missing names count, is said in [`sum`];
//! queries that read stacks use the same code, so both ways give the same numbers.

mod make;
mod read;
mod sum;
mod table;

use fleetprof_proto::symbol::Reason;
use sha2::{Digest as _, Sha256};

pub use make::DeriveLimits;
pub use read::{FunctionHistory, FunctionPlace, FunctionSum, FunctionsWanted, OriginFilter};
pub use sum::{Amounts, FunctionSums, Functions};
pub use table::{FunctionOrigin, FunctionRow, FunctionTable};

/// Where functions files are, below the root of the store.
pub(crate) const FUNCTIONS: &str = "functions";

/// What makes a function another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionKey {
    /// Its name, or the address: `module+0xoffset`.
    pub function: String,
    /// Source file, empty when unknown.
    pub file: String,
    /// Name of the object, without directories; empty when unknown.
    pub module: String,
    /// Why it has no name, if it is an address.
    pub unnamed: Option<Reason>,
}

/// Stands for a function where its name would take too long to read: the first 64 bits of a SHA-256. Of
/// a million functions, two have the same one with a probability of 3 in 100 million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub i64);

// === impl FunctionKey ===

impl FunctionKey {
    /// A function with a name.
    pub fn new(function: String, file: &str, module: &str) -> Self {
        Self { function, file: file.to_owned(), module: module.to_owned(), unnamed: None }
    }

    /// What stands for it. Part of the format: it is the same for ever.
    pub fn id(&self) -> FunctionId {
        let mut digest = Sha256::new();
        for text in self.texts() {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&digest.finalize()[..8]);
        FunctionId(i64::from_le_bytes(id))
    }

    /// In the order by which functions are sorted in files.
    pub(crate) fn texts(&self) -> [&str; 4] {
        let unnamed = self.unnamed.map_or("", Reason::as_str);
        [&self.function, &self.file, &self.module, unnamed]
    }
}
