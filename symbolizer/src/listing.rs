//! The functions of a kernel, read from a listing of its symbols.
//!
//! In: the path of a listing. Out: one [`Symbol`] per address. The whole listing is parsed when it is
//! opened: some 200,000 symbols, in some 30 ms.

use std::{
    io::{self, Read},
    path::Path,
    sync::{Mutex, PoisonError},
};

use fleetprof_proto::symbol::{Line, Reason, Symbol};
use thiserror::Error;

use crate::{
    identity::{self, IdentityError},
    kallsyms::{Kallsyms, KallsymsError, MAX_LISTING_BYTES},
    names::Names,
};

/// Most memory for the names that were given out, bytes.
const MAX_NAMES_BYTES: usize = 16 << 20;

/// The symbols of a kernel or of one of its modules.
#[derive(Debug)]
pub struct KernelListing {
    symbols: Kallsyms,
    names: Mutex<Names>,
}

/// A listing that cannot be used.
#[derive(Debug, Error)]
pub enum ListingError {
    /// It cannot be opened.
    #[error("{0}")]
    File(#[from] IdentityError),
    /// It cannot be read.
    #[error("cannot read the listing: {0}")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("{0}")]
    Content(#[from] KallsymsError),
}

// === impl KernelListing ===

impl KernelListing {
    /// Reads the listing at `path`. Never waits: a pipe or a device is refused.
    ///
    /// # Errors
    /// When it cannot be read, is too large or names no function.
    pub fn open(path: &Path) -> Result<Self, ListingError> {
        let mut listing = Vec::new();
        identity::open_regular(path)?.take(MAX_LISTING_BYTES + 1).read_to_end(&mut listing)?;
        let symbols = Kallsyms::parse(&listing)?;
        Ok(Self { symbols, names: Mutex::new(Names::new(MAX_NAMES_BYTES)) })
    }

    /// Looks up addresses, which are relative as the listing's are; one answer each.
    pub fn symbolize(&self, addresses: &[u64]) -> Vec<Symbol> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = |address: &u64| match self.symbols.lookup(*address) {
            Some(raw) => Symbol::Named(vec![line(raw, &mut names)]),
            None => Symbol::Unknown(Reason::NotCovered),
        };
        addresses.iter().map(answer).collect()
    }

    /// Memory it holds, bytes.
    pub fn heap_bytes(&self) -> u64 {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.symbols.heap_bytes() + names.heap_bytes()
    }
}

fn line(raw: &str, names: &mut Names) -> Line {
    let function = names.function(raw);
    Line { name: function.name, system_name: function.system_name, file: None, line: 0, column: 0 }
}

// === impl ListingError ===

impl ListingError {
    /// What it means for the addresses.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Content(KallsymsError::NoSymbols) => Reason::NoSymbols,
            _ => Reason::BadObject,
        }
    }
}
